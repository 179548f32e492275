"""Faults 2, 3 and 14 on what goes out by providers: made at least once, under one key, and by one process at a time."""

import asyncio
import json
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.deliveries import Dispatch, planning
from tests.support.desk import Desk
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.processes import ServerProcess, Servers
from tests.support.shims import preloading
from tests.support.stores import stored
from tests.support.waiting import eventually
from tocsin_server.domain.delivery import Delivery, DeliveryState
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.notification import EventKind
from tocsin_server.domain.time import SECOND
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.store import Store

DELIVERING_SERVER = (sys.executable, str(Path(__file__).with_name("delivering_server.py")), "serve")
TIMEOUT_S = 2.0
LEASE_S = 2 * TIMEOUT_S
DELIVERIES = 40
KILLS = 3
CONCURRENCY = 8
"""So few that one server alone cannot take all."""
HOUR_S = 3_600


@dataclass(frozen=True)
class Office:
    """A database, servers that deliver from it, and a store of the test's own on the same."""

    store: Store
    dispatch: Dispatch
    servers: Servers
    url: str
    calls_path: Path

    async def prepare(self, **environment: str) -> ServerProcess:
        """A server that is not started yet; see delivering_server.py for its environment."""
        return await self.servers.prepare(
            settings={
                "TOCSIN_DATABASE_URL": self.url,
                "TOCSIN_DELIVERY_TIMEOUT": f"{TIMEOUT_S}s",
                "TOCSIN_DELIVERY_CONCURRENCY": str(CONCURRENCY),
            },
            environment={"CALLS": str(self.calls_path), **environment},
            command=DELIVERING_SERVER,
        )

    async def plan(self, count: int, *, in_seconds: float = 0) -> list[bytes]:
        """So many deliveries, a notification each; their ids."""
        due_time = time.time_ns() // 1000 + int(in_seconds * SECOND)
        return [await self.dispatch.plan(due_time, f"{number}@example.com") for number in range(count)]

    def calls(self) -> list[dict[str, Any]]:
        """What the provider has seen, whichever process called it."""
        if not self.calls_path.exists():
            return []
        return [json.loads(line) for line in self.calls_path.read_text().splitlines()]

    async def of(self, id: bytes) -> Delivery:
        (delivery,) = await self.store.deliveries.deliveries("default", id, 2)
        return delivery

    async def all_sent(self, ids: list[bytes]) -> bool:
        return {(await self.of(id)).state for id in ids} == {DeliveryState.SENT}


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
async def office(tmp_path: Path, servers: Servers, postgres: PostgresServer) -> AsyncIterator[Office]:
    clock = SystemClock()
    with postgres.database() as url, planning():
        async with stored(tmp_path, clock, url=url) as store:
            dispatch = Dispatch(Desk(store, clock))
            yield Office(store, dispatch, servers, url, tmp_path / "calls.jsonl")


async def test_a_worker_that_dies_between_call_and_record_is_followed_by_another(
    office: Office, rng: random.Random
) -> None:
    """Fault 2: the provider saw each at least once, and knows by the key what it has seen before."""
    ids = await office.plan(DELIVERIES)
    server = await office.prepare()
    for _ in range(KILLS):
        # It may die before it has told that it serves.
        await server.start(ready=False, environment={"DIE_AT_CALL": str(rng.randint(1, DELIVERIES // KILLS))})
        assert await server.wait() == -signal.SIGKILL
    await server.start()
    await eventually(lambda: office.all_sent(ids), "all to be sent", 20 * LEASE_S)

    keys = defaultdict(set)
    for call in office.calls():
        keys[call["notification_id"]].add(call["key"])
    assert set(keys) == {format_id(id) for id in ids}
    assert {len(seen) for seen in keys.values()} == {1}
    assert len(office.calls()) > DELIVERIES, "nobody died in the middle of a call"


async def test_the_late_result_of_a_process_that_stood_still_is_refused(
    office: Office, tmp_path: Path
) -> None:
    """Fault 3: SIGSTOP in the middle of a call, for twice the lease, then SIGCONT."""
    gate = tmp_path / "gate"
    asleep, awake = await office.prepare(GATE=str(gate)), await office.prepare()
    await asleep.start()
    (id,) = await office.plan(1)
    await eventually(office.calls, "the call")
    asleep.pause()
    stopped_at = time.monotonic()
    await awake.start()
    await eventually(lambda: office.all_sent([id]), "the other's call", 10 * LEASE_S)
    before = await office.of(id)
    await asyncio.sleep(stopped_at + 2 * LEASE_S - time.monotonic())
    gate.touch()
    asleep.resume()
    await eventually(lambda: "a result came too late" in asleep.log(), "the late result")

    assert await office.of(id) == before
    assert (before.fence, before.message_id) == (2, f"by {awake.pid}")
    first, second = office.calls()
    assert (first["pid"], second["pid"]) == (asleep.pid, awake.pid)
    assert first["key"] == second["key"]
    events = await office.store.readers.timeline("default", id, 10)
    steps = [(event.kind, event.detail) for event in events if event.channel is not None]
    assert steps == [(EventKind.DELIVERY_SENT, before.message_id)]


async def test_nobody_steals_a_lease_by_a_wrong_clock(office: Office, clockskew_shim: Path) -> None:
    """Fault 14: one clock an hour ahead, one an hour behind. Each delivery is made once, and in time."""
    for skew in (HOUR_S, -HOUR_S):
        skewed = {**preloading(clockskew_shim), "CLOCK_SKEW_SECONDS": str(skew)}
        server = await office.prepare(CALL_SECONDS=str(TIMEOUT_S / 4), **skewed)
        await server.start()
    later = await office.plan(DELIVERIES, in_seconds=3)
    now = await office.plan(DELIVERIES)
    await eventually(lambda: office.all_sent(now), "those that were due", 10 * LEASE_S)
    await eventually(lambda: office.all_sent(later), "those that came later", 10 * LEASE_S)
    calls = office.calls()
    assert len(calls) == len({call["key"] for call in calls}) == 2 * DELIVERIES
    assert {call["attempt"] for call in calls} == {1}
    assert len({call["pid"] for call in calls}) == 2, "one of them had nothing to do"
    for id in later:
        delivery = await office.of(id)
        # Changed last when its result was recorded, by the database's clock, which is this machine's.
        assert delivery.due_time < delivery.change_time < delivery.due_time + HOUR_S * SECOND // 2
