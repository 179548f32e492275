"""Fault 1: the server is killed under load, at random and at the points where most could go wrong."""

import random
import signal
import sys
from pathlib import Path

import grpc
import pytest

from tests.support.load import Load
from tests.support.processes import Servers, is_serving

KILLS, PAUSES = 4, 2
NOTIFICATIONS = 800
CRASHING_SERVER = (sys.executable, str(Path(__file__).with_name("crashing_server.py")), "serve")


async def test_nothing_is_lost_when_the_server_is_killed_at_random(
    servers: Servers, rng: random.Random
) -> None:
    server = await servers.start()
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        for _ in range(KILLS):
            await load.acked(rng.randint(1, NOTIFICATIONS // KILLS - 1))
            await server.kill()
            await server.start()
        await load.finished()

        assert await load.violations() == []


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_hint", "after_hint"])
async def test_nothing_is_lost_when_the_server_dies_at_a_point(
    servers: Servers, rng: random.Random, point: str
) -> None:
    # An early time: groups may be large, and the load must not end before.
    crash = {"CRASH_AT": f"{point}:{rng.randint(2, 20)}"}
    server = await servers.prepare(command=CRASHING_SERVER)
    await server.start(environment=crash)
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        assert await server.wait() == -signal.SIGKILL
        await server.start(environment={"CRASH_AT": "never:0"})
        await load.finished()

        assert await load.violations() == []


async def test_nothing_is_lost_when_the_server_stands_still(servers: Servers, rng: random.Random) -> None:
    server = await servers.start()
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        for _ in range(PAUSES):
            await load.acked(rng.randint(1, NOTIFICATIONS // PAUSES - 1))
            server.pause()
            with pytest.raises(grpc.aio.AioRpcError, match="DEADLINE_EXCEEDED"):
                await is_serving(load.channel)
            server.resume()
        await load.finished()

        assert await load.violations() == []
