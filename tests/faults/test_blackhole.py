"""Fault 10: a subscriber's network swallows everything and closes nothing."""

import random

from tests.support.load import Load
from tests.support.processes import Servers
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tocsin.v1.system_service_pb2 import ListSessionsRequest
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub

KEEPALIVE_TIME_S, KEEPALIVE_TIMEOUT_S = 1, 1
SETTINGS = {
    "TOCSIN_KEEPALIVE_TIME": f"{KEEPALIVE_TIME_S}s",
    "TOCSIN_KEEPALIVE_TIMEOUT": f"{KEEPALIVE_TIMEOUT_S}s",
}
# For a machine that is busy with other things.
MARGIN_S = 5
NOTIFICATIONS = 200


async def test_a_blackholed_stream_is_freed_and_catches_up(servers: Servers, rng: random.Random) -> None:
    server = await servers.start(SETTINGS)
    async with (
        Proxy(server.port) as network,
        Load(server.address, rng, subscriber_address=network.address) as load,
    ):
        status = SystemServiceStub(load.channel)

        async def sessions() -> set[str]:
            reply = await status.ListSessions(ListSessionsRequest())
            return {session.session_id for session in reply.sessions}

        await load.subscribed()
        before = await sessions()
        assert before == {subscriber.session_id for subscriber in load.subscribers}

        network.blackhole()
        load.begin(NOTIFICATIONS)

        async def freed() -> bool:
            return not before & await sessions()

        await eventually(freed, "the streams to be freed", KEEPALIVE_TIME_S + KEEPALIVE_TIMEOUT_S + MARGIN_S)
        await load.finished()

        # What the client sees when the connection that the server gave up becomes reachable again.
        network.cut()
        network.heal()

        assert await load.violations() == []


async def test_a_slow_network_that_is_cut_again_and_again_loses_nothing(
    servers: Servers, rng: random.Random
) -> None:
    server = await servers.start(SETTINGS)
    async with (
        Proxy(server.port) as network,
        Load(network.address, rng) as load,
    ):
        network.delay(0.005)
        load.begin(NOTIFICATIONS)
        while load.sending:
            await load.acked(rng.randint(1, NOTIFICATIONS // 4))
            network.cut()
        await load.finished()
        network.delay(0)

        assert await load.violations() == []
