"""A TCP proxy that can be told to misbehave as networks do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Forwards connections to a port of this machine. An async context manager: it listens within, on `address`.

    What it is told holds for the connections there are and for those to come, until it is told otherwise.
    """

    def __init__(
        self, target: int | Path, tap: Callable[[bytes], None] = lambda chunk: None, mark: bytes | None = None
    ) -> None:
        """`target` is a port of this machine or a socket's path; `tap` is shown what it says.

        Connections on which a client says `mark` are the marked ones.
        """
        self._target = target
        self._tap = tap
        self._mark = mark
        self._server: asyncio.Server | None = None
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._forwarding_marked = asyncio.Event()
        self._forwarding_marked.set()
        self._delay_s = 0.0
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """Where to connect to."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def connection_count(self) -> int:
        """Connections that are being forwarded."""
        return len(self._connections)

    def blackhole(self) -> None:
        """Forward nothing any more, either way, not even that a side has closed. Connections stay open."""
        self._forwarding.clear()

    def blackhole_marked(self) -> None:
        """The same for the marked connections alone."""
        self._forwarding_marked.clear()

    def heal(self) -> None:
        """Forward again, first what was held back."""
        self._forwarding.set()
        self._forwarding_marked.set()

    def delay(self, seconds: float) -> None:
        """Hold everything back for so long, either way."""
        self._delay_s = seconds

    def cut(self) -> None:
        """Break all connections: both sides see a reset. New ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # From here on it is closed with the others, also if its task is cancelled before it has begun.
        self._writers.add(writer)
        assert self._server is not None
        if not self._server.is_serving():
            writer.transport.abort()
            return
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._kept(writer):
                # To the client, a network that forwards nothing looks the same before the server has been reached.
                await self._forwarding.wait()
                target_reader, target_writer = await self._connect()
                marked = asyncio.Event()

                def look(chunk: bytes) -> None:
                    if self._mark is not None and self._mark in chunk:
                        marked.set()

                async with self._kept(target_writer), asyncio.TaskGroup() as directions:
                    directions.create_task(self._forward(reader, target_writer, look, marked))
                    directions.create_task(self._forward(target_reader, writer, self._tap, marked))
        except* OSError:
            pass  # a side has gone, or was never there: the other one has been cut off too

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection("127.0.0.1", self._target)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tap: Callable[[bytes], None],
        marked: asyncio.Event,
    ) -> None:
        while True:
            chunk = await reader.read(CHUNK_BYTES)
            tap(chunk)
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            await self._forwarding.wait()
            if marked.is_set():
                await self._forwarding_marked.wait()
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    @contextlib.asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """One side of a connection, closed at the end: in peace, or with a reset if something went wrong."""
        self._writers.add(writer)
        try:
            yield
            writer.close()
        except BaseException:
            writer.transport.abort()
            raise
        finally:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._writers.discard(writer)
