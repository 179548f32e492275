"""SQL for two engines, and what handlers and readers ask of a connection.

Texts keep to what SQLite and Postgres both understand, with `?` or `:name` for values. Where the engines have words of
their own, statements with keys hold a marker:

    {in_keys}      is one of the keys
    {in_pairs}     are one of the pairs of keys
    {for_update}   the rows that are read are locked until the transaction ends
    {for_share}    they are not removed until then
    {skip_locked}  so are these, without those that another transaction has locked

SQLite needs no locks: its writing transactions come one after the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Parameters = Sequence[Any] | Mapping[str, Any]

NO_LIMIT = 2**62
"""For a LIMIT that is none."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A column of bytes in a Select."""

    column: str
    within: str = "{}"
    """The expression that it stands in, which gives bytes too, or NULL."""
    nullable: bool = False


# Compared by identity, as texts are made from them once and kept.
@dataclass(frozen=True, slots=True, eq=False)
class Select:
    """A query whose rows come at once, each a sequence of the columns."""

    columns: tuple[str | Blob, ...]
    source: str
    """From FROM on; an order here is not that of the rows."""
    locking: str = ""
    """What locks the rows of `source`, on an engine that does so."""


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """Rows into a table. The first column is never null."""

    table: str
    columns: tuple[str, ...]
    ending: str = ""
    """ON CONFLICT or RETURNING."""

    @property
    def answers(self) -> bool:
        """Whether it gives rows back."""
        return "RETURNING" in self.ending


@dataclass(frozen=True, slots=True, eq=False)
class Update:
    """Columns of rows that are known by their key, an integer."""

    table: str
    key: str
    columns: tuple[str, ...]


class Cursor(Protocol):
    """The rows of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows a statement changed."""

    def fetchone(self) -> Any:
        """The next row; None: there is none."""

    def fetchall(self) -> list[Any]:
        """All rows."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection, used by one thread at a time. Errors are those of the engine's library."""

    @property
    def row_locks(self) -> bool:
        """Whether others write at the same time, so that what must be exact is locked before it is read."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Cursor:
        """Runs one statement."""

    def select(self, select: Select, parameters: Parameters = (), /) -> list[Any]:
        """All rows of a query without keys."""

    def select_in(
        self, select: Select, fixed: Sequence[Any], keys: Sequence[Any], after: Sequence[Any] = (), /
    ) -> list[Any]:
        """All rows of a query whose `{in_keys}` stands after the `fixed` parameters and before those in `after`."""

    def select_pairs(self, select: Select, pairs: Sequence[tuple[Any, Any]], /) -> list[Any]:
        """All rows of a query that has `{in_pairs}`, of texts, and no other parameters."""

    def rows_in(self, sql: str, fixed: Sequence[Any], keys: Sequence[Any], /) -> list[Any]:
        """Runs a statement whose `{in_keys}` stands after the `fixed` parameters; its rows, if it has any."""

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], /) -> list[Any]:
        """Inserts rows in their order; what RETURNING gives.

        Where nothing is given back, the rows may go to the database with the next statement or with the commit, with
        those of other tables and in no order of the tables; that is then what fails for them.
        """

    def update(self, update: Update, rows: Sequence[Sequence[Any]], /) -> None:
        """Updates rows; each is the key and the columns."""

    def text_in(self, column: str, key: str, /) -> str:
        """An expression: what the JSON object of texts in a column has at a key, a place; NULL for nothing."""

    def number_in(self, text: str, /) -> str:
        """An expression: the decimal number of up to 15 characters that a text is; NULL where it is none."""

    def analyze(self, tables: Sequence[str], /) -> None:
        """Lets the planner know of tables that have grown or changed a lot, where it would only hear of it later."""

    @property
    def lost(self) -> bool:
        """Whether the connection broke by itself, so that what failed may be tried on another."""

    def snapshot(self) -> AbstractContextManager[None]:
        """All that is read within the block is of one moment. After an error the connection is to be closed."""

    def close(self) -> None:
        """Ends the connection."""
