"""Fault 12 for a fleet of real servers: every process is replaced under load, on one Postgres and one Valkey."""

import random
import signal
from pathlib import Path

from tests.support.load import Load
from tests.support.postgres import postgres_server
from tests.support.processes import Servers
from tests.support.valkey import Valkey
from tests.support.waiting import eventually

NOTIFICATIONS = 800
WORKERS = 2
DRAIN_TIMEOUT_S = 5
# For a machine that is busy with other things.
MARGIN_S = 10


async def test_nothing_is_lost_while_all_processes_are_replaced(
    servers: Servers, rng: random.Random, tmp_path: Path
) -> None:
    with postgres_server() as postgres, postgres.database() as database:
        async with Valkey(tmp_path / "valkey") as valkey:
            server = await servers.start(
                {
                    "TOCSIN_DATABASE_URL": database,
                    "TOCSIN_REDIS_URL": valkey.url,
                    "TOCSIN_WORKERS": str(WORKERS),
                    "TOCSIN_DRAIN_DELAY": "100ms",
                    "TOCSIN_DRAIN_TIMEOUT": f"{DRAIN_TIMEOUT_S}s",
                }
            )
            before = {process.pid for process in server.usage().children()}
            async with Load(server.address, rng) as load:
                load.begin(NOTIFICATIONS)
                await load.acked(rng.randint(1, NOTIFICATIONS // 2))
                server.send_signal(signal.SIGHUP)
                await eventually(
                    lambda: server.log().count("the workers are replaced") == 2,
                    "new processes",
                    WORKERS * (DRAIN_TIMEOUT_S + MARGIN_S),
                )
                await load.finished()
                assert await load.violations() == []
            assert not before & {process.pid for process in server.usage().children()}
            assert await server.stop(DRAIN_TIMEOUT_S + MARGIN_S) == 0
