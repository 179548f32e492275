"""One open stream: the recipients that it follows, what has gathered for them, and the messages made of it."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from tocsin_server.domain.access import Principal
from tocsin_server.domain.commands import AcknowledgePositions
from tocsin_server.domain.cursor import Cursor, filter_digest
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.errors import (
    CursorInvalid,
    CursorMismatch,
    IncarnationChanged,
    LimitReached,
    TocsinError,
)
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.time import Micros
from tocsin_server.service.catchup import CatchUp
from tocsin_server.service.credit import Credit
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.hub import Hub
from tocsin_server.service.live import LiveBuffer
from tocsin_server.service.metrics import Metrics
from tocsin_server.service.offered import Offered
from tocsin_server.service.placing import Placing, Start, Subscription
from tocsin_server.service.ports import Clock, Codec, InboxReader, SessionInfo, Writer
from tocsin_server.service.position import Position
from tocsin_server.service.reports import Reports
from tocsin_server.service.submitting import taken
from tocsin_server.service.tracing import Tracing, link_deliveries

LISTED_RECIPIENTS = 10
"""So many of a session's recipients are named where sessions are listed."""

MOST_UNTOLD = 10_000
"""Of recipients that start anew or are left out. Whoever has more of them and does not read it is not listened to."""


class SessionKind(IntEnum):
    """The call that opened a session; numbered as in the contract."""

    SUBSCRIBE = 1
    ATTACH = 2


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What a subscriber asks for."""

    consumer: str
    start: Start
    categories: tuple[str, ...]
    heartbeat_interval: Micros
    max_in_flight: int
    """0: no bound."""
    max_recipients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParts:
    """What every session works with."""

    hub: Hub
    reader: InboxReader
    writer: Writer
    codec: Codec
    cursors: Cursors
    clock: Clock
    placing: Placing
    metrics: Metrics
    tracing: Tracing | None
    buffer_bytes: int


class Session:
    """A stream that follows recipients.

    Single-threaded, on the event loop. `messages` is consumed by one task; everything else only changes state and wakes
    it. A message is made when the one before has been written, of whatever has gathered meanwhile.
    """

    def __init__(
        self,
        id: str,
        principal: Principal,
        kind: SessionKind,
        peer: str,
        options: SessionOptions,
        parts: SessionParts,
        on_close: Callable[["Session"], None],
    ) -> None:
        self.id = id
        self.principal = principal
        self.kind = kind
        self.peer = peer
        self.options = options
        self.create_time = parts.clock.now()
        self.positions: dict[str, Position] = {}
        self.sent_count = 0
        self.credit = Credit(options.max_in_flight)
        self.stalled_since: Micros | None = None
        self._parts = parts
        self._on_close = on_close
        self._tenant = principal.tenant
        self._reports = Reports(parts.codec, options.heartbeat_interval, time.monotonic())
        with_trace = not principal.end_user
        self._live = LiveBuffer(
            frozenset(options.categories),
            parts.codec,
            self._reports,
            self.credit,
            parts.metrics,
            with_trace=with_trace,
            keeps_traces=parts.tracing is not None,
            max_bytes=parts.buffer_bytes,
            on_left=self._fall_behind,
        )
        self._catch_up = CatchUp(
            Subscription(principal.tenant, options.consumer, options.categories, options.start),
            parts.reader,
            parts.placing,
            parts.cursors,
            parts.codec,
            self._reports,
            self.credit,
            with_trace=with_trace,
            max_bytes=parts.buffer_bytes,
            on_found=self._wake,
        )
        self._summary_timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._told = asyncio.Event()
        self._end: TocsinError | None = None
        self._closed = False

    # --- what the outside does ----------------------------------------------------------------------------------------

    def add(self, positions: Sequence[tuple[str, str]]) -> None:
        """Follows (recipient, cursor), from where the options say without a cursor; a known recipient starts anew."""
        wanted = dict(positions)
        # All at once: each time all that has gathered is gone through.
        self._remove({self.positions[recipient] for recipient in wanted if recipient in self.positions})
        for recipient, cursor in wanted.items():
            refusal = self._refusal(recipient)
            if refusal:
                self._catch_up.refuse(recipient, refusal)
                continue
            encoded = self._parts.codec.recipient(recipient)
            position = self.positions[recipient] = Position(self, recipient, encoded, cursor)
            # Before anything is read, so that no change falls between the reading and the following.
            self._parts.hub.follow(self._tenant, position)
            self._catch_up.add(position)
        self._wake()

    async def told(self) -> None:
        """Waits while there are too many resets that the caller has not taken yet."""
        while self._catch_up.reset_count > MOST_UNTOLD:
            self._told.clear()
            await self._told.wait()

    def remove(self, recipients: Sequence[str]) -> None:
        """Follows them no more."""
        self._remove({self.positions[recipient] for recipient in recipients if recipient in self.positions})
        self._wake()

    async def acknowledge(self, positions: Sequence[tuple[str, str]]) -> None:
        """Acknowledges (recipient, cursor): frees credit, and records the positions of a named consumer.

        A cursor that is not one of the stream's resets its recipient. While storage is away it waits: nobody is told
        whether a position was recorded.
        """
        recorded: list[ConsumerPosition] = []
        refused: dict[str, str] = {}
        consumer, filter = self.options.consumer, filter_digest(self.options.categories)
        for recipient, token in positions:
            if self._refusal_of(recipient):
                continue
            try:
                cursor = self._parts.cursors.open(self._tenant, recipient, token)
                if cursor.filter != filter:
                    raise CursorMismatch
            except (CursorInvalid, CursorMismatch) as error:
                refused[recipient] = error.reason
                continue
            self._free_credit(recipient, cursor)
            recorded.append(
                ConsumerPosition(consumer, recipient, cursor.incarnation, cursor.filter, cursor.revision)
            )
        self._restart(refused)
        if consumer and recorded:
            command = AcknowledgePositions(tenant=self._tenant, positions=tuple(recorded))
            await taken(self._parts.writer, command)

    def grant(self, max_in_flight: int) -> None:
        """New credit; 0: no bound."""
        self.credit.max_in_flight = max_in_flight
        self._wake()

    def end(self, error: TocsinError) -> None:
        """Ends the stream with an error once the message under way is written."""
        self._end = self._end or error
        self._wake()

    def close(self) -> None:
        """Gives everything back. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._remove(set(self.positions.values()))
        self._catch_up.close()
        if self._summary_timer is not None:
            self._summary_timer.cancel()
        self._on_close(self)

    def pulse(self, now: float) -> None:
        """Called about twice a second: wakes the stream when a heartbeat is due."""
        if now >= self._reports.heartbeat_at:
            self._wake()

    def info(self, instance_id: str) -> SessionInfo:
        """What may be told of it; `instance_id` is this process."""
        return SessionInfo(
            id=self.id,
            tenant=self._tenant,
            kind=self.kind,
            consumer=self.options.consumer,
            principal=self.principal.name,
            peer=self.peer,
            recipient_count=len(self.positions),
            recipients=tuple(islice(self.positions, LISTED_RECIPIENTS)),
            create_time=self.create_time,
            sent_count=self.sent_count,
            buffered_bytes=self.buffered_bytes,
            behind_count=self.behind_count,
            in_flight_count=self.credit.in_flight,
            max_in_flight=self.credit.max_in_flight,
            stalled_since=self.stalled_since,
            drop_count=self.drop_count,
            instance_id=instance_id,
        )

    @property
    def buffered_bytes(self) -> int:
        """What has gathered and is not sent."""
        return self._live.bytes

    @property
    def drop_count(self) -> int:
        """How often so much had gathered that it was left to storage."""
        return self._live.drop_count

    @property
    def behind_count(self) -> int:
        """Recipients that are being served from storage."""
        return len(self._catch_up)

    # --- what the hub does --------------------------------------------------------------------------------------------

    def offer(self, position: Position, offered: Offered) -> None:
        """Takes a committed change if it is the very next one; otherwise notes that there is something to read."""
        change = offered.change
        revision = change.revision
        if position.behind:
            position.head = max(position.head, revision)
            return
        known = change.incarnation == position.incarnation
        if known and revision <= position.taken:
            return
        position.head = revision
        if known and revision == position.taken + 1 and change.content is not None:
            self._live.put(position, offered)
        else:
            self._fall_behind(position)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def compare(self, position: Position, head: Inbox | None) -> None:
        """Notes that there is something to read if a counter row says so; the read itself decides what it is."""
        moved = position.incarnation != (head.incarnation if head is not None else None)
        revision = head.revision if head is not None else 0
        if position.behind:
            # What has been read and is not applied may be of before: unless it shows as much, it is read once more.
            position.head = sys.maxsize if moved and position.placed else max(position.head, revision)
        elif moved or revision > position.taken:
            self._fall_behind(position)
            self._wake()

    def erased(self, position: Position, incarnation: bytes) -> None:
        """An inbox of the recipient's is gone: whatever comes next is another one."""
        if not position.placed or position.incarnation is None:
            # What is being read about it may be of before.
            position.generation += 1
        elif position.incarnation == incarnation:
            self._start_anew({position: IncarnationChanged.reason})
        self._wake()

    # --- messages -----------------------------------------------------------------------------------------------------

    async def messages(self) -> AsyncIterator[bytes]:
        """Encoded stream messages. Ends only by raising what `end` was given.

        The first one names the session and says that it follows its recipients: whatever is committed later, is told.
        """
        metrics, tracing = self._parts.metrics, self._parts.tracing
        while not self._catch_up.place():
            if self._end is not None:
                raise self._end
            await self._wait()
        yield self._parts.codec.opening(self.id)
        while True:
            sent = self.sent_count
            message = self._next_message()
            if not message:
                await self._wait()
                continue
            count = self.sent_count - sent
            metrics.stream_writes += 1
            metrics.live_pushes += count
            span = None
            if tracing is not None:
                span = link_deliveries(tracing, self._live.traces + self._catch_up.traces, count)
            yield message
            if span is not None:
                span.end()

    def _next_message(self) -> bytes:
        """Whatever has gathered; empty when there is nothing to say."""
        if self._end is not None:
            raise self._end
        now = self._parts.clock.now()
        events = self._catch_up.take_resets()
        self._told.set()
        if self._catch_up.reset_count:
            self._live.traces = self._catch_up.traces = []
            self.sent_count += len(events)
            return b"".join(events)
        # What was read from storage follows on all that has gathered, and so must not overtake it.
        events += self._live.take(now, whole=self._catch_up.has_found)
        events += self._catch_up.take()
        # Of those that were placed just now, of whom nothing has gathered yet.
        events += self._catch_up.take_resets()
        self.sent_count += len(events)
        events += self._reports.take(time.monotonic(), now)
        # The next read goes on while this message is being written.
        self._catch_up.start_reading()
        stalled = self._catch_up.stalled
        self.stalled_since = (self.stalled_since or now) if stalled else None
        return b"".join(events)

    async def _wait(self) -> None:
        """Until something happens that may make a message."""
        loop = asyncio.get_running_loop()
        if self._reports.has_summaries and self._summary_timer is None:
            delay = max(self._reports.summary_at - time.monotonic(), 0.0)
            self._summary_timer = loop.call_later(delay, self._summary_due)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _summary_due(self) -> None:
        self._summary_timer = None
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- positions ----------------------------------------------------------------------------------------------------

    def _fall_behind(self, position: Position) -> None:
        self._parts.metrics.catch_ups += not position.behind
        self._catch_up.fall_behind(position)

    def _start_anew(self, reasons: Mapping[Position, str]) -> None:
        self._live.forget(reasons.keys())
        for position, reason in reasons.items():
            self._catch_up.start_anew(position, reason)

    def _restart(self, reasons: Mapping[str, str]) -> None:
        found = {self.positions[each]: reason for each, reason in reasons.items() if each in self.positions}
        self._start_anew({position: reason for position, reason in found.items() if position.placed})
        self._wake()

    def _free_credit(self, recipient: str, cursor: Cursor) -> None:
        """What an older incarnation used is free already."""
        position = self.positions.get(recipient)
        if position is not None and position.incarnation == cursor.incarnation:
            self.credit.free(position, cursor.revision)
            self._wake()

    def _remove(self, positions: Set[Position]) -> None:
        self._live.forget(positions)
        for position in positions:
            self._parts.hub.unfollow(self._tenant, position)
            del self.positions[position.recipient]
            self._catch_up.forget(position)
            self._reports.forget(position)
            self.credit.release(position)

    def _refusal(self, recipient: str) -> str:
        """Why a recipient is left out; empty: it is not."""
        full = len(self.positions) >= self.options.max_recipients
        return LimitReached.reason if full else self._refusal_of(recipient)

    def _refusal_of(self, recipient: str) -> str:
        """Why a recipient is none of the caller's business; empty: it is."""
        try:
            self.principal.require_recipient(recipient)
        except TocsinError as error:
            return error.reason
        return ""
