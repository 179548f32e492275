"""The TCP proxy, against a server that echoes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.support.proxy import Proxy
from tests.support.waiting import eventually

# Nothing may come. Long enough for a byte to cross this machine many times.
SILENCE_S = 0.1


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(1000):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def proxy(echo_port: int) -> AsyncIterator[Proxy]:
    async with Proxy(echo_port) as proxy:
        yield proxy


class Client:
    """A connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, line: bytes) -> bytes:
        self.writer.write(line)
        return await self.reader.readexactly(len(line))


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    host, port = proxy.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield Client(reader, writer)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_it_forwards_both_ways(client: Client) -> None:
    assert await client.ask(b"one") == b"one"
    assert await client.ask(b"x" * 1_000_000) == b"x" * 1_000_000


async def test_it_forwards_the_end(client: Client, proxy: Proxy) -> None:
    client.writer.write(b"last words")
    client.writer.write_eof()

    assert await client.reader.read() == b"last words"
    await eventually(lambda: proxy.connection_count == 0, "the connection to be gone")


async def test_a_blackhole_swallows_and_keeps_the_connection(client: Client, proxy: Proxy) -> None:
    await client.ask(b"before")

    proxy.blackhole()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.ask(b"lost?"), SILENCE_S)
    assert proxy.connection_count == 1

    proxy.heal()
    assert await client.reader.readexactly(5) == b"lost?"


async def test_a_blackhole_takes_new_connections_too(client: Client, proxy: Proxy, echo_port: int) -> None:
    await client.ask(b"before")
    proxy.blackhole()
    reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
    second = Client(reader, writer)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.ask(b"early"), SILENCE_S)
    proxy.heal()

    assert await reader.readexactly(5) == b"early"
    writer.close()
    await writer.wait_closed()


async def test_an_end_does_not_cross_a_blackhole(client: Client, proxy: Proxy) -> None:
    await client.ask(b"before")
    proxy.blackhole()
    client.writer.write_eof()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(), SILENCE_S)
    assert proxy.connection_count == 1


async def test_a_cut_is_seen_and_a_new_connection_works(client: Client, proxy: Proxy) -> None:
    await client.ask(b"before")

    proxy.cut()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.ask(b"after")

    reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
    assert await Client(reader, writer).ask(b"again") == b"again"
    writer.close()
    await writer.wait_closed()


async def test_a_cut_breaks_a_blackholed_connection(client: Client, proxy: Proxy) -> None:
    await client.ask(b"before")
    proxy.blackhole()
    proxy.cut()

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.ask(b"after")


async def test_a_delay_holds_back(client: Client, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    proxy.delay(0.05)
    begin = loop.time()

    assert await client.ask(b"late") == b"late"
    assert loop.time() - begin >= 0.1  # there and back


async def test_a_server_that_is_not_there_ends_the_connection(unused_tcp_port: int) -> None:
    async with Proxy(unused_tcp_port) as proxy:
        reader, writer = await asyncio.open_connection(*proxy.address.split(":"))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
