"""Fault 12: one process is asked to stop and started again, under load."""

import random
import signal

import grpc
import pytest

from tests.support.calls import channel_to, reason_of
from tests.support.load import Load
from tests.support.processes import Servers
from tocsin.v1.inbox_service_pb2 import START_NOW, Position, SubscribeRequest
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub

RESTARTS = 3
NOTIFICATIONS = 800
DRAIN_TIMEOUT_S = 5
DRAIN = {"TOCSIN_DRAIN_DELAY": "100ms", "TOCSIN_DRAIN_TIMEOUT": f"{DRAIN_TIMEOUT_S}s"}
# For a machine that is busy with other things.
MARGIN_S = 5


async def test_nothing_is_lost_in_a_restart(servers: Servers, rng: random.Random) -> None:
    server = await servers.start(DRAIN)
    async with Load(server.address, rng) as load:
        load.begin(NOTIFICATIONS)
        for _ in range(RESTARTS):
            await load.acked(rng.randint(1, NOTIFICATIONS // RESTARTS - 1))
            assert await server.stop(DRAIN_TIMEOUT_S + MARGIN_S) == 0
            await server.start()
        await load.finished()

        assert await load.violations() == []


async def test_streams_are_told_that_the_server_drains(servers: Servers) -> None:
    server = await servers.start(DRAIN)
    async with channel_to(server.address) as channel:
        request = SubscribeRequest(recipients=[Position(recipient="ada")], start=START_NOW)
        stream = InboxServiceStub(channel).Subscribe(request)
        messages = aiter(stream)
        assert (await anext(messages)).session_id

        server.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            async for _ in messages:
                pass
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert reason_of(ended.value) == "SERVER_DRAINING"
        assert await server.wait(DRAIN_TIMEOUT_S + MARGIN_S) == 0
