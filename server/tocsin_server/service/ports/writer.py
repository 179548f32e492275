"""What writes, and what it tells of commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tocsin_server.domain.commands import Answer, Command
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.inbox import BroadcastChunk, InboxChange, InboxErased
from tocsin_server.domain.time import Micros

Receipt = TypeVar("Receipt")


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction did that others want to know of."""

    changes: tuple[InboxChange | InboxErased, ...] = ()
    """In commit order."""
    earliest_timer: Micros | None = None
    """The earliest due time among the timers that were added."""
    credentials_changed: bool = False
    """API keys or tenants changed."""
    earliest_delivery: Micros | None = None
    """The earliest time from which one of the deliveries that changed can be claimed."""
    policies_changed: frozenset[str] = frozenset()
    """Tenants whose policy changed: categories, default preferences, what else has its version."""
    chunks: tuple[BroadcastChunk, ...] = ()
    """What a broadcast entered into inboxes that somebody hears of."""
    broadcasts_changed: bool = False
    """There is a new broadcast, or one was stopped."""


class CommitListener(Protocol):
    """Acts on commits."""

    def __call__(self, committed: Committed) -> None:
        """Called on the event loop, in the order of commits, before the callers of the commands are answered.

        What takes long may go on after it has returned.
        """


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What waits before the writer."""

    commands: int
    bytes: int
    oldest_age: Micros


class Writer(Protocol):
    """Writes commands, many in one transaction."""

    async def submit(
        self, commands: Sequence[Command[Receipt]], *, deadline: float | None = None
    ) -> list[Answer[Receipt] | TocsinError]:
        """What became of each command, in their order.

        Atomicity: a command is committed whole or not at all, each on its own; commands of one call that concern one
        recipient are applied in their order. Durability: an Answer means that it is on disk. Idempotency: a command
        whose request was committed before gets that receipt again; two of one request in flight at once are applied
        once. Expected failures are returned, not raised: QueueFull, DeadlinePassed (`deadline` in `time.monotonic()`
        seconds; nothing was written), StorageUnavailable, RequestIdReused and whatever the command's docstring names.
        Cancelling the call does not take back what is queued.
        """

    def depth(self) -> QueueDepth:
        """What waits now."""
