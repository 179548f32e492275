"""Sessions on a real store and a real hub, and readers that take their messages apart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from opentelemetry.metrics import NoOpMeter

from tests.support.desk import CODEC, Desk
from tests.support.stores import TurnedClock
from tests.support.waiting import eventually
from tocsin.v1.error_reason_pb2 import ErrorReason
from tocsin.v1.inbox_service_pb2 import InboxEvent, SubscribeResponse
from tocsin_server.bus.fleet import Fleet
from tocsin_server.bus.memory import MemoryBus
from tocsin_server.domain.access import DEFAULT_TENANT, Principal, Scope
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.inbox import Counts
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.hub import Hub
from tocsin_server.service.metrics import Metrics
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.placing import Placing, Start
from tocsin_server.service.ports import InboxReader
from tocsin_server.service.session import Session, SessionKind, SessionOptions, SessionParts
from tocsin_server.service.sessions import Sessions, StreamLimits
from tocsin_server.service.tracing import Tracing
from tocsin_server.store.store import Store

ANYONE = Principal(DEFAULT_TENANT, "key", frozenset(Scope))


@dataclass
class Follower:
    """Reads a session's messages as a client would, and keeps what came."""

    session: Session
    events: list[InboxEvent] = field(default_factory=list)
    """In the order they came."""
    messages: list[SubscribeResponse] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    """The latest of each recipient, from events and progress."""
    error: BaseException | None = None
    """What ended the stream."""

    def __post_init__(self) -> None:
        self._reading = asyncio.Event()
        self._reading.set()
        self._task = asyncio.create_task(self._read())

    def stop_reading(self) -> None:
        """The message under way is written; the next one is not asked for."""
        self._reading.clear()

    def read_on(self) -> None:
        """Reads again."""
        self._reading.set()

    async def close(self) -> None:
        """As when a client leaves."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.session.close()

    # --- what came ----------------------------------------------------------------------------------------------------

    def revisions(self, recipient: str = "ada") -> list[int]:
        """Of entries, in the order they came."""
        return [
            event.notification.revision
            for event in self.events
            if event.recipient == recipient and event.HasField("notification")
        ]

    def texts(self, recipient: str = "ada") -> list[str]:
        """Of entries; empty for what has no content any more."""
        return [
            event.notification.content.fallback_text
            for event in self.events
            if event.recipient == recipient and event.HasField("notification")
        ]

    def resets(self, recipient: str = "ada") -> list[str]:
        """Their reasons."""
        return [
            ErrorReason.Name(event.reset.reason).removeprefix("ERROR_REASON_")
            for event in self.events
            if event.recipient == recipient and event.HasField("reset")
        ]

    def summaries(self, recipient: str = "ada") -> list[Counts]:
        """Their counts."""
        return [
            Counts(event.summary.unread, event.summary.unseen, event.summary.total)
            for event in self.events
            if event.recipient == recipient and event.HasField("summary")
        ]

    async def until(self, look: Callable[["Follower"], object], what: str) -> None:
        """Waits for something to have come."""
        try:
            await eventually(lambda: bool(look(self)), what, within_s=20)
        except TimeoutError as error:
            error.add_note(f"came: {self.events}")
            raise

    async def has(self, *revisions: int, recipient: str = "ada") -> None:
        """Waits for exactly these entries to have come, in this order."""
        await eventually(
            lambda: (
                self.revisions(recipient)[: len(revisions)] == list(revisions)
                or len(self.revisions(recipient)) > len(revisions)
            ),
            f"{revisions} of {recipient}",
            within_s=20,
        )
        assert self.revisions(recipient) == list(revisions)

    async def at_head(self, inbox_counts: Counts, recipient: str = "ada") -> None:
        """Waits for the summary that says so."""
        await self.until(
            lambda follower: follower.summaries(recipient)[-1:] == [inbox_counts], f"{inbox_counts}"
        )

    async def _read(self) -> None:
        messages = self.session.messages()
        try:
            async for message in messages:
                self._take(SubscribeResponse.FromString(message))
                await self._reading.wait()
        except TocsinError as error:
            self.error = error
        finally:
            await messages.aclose()  # type: ignore[attr-defined]

    def _take(self, message: SubscribeResponse) -> None:
        self.messages.append(message)
        for event in message.events:
            self.events.append(event)
            if event.HasField("reset"):
                self.cursors.pop(event.recipient, None)
            if event.cursor:
                self.cursors[event.recipient] = event.cursor
        for position in message.progress.positions:
            self.cursors[position.recipient] = position.cursor


class Exchange:
    """A hub and all that sessions need, around an open store."""

    def __init__(
        self,
        store: Store,
        clock: TurnedClock,
        *,
        buffer_bytes: int = 1 << 20,
        reader: InboxReader | None = None,
        fleet: Fleet | None = None,
        tracing: Tracing | None = None,
        instance: str = "test",
    ) -> None:
        self.store = store
        self.clock = clock
        metrics = Metrics(NoOpMeter("test"))
        if fleet is None:
            alone = MemoryBus()
            fleet = Fleet(alone, alone)
        self.fleet = fleet
        self.hub = Hub(CODEC, metrics, fleet.bus)
        self.cursors = Cursors(store.facts)
        self.desk = Desk(store, clock)
        self.refusals: dict[str, TocsinError] = {}
        reader = reader or store.readers
        self.parts = SessionParts(
            hub=self.hub,
            reader=reader,
            writer=store.writer,
            codec=CODEC,
            cursors=self.cursors,
            clock=clock,
            placing=Placing(reader, store.writer, self.cursors),
            metrics=metrics,
            tracing=tracing,
            buffer_bytes=buffer_bytes,
        )
        self.sessions = Sessions(
            self.parts,
            PageTokens(store.facts.cursor_key),
            StreamLimits(100, lambda tenant: 100),
            lambda principal: self.refusals.get(principal.name),
            fleet.presence,
            instance,
        )
        self._followers: list[Follower] = []

    def open(
        self,
        *positions: tuple[str, str] | str,
        start: Start = Start.NOW,
        consumer: str = "",
        categories: tuple[str, ...] = (),
        heartbeat: Micros = 3_600 * SECOND,
        max_in_flight: int = 0,
        max_recipients: int = 1_000,
        principal: Principal = ANYONE,
        kind: SessionKind = SessionKind.ATTACH,
    ) -> Follower:
        """A stream of these recipients, each with or without a cursor."""
        options = SessionOptions(consumer, start, categories, heartbeat, max_in_flight, max_recipients)
        session = self.sessions.open(principal, kind, "test", options)
        session.add([(each, "") if isinstance(each, str) else each for each in positions])
        follower = Follower(session)
        self._followers.append(follower)
        return follower

    async def live(self, *positions: tuple[str, str] | str, **options: object) -> Follower:
        """The same, once it has caught up with all that there is."""
        follower = self.open(*positions, **options)  # type: ignore[arg-type]
        await self.settled(follower)
        return follower

    async def settled(self, follower: Follower) -> None:
        """Until the follower's session has nothing to read."""
        await eventually(
            lambda: follower.messages and not follower.session.behind_count, "the session to be live", 20
        )

    async def token(self, revision: int, recipient: str = "ada") -> str:
        """An unfiltered cursor of the present inbox."""
        inbox = await self.desk.inbox(recipient)
        return self.cursors.token(DEFAULT_TENANT, recipient, inbox.incarnation, revision)

    async def close(self) -> None:
        """Ends all streams."""
        for follower in self._followers:
            await follower.close()


@asynccontextmanager
async def exchange(
    store: Store,
    clock: TurnedClock,
    *,
    buffer_bytes: int = 1 << 20,
    reader: InboxReader | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Exchange]:
    """An exchange whose hub hears of the store's commits."""
    opened = Exchange(store, clock, buffer_bytes=buffer_bytes, reader=reader, tracing=tracing)
    store.writer.listen(opened.hub)
    try:
        yield opened
    finally:
        await opened.close()
