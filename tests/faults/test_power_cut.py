"""Fault 1b: the power is cut under load, and the server starts again on what was synced."""

import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.load import Load
from tests.support.powercut import PowerCut
from tests.support.processes import ServerProcess, Servers

NOTIFICATIONS = 600
# The load makes the server sync more often than this.
SYNCS_MIN = 40


@pytest.fixture
async def server(servers: Servers) -> ServerProcess:
    return await servers.prepare()


@pytest.fixture
def powercut(powercut_shim: Path, server: ServerProcess, tmp_path: Path) -> PowerCut:
    synced = tmp_path / "synced"
    synced.mkdir()
    return PowerCut(powercut_shim, live=server.data, synced=synced)


@pytest.mark.parametrize("outcome", ["nothing else", "some of the rest"])
async def test_what_was_acked_is_there_after_a_power_cut(
    server: ServerProcess, powercut: PowerCut, rng: random.Random, outcome: str
) -> None:
    """Once with nothing that was not synced, once with any part of it."""
    await server.start(environment=powercut.environment())
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        await load.acked(rng.randint(1, NOTIFICATIONS - 1))
        await server.kill()
        replace_disk(powercut, rng, partly=outcome == "some of the rest")
        await server.start()
        await load.finished()

        assert await load.violations() == []


@pytest.mark.parametrize("moment", ["before", "within", "after"])
async def test_what_was_acked_is_there_when_the_power_is_cut_at_a_sync(
    server: ServerProcess, powercut: PowerCut, rng: random.Random, moment: str, unused_tcp_port: int
) -> None:
    """At any sync, those of the first start among them, before it listens."""
    server.port = unused_tcp_port
    at = f"{moment}:{rng.randint(1, SYNCS_MIN)}"
    await server.start(ready=False, environment=powercut.environment(at))
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        assert await server.wait() == -signal.SIGKILL
        replace_disk(powercut, rng, partly=rng.random() < 0.5)
        await server.start()
        await load.finished()

        assert await load.violations() == []


def replace_disk(powercut: PowerCut, rng: random.Random, *, partly: bool) -> None:
    """Put what the power cut left in the place of what the process had written."""
    left = powercut.synced
    if partly:
        left = powercut.partly_synced(powercut.synced.with_name("partly-synced"), rng)
    shutil.rmtree(powercut.live)
    shutil.copytree(left, powercut.live)
