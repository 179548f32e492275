"""Random faults, one after the other, on three replicas under load. `make soak` runs it for ten minutes."""

import asyncio
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, Replica
from tests.support.load import Load

SECONDS_VARIABLE = "TOCSIN_SOAK_SECONDS"
SECONDS = float(os.environ.get(SECONDS_VARIABLE, "20"))
NOTIFICATIONS_A_ROUND = 200
ROUNDS_A_CHAPTER = 10
"""After so many faults the oracle judges, and begins anew: it reads every inbox with its history."""

Fault = Callable[[Fleet, random.Random], Awaitable[None]]


async def kill_a_replica(fleet: Fleet, rng: random.Random) -> None:
    server = rng.choice(fleet.replicas).server
    await server.kill()
    await server.start()


async def restart_a_replica(fleet: Fleet, rng: random.Random) -> None:
    server = rng.choice(fleet.replicas).server
    assert await server.stop() == 0
    await server.start()


async def stop_the_world_of_a_replica(fleet: Fleet, rng: random.Random) -> None:
    server = rng.choice(fleet.replicas).server
    server.pause()
    await asyncio.sleep(rng.uniform(0.5, 3))
    server.resume()


async def kill_valkey(fleet: Fleet, rng: random.Random) -> None:
    await fleet.valkey.kill()
    await asyncio.sleep(rng.uniform(0, 2))
    await fleet.valkey.start()


async def kill_postgres(fleet: Fleet, rng: random.Random) -> None:
    await fleet.kill_postgres()
    await asyncio.sleep(rng.uniform(0, 1))
    await fleet.start_postgres()


async def cut_a_replica_off_valkey(fleet: Fleet, rng: random.Random) -> None:
    replica: Replica = rng.choice(fleet.replicas)
    replica.valkey.blackhole()
    await asyncio.sleep(rng.uniform(0.5, 4))
    replica.valkey.heal()


async def cut_a_replica_off_postgres(fleet: Fleet, rng: random.Random) -> None:
    replica: Replica = rng.choice(fleet.replicas)
    replica.postgres.blackhole()
    await asyncio.sleep(rng.uniform(0.5, 4))
    replica.postgres.heal()


async def break_the_connections_of_a_replica(fleet: Fleet, rng: random.Random) -> None:
    replica: Replica = rng.choice(fleet.replicas)
    replica.postgres.cut()
    replica.valkey.cut()


async def kill_subscriptions(fleet: Fleet, rng: random.Random) -> None:
    await fleet.valkey_command("CLIENT", "KILL", "TYPE", "pubsub")


async def flush_valkey(fleet: Fleet, rng: random.Random) -> None:
    await fleet.valkey_command("FLUSHALL")


FAULTS: tuple[Fault, ...] = (
    kill_a_replica,
    restart_a_replica,
    stop_the_world_of_a_replica,
    kill_valkey,
    kill_postgres,
    cut_a_replica_off_valkey,
    cut_a_replica_off_postgres,
    break_the_connections_of_a_replica,
    kill_subscriptions,
    flush_valkey,
)


@pytest.mark.timeout(SECONDS + 180)
async def test_nothing_is_lost_whatever_happens(tmp_path: Path, rng: random.Random) -> None:
    async with Fleet(tmp_path) as fleet:
        end = time.monotonic() + SECONDS
        chapter = 0
        while time.monotonic() < end:
            chapter += 1
            prefix = f"chapter-{chapter}-"
            async with Load(fleet.addresses, rng, subscriber_count=3, prefix=prefix) as load:
                for _ in range(ROUNDS_A_CHAPTER):
                    load.begin(NOTIFICATIONS_A_ROUND)
                    fault = rng.choice(FAULTS)
                    sys.stdout.write(f"{chapter}: {fault.__name__}\n")
                    await load.acked(rng.randint(1, NOTIFICATIONS_A_ROUND // 2))
                    await fault(fleet, rng)
                    await load.finished()
                assert await load.violations() == []
