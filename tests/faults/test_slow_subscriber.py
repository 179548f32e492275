"""Fault 9: a subscriber stops reading, and nobody but it notices."""

import random

from tests.support.load import Load
from tests.support.processes import Servers
from tocsin.v1.system_service_pb2 import ListSessionsRequest, Session
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub

BUFFER_BYTES = 256 << 10
# gRPC takes up to 6 MiB for a client that does not read. What comes after that has to wait elsewhere.
NOTIFICATIONS = 1_200
BODY = "\N{BELL}" * 16_000  # 64 kB
GROWTH_MAX_BYTES = NOTIFICATIONS * len(BODY.encode()) // 2
SETTINGS = {
    "TOCSIN_SESSION_BUFFER_BYTES": str(BUFFER_BYTES),
    # So that it is not SQLite's cache that grows.
    "TOCSIN_PAGE_CACHE_BYTES": "2MiB",
}


async def test_a_subscriber_that_does_not_read_costs_nothing_and_misses_nothing(
    servers: Servers, rng: random.Random
) -> None:
    server = await servers.start(SETTINGS)
    async with Load(server.address, rng, body=BODY) as load:
        await load.subscribed()
        reading, stalled = load.subscribers
        status = SystemServiceStub(load.channel)

        async def session() -> Session:
            reply = await status.ListSessions(ListSessionsRequest())
            return next(session for session in reply.sessions if session.session_id == stalled.session_id)

        # A server that has worked holds more memory than one that has just begun.
        load.begin(NOTIFICATIONS // 4)
        await load.finished()
        await load.caught_up(load.subscribers)

        stalled.stop_reading()
        memory_before = server.usage().memory_info().rss
        load.begin(NOTIFICATIONS)
        while load.sending:
            await load.acked(NOTIFICATIONS // 20)
            assert (await session()).buffered_bytes <= BUFFER_BYTES
        await load.finished()

        # Everyone else has everything; the stalled stream is there still, and is served from storage.
        await load.caught_up([reading])
        state = await session()
        assert state.drop_count > 0
        assert state.behind_count > 0
        assert server.usage().memory_info().rss - memory_before < GROWTH_MAX_BYTES

        # It goes on where it stopped, on the same stream.
        stalled.read_on()
        assert await load.violations() == []
        assert stalled.stream_count == 1
