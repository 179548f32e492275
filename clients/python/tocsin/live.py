"""An endless stream of events over connections that come and go."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, Self, TypeVar, cast

import grpc

from tocsin.errors import ClosedError, ServerError, TocsinError, UnavailableError, is_interruption
from tocsin.events import Event
from tocsin.ledger import Ledger, Step
from tocsin.tasks import stop
from tocsin.transport import Transport
from tocsin.v1.inbox_service_pb2 import AttachResponse, SubscribeResponse

__all__ = ("Followed", "LiveStream", "positions_of")

logger = logging.getLogger("tocsin")

Followed = str | Iterable[str] | Mapping[str, str | None]
"""One recipient, several, or each with the cursor to go on from, None or empty for none."""

# Heartbeats that may be missing before a connection is taken for dead.
MISSED_HEARTBEATS = 3

MessageT = TypeVar("MessageT", SubscribeResponse, AttachResponse)
MessageT_co = TypeVar("MessageT_co", covariant=True)


class ServerStream(Protocol[MessageT_co]):
    """What is used of a call on which messages come in."""

    async def read(self) -> MessageT_co | object: ...
    def cancel(self) -> bool: ...


def positions_of(recipients: Followed) -> dict[str, str]:
    """Each recipient with its cursor, empty where it has none."""
    if isinstance(recipients, str):
        return {recipients: ""}
    if isinstance(recipients, Mapping):
        return {recipient: cursor or "" for recipient, cursor in recipients.items()}
    return dict.fromkeys(recipients, "")


class LiveStream(ABC, Generic[MessageT]):
    """Events of followed recipients, as an async iterator and context manager.

    Connects at the first iteration, and again whenever the connection is lost, ends for a passing reason, or misses
    three heartbeats. It goes on where it was: no change is skipped, and none is handed out twice. Ends when it is
    closed; raises a `TocsinError` where connecting again would not help.

    One task iterates at a time. An iteration may be cancelled or timed out without loss, and taken up again.
    """

    def __init__(self, transport: Transport, ledger: Ledger, heartbeat: float) -> None:
        self._transport = transport
        self._ledger = ledger
        self._silence = heartbeat * MISSED_HEARTBEATS
        self._steps: deque[Step] = deque()
        self._iterating = False
        self._closed = asyncio.Event()

        self._call: ServerStream[MessageT] | None = None
        self._session_id = ""
        # Reading goes on when the iteration is cancelled: cancelling grpc's read would cancel the call.
        self._reading: asyncio.Task[MessageT | object] | None = None
        self._alarm: asyncio.Future[None] | None = None
        self._silent_from = 0.0
        # Whatever else belongs to the connection and ends with it.
        self._helpers: list[asyncio.Task[None]] = []
        self._connected_at = 0.0
        self._attempt = 0
        self._connect_not_before = 0.0

    @property
    def cursors(self) -> dict[str, str]:
        """How far each recipient's events were handed out, the last one included: where to resume later.

        To lose nothing in a crash, store them after having dealt with the event. They belong to the categories that
        the stream was started with; a recipient without a position yet is left out.
        """
        return self._ledger.cursors

    @property
    def session_id(self) -> str:
        """The server's name of the present connection; empty while there is none."""
        return self._session_id

    async def aclose(self) -> None:
        """End the stream; an iteration under way ends too. Closing again does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        try:
            await self._finish()
        finally:
            await self._disconnect()
            self._transport.dependents.discard(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._iterating:
            raise RuntimeError("the stream is being iterated by another task")
        self._iterating = True
        try:
            return await self._next()
        finally:
            self._iterating = False

    @abstractmethod
    def _open(self) -> ServerStream[MessageT]:
        """Start a call that goes on from the ledger's positions, and the helpers that it needs."""

    @abstractmethod
    def _acknowledge_soon(self) -> None:
        """The ledger has positions to acknowledge."""

    def _has_failed(self) -> None:
        """Something failed beside the iteration, which may be waiting: `_raise_failure` says what."""
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    @abstractmethod
    def _raise_failure(self) -> None:
        """Raise what happened beside the iteration, if anything did."""

    @abstractmethod
    def _is_over(self) -> bool:
        """Whether no event can come any more."""

    @abstractmethod
    async def _finish(self) -> None:
        """Do what is to be done when the stream is closed."""

    async def _next(self) -> Event:
        self._raise_failure()
        while True:
            while self._steps:
                event = self._ledger.hand(self._steps.popleft())
                if self._ledger.has_acknowledgements:
                    self._acknowledge_soon()
                if event is not None:
                    return event
            if self._is_over():
                await self.aclose()
            if self._closed.is_set():
                raise StopAsyncIteration
            message = await self._receive()
            self._session_id = message.session_id or self._session_id
            self._steps.extend(self._ledger.read(message.events, message.progress))

    async def _receive(self) -> MessageT:
        """The next message, over as many connections as it takes."""
        while True:
            try:
                if self._call is None:
                    await self._connect()
                return await self._read()
            except TocsinError as error:
                if self._closed.is_set():
                    raise StopAsyncIteration from None
                if not is_interruption(error):
                    await self.aclose()
                    raise
                await self._interrupted(error)

    async def _connect(self) -> None:
        """Connect when it is time to. Waits in a way that neither `aclose` nor a cancelled iteration upsets."""
        try:
            async with asyncio.timeout_at(self._connect_not_before):
                await self._closed.wait()
            raise ClosedError
        except TimeoutError:
            pass
        with self._transport.typed_errors():
            self._call = self._open()
        self._transport.dependents.add(self)
        self._connected_at = asyncio.get_running_loop().time()

    async def _read(self) -> MessageT:
        loop = asyncio.get_running_loop()
        assert self._call is not None
        if self._reading is None:
            self._reading = asyncio.create_task(self._call.read())
            self._silent_from = loop.time()
        reading = self._reading
        while not reading.done():
            if self._alarm is None:
                self._alarm = loop.create_future()
            patience = max(0.0, self._silent_from + self._silence - loop.time())
            waited_for = (reading, self._alarm)
            done, _ = await asyncio.wait(waited_for, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise UnavailableError(f"the server was silent for {self._silence:g} s")
            if self._alarm.done():
                self._alarm = None
                self._raise_failure()
        self._reading = None
        if reading.cancelled():
            self._raise_failure()
            raise ClosedError
        with self._transport.typed_errors():
            message = reading.result()
        if message is grpc.aio.EOF:
            raise UnavailableError("the server ended the stream")
        if message is None:  # as grpc gives back what it cannot deserialize
            raise ServerError("a message cannot be read")
        return cast("MessageT", message)

    async def _interrupted(self, error: TocsinError) -> None:
        """Note when to connect again, and let go of the connection."""
        now = asyncio.get_running_loop().time()
        if self._session_id and now - self._connected_at > self._transport.retry.max_delay:
            self._attempt = 0  # it had been working
        self._attempt += 1
        delay = self._transport.retry.delay(self._attempt, error.retry_after)
        self._connect_not_before = now + delay
        level = logging.INFO if self._attempt == 1 else logging.WARNING
        logger.log(level, "stream interrupted, connecting again in %.1f s: %s", delay, error)
        await self._disconnect()

    async def _disconnect(self) -> None:
        call, self._call = self._call, None
        tasks = [*self._helpers, *filter(None, (self._reading,))]
        self._helpers, self._reading, self._session_id = [], None, ""
        if call is not None:
            call.cancel()
        await stop(*tasks)
