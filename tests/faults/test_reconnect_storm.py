"""Fault 11: a thousand streams break at once and come back at once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from tests.support.calls import ask, channel_to
from tests.support.fleet import Fleet
from tests.support.load import make_item
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import START_NOW, Position, SubscribeRequest
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_service_pb2 import SendBatchRequest
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub

STREAMS, CONNECTIONS = 1_000, 10
RECOVERY_S = 40
WRITER_THREADS, READER_THREADS = 2, 2


async def test_a_thousand_streams_reconnect_at_once(tmp_path: Path) -> None:
    settings = {"TOCSIN_READER_THREADS": str(READER_THREADS), "TOCSIN_WRITER_THREADS": str(WRITER_THREADS)}
    async with Fleet(tmp_path, replicas=1, settings=settings) as fleet, AsyncExitStack() as stack:
        port = fleet.replicas[0].server.port
        proxy = await stack.enter_async_context(Proxy(port))
        channels = [channel_to(proxy.address) for _ in range(CONNECTIONS)]
        for channel in channels:
            stack.push_async_callback(channel.close)
        opened, arrived = set[int](), dict[int, list[str]]()

        async def follow(number: int) -> None:
            """Follows one recipient, from its last cursor whenever the stream breaks."""
            cursor = ""
            while True:
                request = SubscribeRequest(
                    recipients=[Position(recipient=f"user-{number}", cursor=cursor)], start=START_NOW
                )
                try:
                    async for message in InboxServiceStub(channels[number % CONNECTIONS]).Subscribe(request):
                        opened.add(number)
                        for event in message.events:
                            cursor = event.cursor or cursor
                            if event.HasField("notification"):
                                arrived.setdefault(number, []).append(
                                    event.notification.attributes["request_id"]
                                )
                        for position in message.progress.positions:
                            cursor = position.cursor or cursor
                except grpc.aio.AioRpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        raise
                    await asyncio.sleep(0.05)

        async def all_have(count: int) -> None:
            await eventually(
                lambda: sum(len(ids) == count for ids in arrived.values()) == STREAMS,
                f"entry {count} of everybody",
                RECOVERY_S,
            )

        async def send(wave: int) -> None:
            async with channel_to(fleet.addresses[0]) as channel:
                items = [make_item(f"{wave}-{number}", f"user-{number}") for number in range(STREAMS)]
                for start in range(0, STREAMS, 500):
                    batch = SendBatchRequest(items=items[start : start + 500])
                    await ask(NotificationServiceStub(channel).SendBatch, batch)

        following = [asyncio.create_task(follow(number)) for number in range(STREAMS)]
        try:
            await eventually(lambda: len(opened) == STREAMS, "all streams", RECOVERY_S)
            await send(1)
            await all_have(1)
            proxy.cut()
            await send(2)
            await all_have(2)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
        assert all(ids == [f"1-{number}", f"2-{number}"] for number, ids in arrived.items())
        assert fleet.postgres_connections() <= WRITER_THREADS + READER_THREADS + 2
