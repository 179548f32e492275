"""The two directions of a streaming call, and work that goes on beside one."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tocsin_server.domain.access import Principal
from tocsin_server.domain.errors import MalformedRequest, RequestTimeout, ServerDraining, TocsinError
from tocsin_server.service.sessions import PULSE_SECONDS

# Text, because grpc's own classes take no parameters when the program runs.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

Request = TypeVar("Request", bound=Message)


class Patience:
    """Reads messages, each for a while. gRPC by itself waits for ever.

    One timer watches all reads, the oldest first: a timer for each, as `asyncio.timeout` sets, would cost a call more
    than all of its conversions.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, context: Context) -> bytes | None:
        """The next message, None when the caller has sent its last one. Raises RequestTimeout."""
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = time.monotonic() + self._seconds
        if self._timer is None:
            self._watch(self._seconds)
        try:
            return await read(context)
        except asyncio.CancelledError:
            if task in self._reading:
                raise
            task.uncancel()
            raise RequestTimeout(timeout=f"{self._seconds:g}s") from None
        finally:
            self._reading.pop(task, None)

    def _watch(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        """Gives up on what has taken too long, and looks again when the next one may have."""
        self._timer = None
        now = time.monotonic()
        while self._reading:
            task, until = next(iter(self._reading.items()))
            if until > now:
                self._watch(until - now)
                return
            del self._reading[task]
            task.cancel()


async def read(context: Context) -> bytes | None:
    """The next message, None when the caller has sent its last one."""
    message: object = await context.read()
    return message if isinstance(message, bytes) else None  # EOF is an object of grpc's own


class MessageStream(Generic[Request]):
    """A streaming call as its servicer sees it: checked requests in, encoded responses out."""

    __slots__ = ("_accept", "_context", "_ending", "_patience", "_reader")

    def __init__(self, context: Context, accept: Callable[[bytes], Request], patience: Patience) -> None:
        self._context = context
        self._accept = accept
        self._patience = patience
        self._reader: asyncio.Task[Any] | None = None
        self._ending: TocsinError | None = None

    async def only(self) -> Request:
        """The request of a call that has one. Raises RequestTimeout, and whatever is wrong with it."""
        request = await self.first()
        if request is None:
            raise MalformedRequest("The call has no request.")
        return request

    async def first(self) -> Request | None:
        """The first request; None when there is none. Raises RequestTimeout, and what `read` raises."""
        self.go_on()
        return await self._next(self._patience.read(self._context))

    async def read(self) -> Request | None:
        """The next request; None after the last. Raises whatever is wrong with it, and why no more is read."""
        self.go_on()
        return await self._next(read(self._context))

    def stop_reading(self) -> None:
        """Reading fails with ServerDraining from now on; what was read before is not touched."""
        self.end(ServerDraining())

    def end(self, error: TocsinError) -> None:
        """Reading and `go_on` fail with the error from now on; what was read before is not touched."""
        if self._ending is not None:
            return
        self._ending = error
        if self._reader is not None:
            self._reader.cancel()

    def go_on(self) -> None:
        """For whoever only writes. Raises why the stream is to end, if it is."""
        if self._ending is not None:
            raise self._ending

    async def write(self, response: bytes) -> None:
        """Sends a response; returns when it is in the transport."""
        await self._context.write(response)

    async def _next(self, reading: Coroutine[Any, Any, bytes | None]) -> Request | None:
        reader = self._reader = asyncio.current_task()
        assert reader is not None
        raw = None
        try:
            raw = await reading
        except asyncio.CancelledError:
            if self._ending is None:
                raise
            reader.uncancel()
        finally:
            self._reader = None
        self.go_on()
        return None if raw is None else self._accept(raw)


class Guard:
    """Ends open streams whose callers are welcome no more, at one look at all of them every so often."""

    def __init__(self, still_valid: Callable[[Principal], TocsinError | None]) -> None:
        self._still_valid = still_valid
        self._streams: dict[Principal, set[MessageStream[Any]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watching(self, stream: MessageStream[Any], principal: Principal) -> Iterator[None]:
        """Within it, the stream ends once its caller is welcome no more."""
        streams = self._streams.setdefault(principal, set())
        streams.add(stream)
        if self._timer is None:
            self._wait()
        try:
            yield
        finally:
            streams.discard(stream)
            if not streams:
                del self._streams[principal]

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PULSE_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._streams:
            return
        self._wait()
        for principal, streams in self._streams.items():
            if self._still_valid(principal) is None:
                continue
            for stream in streams:
                # One for each, as who raises it may add to what it says.
                error = self._still_valid(principal)
                if error is not None:
                    stream.end(error)


async def run_beside(main: Coroutine[Any, Any, None], side: Coroutine[Any, Any, None]) -> None:
    """Runs `main` to its end, and `side` for as long; when one fails the other is cancelled and its error raised."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(side)
            await main
            task.cancel()
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        main.close()
