"""Sending many notifications over one stream that is taken up again where it broke."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Sequence
from contextlib import suppress

import grpc

from tocsin.errors import (
    TocsinError,
    UnavailableError,
    is_interruption,
    is_transient,
)
from tocsin.sending import SendOutcome, item_of, outcomes_of
from tocsin.tasks import stop
from tocsin.transport import Transport
from tocsin.v1.notification_pb2 import NotificationSpec
from tocsin.v1.notification_service_pb2 import (
    SendItem,
    SendItemResult,
    SendStreamRequest,
    SendStreamResponse,
)

__all__ = ("Specs", "send_stream")

Specs = Iterable[NotificationSpec | SendItem] | AsyncIterable[NotificationSpec | SendItem]
Call = grpc.aio.StreamStreamCall[SendStreamRequest, SendStreamResponse]

# Well below the 4 MiB that a server takes, and enough for the cost of a message not to matter.
MAX_CHUNK_BYTES = 1024 * 1024
GOODBYE_SECONDS = 5.0


async def send_stream(
    transport: Transport, specs: Specs, *, chunk: int, window: int, patience: float
) -> AsyncGenerator[SendOutcome, None]:
    """The outcomes of the specs in their order; see `Client.send_many`."""
    sender = _Sender(transport, specs, chunk, window, patience)
    try:
        while outcomes := await sender.next():
            for outcome in outcomes:
                yield outcome
    finally:
        await sender.close()


class _Chunk:
    """Items that travel together, and their outcomes so far."""

    def __init__(self, items: Sequence[SendItem]) -> None:
        self._items = items
        self._outcomes: list[SendOutcome | None] = [None] * len(items)
        self._open: Sequence[int] = range(len(items))
        self.refusals = 0
        self.refused_since: float | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_settled(self) -> bool:
        return not self._open

    @property
    def outcomes(self) -> list[SendOutcome]:
        return [outcome for outcome in self._outcomes if outcome is not None]

    def request(self) -> SendStreamRequest:
        return SendStreamRequest(items=[self._items[index] for index in self._open])

    def settle(self, results: Sequence[SendItemResult]) -> list[TocsinError]:
        """Take the answers to `request`. Returns the errors of the items that remain open: those worth another try."""
        errors: list[TocsinError] = []
        still_open: list[int] = []
        for index, outcome in zip(
            self._open, outcomes_of([self._items[i] for i in self._open], results), strict=True
        ):
            self._outcomes[index] = outcome
            if outcome.error is not None and is_transient(outcome.error):
                still_open.append(index)
                errors.append(outcome.error)
        self._open = still_open
        return errors

    def give_up(self) -> None:
        """Leave it at the errors of the items that are open."""
        self._open = ()


class _Source:
    """The specs, taken ahead of the stream by one chunk at most."""

    def __init__(self, specs: Specs, limit: int, moved: asyncio.Event) -> None:
        self._specs = specs
        self._limit = limit
        self._moved = moved
        self._items: deque[SendItem] = deque()
        self._room = asyncio.Event()
        self._gathering = asyncio.create_task(self._gather())
        self._gathering.add_done_callback(lambda _: moved.set())

    @property
    def has_items(self) -> bool:
        return bool(self._items)

    @property
    def is_exhausted(self) -> bool:
        return self._gathering.done() and not self._items

    def take(self) -> list[SendItem]:
        """What has gathered: as much as fits into one message, perhaps nothing."""
        items: list[SendItem] = []
        size = 0
        while self._items and len(items) < self._limit:
            size += self._items[0].ByteSize()
            if items and size > MAX_CHUNK_BYTES:
                break
            items.append(self._items.popleft())
        self._room.set()
        return items

    async def finish(self) -> None:
        """Raise what the specs raised, after everything before it was sent and answered."""
        await self._gathering

    async def close(self) -> None:
        await stop(self._gathering)
        if isinstance(self._specs, AsyncGenerator):
            await self._specs.aclose()

    async def _gather(self) -> None:
        if isinstance(self._specs, AsyncIterable):
            async for spec in self._specs:
                await self._keep(item_of(spec))
        else:
            for spec in self._specs:
                await self._keep(item_of(spec))

    async def _keep(self, item: SendItem) -> None:
        while len(self._items) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._items.append(item)
        self._moved.set()


class _Sender:
    """The stream, over as many connections as it takes.

    A chunk is in the window from when it is taken until its outcomes are handed out; it is written again on each new
    connection until it is answered. A helper task writes while `next` reads.
    """

    def __init__(self, transport: Transport, specs: Specs, chunk: int, window: int, patience: float) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._window_size = window
        self._patience = patience
        # A connection may be dead without a sign; enough of the patience is left to try others.
        self._silence = patience / 3
        # Set whenever something changed that somebody may wait for.
        self._moved = asyncio.Event()
        self._source = _Source(specs, chunk, self._moved)
        self._window: deque[_Chunk] = deque()
        self._ready: deque[_Chunk] = deque()
        self._written: deque[_Chunk] = deque()
        self._call: Call | None = None
        self._writing: asyncio.Task[None] | None = None
        self._attempt = 0
        self._stalled_since: float | None = None

    async def next(self) -> list[SendOutcome]:
        """The outcomes of the next chunk; none at the end.

        Raises:
            TocsinError: the stream cannot be taken up again, or not within the time.
            Exception: what the specs raised, after the outcomes of all before.
        """
        while True:
            if self._window and self._window[0].is_settled:
                self._moved.set()
                return self._window.popleft().outcomes
            if self._is_done():
                await self._say_goodbye()
                await self._source.finish()
                return []
            try:
                if self._call is None:
                    await self._connect()
                else:
                    self._settle(await self._answer(self._call))
            except TocsinError as error:
                await self._interrupted(error)

    async def close(self) -> None:
        """Stop everything. What was written may have been accepted nevertheless."""
        for chunk in self._window:
            if chunk.timer is not None:
                chunk.timer.cancel()
        await self._disconnect()
        await self._source.close()

    def _is_done(self) -> bool:
        return not self._window and self._source.is_exhausted

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._moved.clear()
            await self._moved.wait()

    async def _connect(self) -> None:
        """Connect when there is something to write, so that a slow source keeps no idle stream."""
        await self._until(lambda: bool(self._ready) or self._source.has_items or self._is_done())
        if self._is_done():
            return
        with self._transport.typed_errors():
            self._call = self._transport.stubs.notifications.SendStream()
        self._writing = asyncio.create_task(self._write(self._call))
        self._writing.add_done_callback(lambda _: self._moved.set())

    async def _write(self, call: Call) -> None:
        try:
            while True:
                await self._until(lambda: self._can_write() or self._is_done())
                if self._is_done():
                    await call.done_writing()
                    return
                chunk = self._ready.popleft() if self._ready else self._take()
                self._written.append(chunk)
                self._moved.set()
                await call.write(chunk.request())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended, and whoever reads from it learns why

    def _can_write(self) -> bool:
        has_room = len(self._window) < self._window_size
        return bool(self._ready) or (has_room and self._source.has_items)

    def _take(self) -> _Chunk:
        chunk = _Chunk(self._source.take())
        self._window.append(chunk)
        return chunk

    async def _answer(self, call: Call) -> SendStreamResponse | None:
        """The answer to the oldest chunk written; None if there is something else to do first."""
        assert self._writing is not None
        writing = self._writing
        await self._until(lambda: bool(self._written) or writing.done() or self._is_done())
        if writing.done():
            with self._transport.typed_errors():
                await writing  # raises a defect, if that is what ended it
        if not self._written:
            if writing.done() and not self._is_done():
                raise UnavailableError("the server ended the stream")
            return None
        if self._stalled_since is None:
            self._stalled_since = self._loop.time()
        try:
            async with asyncio.timeout(self._silence):
                with self._transport.typed_errors():
                    response = await call.read()
        except TimeoutError:
            raise UnavailableError(f"the server was silent for {self._silence:g} s") from None
        if not isinstance(response, SendStreamResponse):
            raise UnavailableError("the server ended the stream before it had answered everything")
        return response

    def _settle(self, response: SendStreamResponse | None) -> None:
        if response is None:
            return
        self._attempt, self._stalled_since = 0, None
        chunk = self._written.popleft()
        errors = chunk.settle(response.results)
        if not errors:
            return
        now = self._loop.time()
        chunk.refusals += 1
        chunk.refused_since = now if chunk.refused_since is None else chunk.refused_since
        delay = max(self._transport.retry.delay(chunk.refusals, error.retry_after) for error in errors)
        if now + delay - chunk.refused_since > self._patience:
            chunk.give_up()
            return
        chunk.timer = self._loop.call_later(delay, self._send_again, chunk)

    def _send_again(self, chunk: _Chunk) -> None:
        chunk.timer = None
        self._ready.append(chunk)
        self._moved.set()

    async def _interrupted(self, error: TocsinError) -> None:
        """Wait for the next attempt, or raise the error."""
        await self._disconnect()
        if not is_interruption(error):
            raise error
        now = self._loop.time()
        self._attempt += 1
        self._stalled_since = now if self._stalled_since is None else self._stalled_since
        delay = self._transport.retry.delay(self._attempt, error.retry_after)
        if now + delay - self._stalled_since > self._patience:
            raise error
        await asyncio.sleep(delay)
        self._ready = deque(chunk for chunk in self._window if not chunk.is_settled and chunk.timer is None)

    async def _say_goodbye(self) -> None:
        """Let the server see an orderly end. Everything is answered, so how it goes does not matter."""
        if self._call is None or self._writing is None:
            return
        with suppress(TimeoutError, TocsinError):
            async with asyncio.timeout(GOODBYE_SECONDS):
                with self._transport.typed_errors():
                    await self._writing
                    await self._call.read()

    async def _disconnect(self) -> None:
        call, self._call = self._call, None
        writing, self._writing = self._writing, None
        self._written.clear()
        if call is not None:
            call.cancel()
        if writing is not None:
            await stop(writing)
