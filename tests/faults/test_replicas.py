"""Faults 4 to 8, 12 and 16 on three replicas, on Postgres and Valkey, under load; the oracle judges."""

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.support.calls import PATIENCE_S, ask, channel_to
from tests.support.fleet import Fleet
from tests.support.load import Load, make_item
from tests.support.waiting import eventually
from tocsin.v1 import system_service_pb2 as system
from tocsin.v1.inbox_service_pb2 import START_NOW, Position, SubscribeRequest
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_service_pb2 import SendRequest
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub

NOTIFICATIONS = 600
KILLS = 3
DRAIN_TIMEOUT_S = 5
MARGIN_S = 10


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with Fleet(tmp_path) as fleet:
        yield fleet


async def component(address: str, name: str) -> system.Component:
    """One part of a replica, as its GetStatus says."""
    async with channel_to(address) as channel:
        status = await SystemServiceStub(channel).GetStatus(system.GetStatusRequest(), timeout=5)
        return next(component for component in status.components if component.name == name)


async def bus_is(fleet: Fleet, state: system.ComponentState.ValueType) -> None:
    """Waits until every replica says so of its bus."""
    for address in fleet.addresses:

        async def told(address: str = address) -> bool:
            return (await component(address, "bus")).state == state

        await eventually(told, f"the bus of {address} to be {state}", PATIENCE_S)


async def test_a_send_arrives_on_another_replica_at_once(fleet: Fleet) -> None:
    """By the hint: the poll interval of a healthy bus is far longer than this waits."""
    async with channel_to(fleet.addresses[0]) as one, channel_to(fleet.addresses[1]) as other:
        request = SubscribeRequest(recipients=[Position(recipient="ada")], start=START_NOW)
        stream = InboxServiceStub(other).Subscribe(request)
        messages = aiter(stream)
        assert (await anext(messages)).session_id
        item = make_item("r", "ada")
        for number in range(3):
            await NotificationServiceStub(one).Send(
                SendRequest(request_id=f"r{number}", notification=item.notification), timeout=20
            )
            async with asyncio.timeout(3):
                while not any(event.HasField("notification") for event in (await anext(messages)).events):
                    pass


async def test_nothing_is_lost_among_three_replicas(fleet: Fleet, rng: random.Random) -> None:
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        await load.finished()
        assert await load.violations() == []


async def test_nothing_is_lost_when_replicas_are_killed(fleet: Fleet, rng: random.Random) -> None:
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        for _ in range(KILLS):
            await load.acked(rng.randint(1, NOTIFICATIONS // KILLS - 1))
            server = rng.choice(fleet.replicas).server
            await server.kill()
            await server.start()
        await load.finished()
        assert await load.violations() == []


async def test_redis_is_killed_and_comes_back_empty(fleet: Fleet, rng: random.Random) -> None:
    """Fault 4: streams are served from storage meanwhile, and live again afterwards."""
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        await load.acked(NOTIFICATIONS // 4)
        await fleet.valkey.kill()
        await bus_is(fleet, system.COMPONENT_STATE_DEGRADED)
        await load.acked(NOTIFICATIONS // 4)
        await fleet.valkey.start()
        await bus_is(fleet, system.COMPONENT_STATE_OK)
        await load.finished()
        assert await load.violations() == []


async def test_redis_drops_everything_silently(fleet: Fleet, rng: random.Random) -> None:
    """Fault 5: no reset, no error; only what should come does not."""
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        await load.acked(NOTIFICATIONS // 4)
        for replica in fleet.replicas:
            replica.valkey.blackhole()
        await bus_is(fleet, system.COMPONENT_STATE_DEGRADED)
        await load.acked(NOTIFICATIONS // 4)
        for replica in fleet.replicas:
            replica.valkey.heal()
        await bus_is(fleet, system.COMPONENT_STATE_OK)
        await load.finished()
        assert await load.violations() == []


async def test_pubsub_connections_are_killed_again_and_again(fleet: Fleet, rng: random.Random) -> None:
    """Fault 6."""
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        while load.sending:
            await fleet.valkey_command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(rng.uniform(0.05, 0.3))
        await load.finished()
        assert await load.violations() == []


async def test_postgres_is_killed_and_comes_back(fleet: Fleet, rng: random.Random) -> None:
    """Fault 7: nobody gets a false OK, and no replica has to be started again."""
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        for _ in range(2):
            await load.acked(NOTIFICATIONS // 4)
            await fleet.kill_postgres()
            await fleet.start_postgres()
        await load.finished()
        assert await load.violations() == []
    assert all(replica.server.running for replica in fleet.replicas)


async def test_without_postgres_calls_are_refused(fleet: Fleet) -> None:
    await fleet.kill_postgres()
    async with channel_to(fleet.addresses[0]) as channel:
        item = make_item("r", "ada")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await NotificationServiceStub(channel).Send(
                SendRequest(request_id="r", notification=item.notification), timeout=20
            )
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE

    async def shown() -> bool:
        return (await component(fleet.addresses[0], "storage")).state == system.COMPONENT_STATE_DOWN

    # What refuses the call may be a read as well as a write.
    await eventually(shown, "the storage to be shown as down")


async def test_replicas_are_restarted_one_after_the_other(fleet: Fleet, rng: random.Random) -> None:
    """Fault 12."""
    async with Load(fleet.addresses, rng, subscriber_count=3) as load:
        load.begin(NOTIFICATIONS)
        for replica in fleet.replicas:
            await load.acked(NOTIFICATIONS // 6)
            assert await replica.server.stop(DRAIN_TIMEOUT_S + MARGIN_S) == 0
            await replica.server.start()
        await load.finished()
        assert await load.violations() == []


async def test_an_epoch_that_is_bumped_voids_cursors_on_every_replica(fleet: Fleet) -> None:
    """As after a restore: without a restart of the replicas."""
    async with channel_to(fleet.addresses[1]) as channel:
        item = make_item("r", "ada")
        send = SendRequest(request_id="r", notification=item.notification)
        cursor = (await ask(NotificationServiceStub(channel).Send, send)).result.cursor
        request = SubscribeRequest(recipients=[Position(recipient="ada", cursor=cursor)])
        messages = aiter(InboxServiceStub(channel).Subscribe(request))
        assert (await anext(messages)).session_id
        url = fleet.replicas[0].server.settings["TOCSIN_DATABASE_URL"]
        bump = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tocsin_server", "epoch", "bump", "--yes"),
            env={**os.environ, "TOCSIN_DATABASE_URL": url},
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await bump.wait() == 0
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in messages:
                pass
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(PATIENCE_S):
            async for message in InboxServiceStub(channel).Subscribe(request):
                if any(event.HasField("reset") for event in message.events):
                    break
