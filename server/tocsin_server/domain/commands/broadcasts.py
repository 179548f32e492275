"""Broadcasts, from their creation to their rest."""

from typing import ClassVar

from tocsin_server.domain.audience import Audience
from tocsin_server.domain.broadcast import Broadcast, BroadcastState
from tocsin_server.domain.commands.command import SMALL_COMMAND_BYTES, Command
from tocsin_server.domain.commands.notifications import StoreNotification
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.sending import Draft
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class CreateBroadcast(Command[Broadcast], frozen=True, kw_only=True):
    """Stores a broadcast to be carried out. Raises TopicNotFound, QuotaExceeded."""

    id: bytes
    audience: Audience
    spec: NotificationSpec
    content: bytes | None
    """Encoded; None: the spec names a template."""
    trace: bytes
    start_time: Micros | None
    """None: at once."""

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + len(self.content or b"")


class FinishBroadcast(Command[Broadcast], frozen=True, kw_only=True):
    """Stops a broadcast where it is. Raises BroadcastNotFound, BroadcastFinal.

    Alone in its transaction: who waits for a chunk to end must not have an inbox that the chunk waits for.
    """

    solitary: ClassVar[bool] = True

    id: bytes
    state: BroadcastState
    """CANCELLED or FAILED."""
    failure: str = ""


class ClassDraft(Value, frozen=True):
    """What a broadcast drafts for a class."""

    class_id: int
    draft: Draft
    content: bytes
    """Encoded; empty for what is personal."""
    envelope: bytes
    """Encoded immutable fields without id and recipient."""
    personal: bool
    """What is shown is not the same for all."""


class PlanClasses(Command[None], frozen=True, kw_only=True):
    """Settles drafts of classes of a broadcast. Raises BroadcastNotFound.

    Alone in its transaction, as FinishBroadcast is.
    """

    solitary: ClassVar[bool] = True

    id: bytes
    drafts: tuple[ClassDraft, ...]

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(len(each.content) + len(each.envelope) for each in self.drafts)


class ChunkReceipt(Value, frozen=True):
    """What a chunk of a broadcast came to. Where something is asked for, nothing was written."""

    state: BroadcastState
    taken: int = 0
    """Recipients that had their turn."""
    seen: int = 0
    """Recipients that were gone through: these, and whom a filter leaves out. 0: there are none, or another replica is
    at it."""
    time: Micros = 0
    """That it took, without the commit."""
    unplanned: tuple[int, ...] = ()
    """Asks for PlanClasses of these classes."""
    personal: tuple[str, ...] = ()
    """Asks for the drafts of these recipients, which are all personal ones up to `upto`."""
    upto: str = ""


class ExpandBroadcast(Command[ChunkReceipt], frozen=True, kw_only=True):
    """Gives the next recipients of a broadcast their turn, and moves its position behind them.

    Alone in its transaction. Raises BroadcastNotFound.
    """

    solitary: ClassVar[bool] = True

    id: bytes
    limit: int
    """At most so many recipients; for a filter, of those that it is asked about."""
    upto: str | None = None
    """And none behind this one."""
    personal: tuple[StoreNotification, ...] = ()
    undrawn: tuple[str, ...] = ()
    """Recipients of personal classes for whom nothing can be drawn up."""
    targeted: int | None = None
    """How many recipients the audience has, once that is known."""

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(each.payload_bytes for each in self.personal)


class ReplanBroadcast(Command[None], frozen=True, kw_only=True):
    """What a broadcast decided about its classes holds no longer: they are asked for again where they are met."""

    id: bytes


class RestBroadcast(Command[None], frozen=True, kw_only=True):
    """Nothing more is to be done for a finished broadcast: its entries have expired."""

    id: bytes
