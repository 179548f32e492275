"""An engine: how a database is opened, and what differs in how it is written to."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from peewee import Database

from tocsin_server.domain.time import Micros
from tocsin_server.store.sql import Connection


class EngineUnusable(Exception):
    """The database that is asked for cannot be used here; the text says what to do."""


class WriteSession(Protocol):
    """A writer's connection, and what its transactions begin and end with. Used by one thread at a time."""

    @property
    def connection(self) -> Connection:
        """What the transaction's statements are run on."""

    def begin(self) -> Micros:
        """Begins a transaction; its time, on the store's clock."""

    def commit(self) -> None:
        """All of the transaction is on disk when this returns. After an error it may be, or not."""

    def roll_back(self) -> None:
        """Ends a transaction that is under way; without effect when there is none."""

    def new_content_ids(self, count: int) -> Sequence[int]:
        """Ids that no other content has or gets."""

    def close(self) -> None:
        """Ends the connection."""


class Engine(Protocol):
    """A database and how it is worked with."""

    @property
    def writer_threads(self) -> int:
        """How many sessions write at the same time."""

    def alone(self) -> AbstractContextManager[None]:
        """Held while the store is open. Raises StoreLocked when the database takes one process and has it."""

    def administered(self) -> AbstractContextManager[Database]:
        """The database for migrations, which nobody else runs meanwhile. Raises StorageUnavailable from within."""

    def prepare(self) -> None:
        """Migrates, and writes what every store has. Raises StorageUnavailable."""

    def open_reader(self) -> Connection:
        """A connection that reads. Errors are those of the engine's library, here and below."""

    def open_session(self) -> WriteSession:
        """A connection that writes."""

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether an error means that storage does not work at the moment, rather than that a statement is wrong."""

    def is_passing(self, error: BaseException) -> bool:
        """Whether the very same transaction, run again, may find what it lost a race for."""

    def is_in_use(self, error: BaseException) -> bool:
        """Whether what it needs is held by others, while storage works."""
