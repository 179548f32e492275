"""What the replicas of one database tell each other, and what they share."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tocsin_server.domain.inbox import BroadcastChunk, Inbox, InboxChange, InboxErased
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value
from tocsin_server.service.ports.writer import Committed


class SessionInfo(Value, frozen=True, kw_only=True):
    """An open stream, as anyone may hear of it who may list sessions."""

    id: str
    tenant: str
    kind: int
    """Numbered as in the contract."""
    consumer: str
    principal: str
    peer: str
    recipient_count: int
    recipients: tuple[str, ...]
    """The first few."""
    create_time: Micros
    sent_count: int
    buffered_bytes: int
    behind_count: int
    in_flight_count: int
    max_in_flight: int
    stalled_since: Micros | None
    drop_count: int
    instance_id: str


class SessionQuery(Value, frozen=True):
    """Which sessions are asked for."""

    tenant: str | None
    """None: of all tenants."""
    recipient: str
    """Only those that follow this recipient; empty: all."""
    after: str
    """Only those with a higher id."""
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BusEars:
    """What a bus does to the replica that listens. All are called on the event loop, and take milliseconds at most."""

    offer: Callable[[Iterable[InboxChange | InboxErased]], None]
    """Others committed these changes."""
    missed: Callable[[str, Sequence[str]], None]
    """Hints of these recipients (tenant, recipients) may have been lost until now, and come from now on."""
    missed_all: Callable[[], None]
    """Hints of any recipient may have been lost until now."""
    find: Callable[[SessionQuery], Sequence[SessionInfo]]
    """The sessions that this replica holds, by id."""
    end: Callable[[str, str], object]
    """Ends a session (id, tenant), if this replica holds it."""


class Interest(Protocol):
    """Wants to know which inboxes have a session here. Cheap: called for each of 100,000 recipients of one Attach."""

    def follow(self, tenant: str, recipient: str) -> None:
        """The inbox has its first session."""

    def unfollow(self, tenant: str, recipient: str) -> None:
        """The inbox has no session any more."""


@dataclass(slots=True)
class BusFigures:
    """What a bus counts about itself since it was made."""

    published: int = 0
    """Messages handed over."""
    received: int = 0
    """Messages of others that were understood."""
    dropped: int = 0
    """Hints that were not published, or not understood. Polling heals each of them."""
    reconnects: int = 0
    """Times that it has become healthy again."""
    lag_seconds: float = 0.0
    """How long the last heartbeat was under way."""


class Bus(Interest, Protocol):
    """Tells the other replicas of one database what was committed here, and this one what was committed there.

    What it tells is a hint: the truth is in storage. A hint may be lost, doubled, late or out of order, and its entry's
    bytes may be left out; a change is told to its own replica by the store, not by the bus. What may have been lost is
    told: after each `follow`, once hints of it are sure to come, `missed` is called with the recipient; whenever the
    connection was lost, with all that are followed. While the bus is not healthy nothing may come at all, and whoever
    needs changes polls. Nothing here waits for another machine or fails, but for `run`, which goes on for ever.
    """

    @property
    def healthy(self) -> bool:
        """Whether hints of all that is followed come, as far as is known: for two heartbeats more than they do."""

    @property
    def figures(self) -> BusFigures:
        """What it counts."""

    def listen(self, ears: BusEars) -> None:
        """Who listens. Called once, before `run`."""

    def __call__(self, committed: Committed) -> None:
        """Publishes changes, in their order; a CommitListener."""

    def publish_chunk(self, chunk: BroadcastChunk) -> None:
        """Publishes a chunk of a broadcast as one message, which every replica reads."""

    async def run(self) -> None:
        """Publishes and listens, until cancelled."""


class Presence(Protocol):
    """Which replica holds which sessions.

    Told and asked of the others only while the bus is healthy; otherwise nobody but the replica itself is known.
    """

    def opened(self, session_id: str, tenant: str) -> None:
        """This replica holds the session. It is forgotten within a minute should the replica vanish."""

    def closed(self, session_id: str) -> None:
        """Nobody holds it any more."""

    async def sessions(self, query: SessionQuery) -> list[SessionInfo]:
        """What the others hold, in no order; without those that have not answered within a second."""

    async def terminate(self, session_id: str, tenant: str | None) -> bool:
        """Has the replica that holds the session end it; False: none is known that does, or not of this tenant."""


class SharedBuckets(Protocol):
    """Token buckets that all replicas take from. A bucket holds a second's worth, and is full at first."""

    async def draw(self, wanted: Mapping[str, tuple[int, int, int]]) -> dict[str, tuple[int, float]] | None:
        """For each tenant (tokens a second, tokens already spent, tokens wanted) -> (tokens given, tokens left).

        What is spent is taken in any case, below zero if need be; what is given is at most what is there. Each bucket
        is changed in one step. None: they cannot be reached, and what is spent may or may not have been taken.
        """


@dataclass(frozen=True, slots=True)
class CachedInbox:
    """Counts as they were a while ago."""

    inbox: Inbox
    age: Micros
    """Since when they may have changed."""


class SummaryCache(Protocol):
    """Counts that were read within the last 5 minutes, by any replica. Empty when it cannot be reached."""

    async def get(self, tenant: str, recipients: Sequence[str]) -> dict[str, CachedInbox]:
        """Those that are known."""

    async def put(self, read: Sequence[Inbox], seen: Mapping[str, CachedInbox], age: Micros) -> None:
        """Keeps rows of one tenant that were read so long ago; `seen` is what `get` gave before they were read.

        Never goes backwards: within an incarnation the highest revision stays, and another incarnation is replaced only
        if it is the one that was seen.
        """
