"""How soon a server answers: `start`."""

import asyncio
import sys
import time

import grpc

from tests.bench.measuring import median
from tests.bench.results import Pair, Row, row
from tests.bench.setting import Setting
from tests.support.processes import ServerProcess, is_serving

IMPORTS = "import grpc.aio, peewee, protovalidate, opentelemetry.sdk.trace"
REPEATS = 5
LOOK_S = 0.005


async def start(setting: Setting) -> list[Row]:
    """Seconds from the start of `tocsin serve`, on a new database, to its first OK, beside the imports alone."""
    pairs = []
    for _ in range(setting.rounds):
        served, imported = [], []
        for _ in range(REPEATS):
            imported.append(await _import())
            served.append(await _serve(setting))
        pairs.append(Pair(median(served), median(imported)))
    return [row("start", "s", pairs, "at most", 2.5)]


async def _import() -> float:
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", IMPORTS)
    assert await process.wait() == 0
    return time.monotonic() - started


async def _serve(setting: Setting) -> float:
    server = setting.prepare()
    port_file = server.folder / "port"
    try:
        started = time.monotonic()
        await server.start(ready=False)
        while not port_file.exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(LOOK_S)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port_file.read_text().strip()}") as channel:
            if not await is_serving(channel):
                raise RuntimeError("the server said where it listens before it served")
        return time.monotonic() - started
    finally:
        await _end(server)


async def _end(server: ServerProcess) -> None:
    if server.running:
        await server.kill()
