"""Faults 1 and 7 with Postgres: the server is killed under load, and so is what it stores in."""

import asyncio
import random
import signal
from collections.abc import Iterator

import pytest

from tests.support.load import Load
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.processes import Servers

KILLS = 3
NOTIFICATIONS = 800


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server that keeps safe what it has committed."""
    with postgres_server() as server:
        yield server


async def test_nothing_is_lost_when_postgres_is_killed_and_started_again(
    servers: Servers, rng: random.Random, postgres: PostgresServer
) -> None:
    with postgres.database() as url:
        server = await servers.start(settings={"TOCSIN_DATABASE_URL": url})
        async with Load(server.address, rng) as load:
            load.begin(NOTIFICATIONS)
            for _ in range(KILLS):
                await load.acked(rng.randint(1, NOTIFICATIONS // KILLS - 1))
                # Its processes end where they are, and the next start recovers from the log.
                await asyncio.to_thread(postgres.stop, signal.SIGQUIT)
                await asyncio.sleep(rng.random())
                await asyncio.to_thread(postgres.start)
            await load.finished()

            assert await load.violations() == []
        assert server.running


async def test_nothing_is_lost_when_the_server_is_killed(
    servers: Servers, rng: random.Random, postgres: PostgresServer
) -> None:
    with postgres.database() as url:
        server = await servers.start(settings={"TOCSIN_DATABASE_URL": url})
        async with Load(server.address, rng) as load:
            load.begin(NOTIFICATIONS)
            for _ in range(KILLS):
                await load.acked(rng.randint(1, NOTIFICATIONS // KILLS - 1))
                await server.kill()
                await server.start()
            await load.finished()

            assert await load.violations() == []
