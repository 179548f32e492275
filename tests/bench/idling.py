"""What an open stream costs while nothing happens: `idle_memory`."""

import asyncio
import gc
from collections.abc import Awaitable, Callable

import psutil

from tests.bench.fanout import fail_unless_ok
from tests.bench.http2 import Connection, framed
from tests.bench.payloads import item_of, recipients, spec
from tests.bench.raw_server import IDLE
from tests.bench.results import Pair, Row, row
from tests.bench.sending import fill
from tests.bench.setting import Setting, connections
from tests.bench.streams import ARRIVAL_S, Stream
from tests.support.waiting import eventually

STREAMS_PER_CONNECTION = 100
WARM_UP_CONNECTIONS = 2
"""Opened first, so that what a server sets up once is not counted."""
SETTLE_S = 2.0


async def idle_memory(setting: Setting) -> list[Row]:
    """KB of memory of a server for each idle stream, beside a bare one. New servers each round: memory stays taken."""
    count = setting.by_size(1_000, 5_000)
    keys = recipients(count + WARM_UP_CONNECTIONS * STREAMS_PER_CONNECTION)
    pairs = []
    for _ in range(setting.rounds):
        async with setting.raw_server() as raw:
            bare = await _kilobytes_each(raw.address, raw.pid, keys, _open_bare)
        async with setting.server() as server:
            async with connections(server.address, 1) as (sending,):
                await fill(sending, [item_of(spec(key, number)) for number, key in enumerate(keys)])
            ours = await _kilobytes_each(server.address, server.pid, keys, _open_ours)
        pairs.append(Pair(ours, bare))
    return [
        row(
            "idle_memory",
            "KB/stream",
            pairs,
            "at most",
            1.6,
            streams=count,
            streams_per_connection=STREAMS_PER_CONNECTION,
        )
    ]


async def _kilobytes_each(
    address: str, pid: int, keys: list[str], open_streams: Callable[[Connection, list[str]], Awaitable[None]]
) -> float:
    process = psutil.Process(pid)
    starts = range(0, len(keys), STREAMS_PER_CONNECTION)
    async with connections(address, len(starts)) as opened:
        before = 0
        for number, (connection, start) in enumerate(zip(opened, starts, strict=True)):
            if number == WARM_UP_CONNECTIONS:
                await asyncio.sleep(SETTLE_S)
                before = process.memory_info().rss
            await open_streams(connection, keys[start : start + STREAMS_PER_CONNECTION])
        await asyncio.sleep(SETTLE_S)
        after = process.memory_info().rss
    gc.collect()
    return (after - before) / 1024 / (len(keys) - WARM_UP_CONNECTIONS * STREAMS_PER_CONNECTION)


async def _open_ours(connection: Connection, keys: list[str]) -> None:
    for stream in [Stream.subscribe(connection, [key]) for key in keys]:
        await stream.placed(1)


async def _open_bare(connection: Connection, keys: list[str]) -> None:
    opened = 0

    def come(_message: bytes) -> None:
        nonlocal opened
        opened += 1

    for _ in keys:
        connection.call(IDLE, framed(b"open"), come, fail_unless_ok)
    await eventually(lambda: opened == len(keys), "the bare streams", ARRIVAL_S)
