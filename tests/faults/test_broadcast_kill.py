"""Fault 1 for broadcasts: the server is killed while one is carried out; every recipient gets it exactly once."""

import asyncio
import random
import signal
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import answered, channel_to
from tests.support.processes import ServerProcess, Servers
from tests.support.waiting import eventually
from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_pb2 import Content, NotificationSpec, SimpleContent
from tocsin.v1.recipient_service_pb2_grpc import RecipientServiceStub

RECIPIENTS, AT_ONCE, KILLS = 12_000, 1_000, 3
KEYS = [f"user-{number:05}" for number in range(RECIPIENTS)]
CRASHING_SERVER = (sys.executable, str(Path(__file__).with_name("crashing_server.py")), "serve")
NEVER = {"CRASH_AT": "never:0"}


def chunks() -> Iterable[list[str]]:
    return (KEYS[start : start + AT_ONCE] for start in range(0, RECIPIENTS, AT_ONCE))


async def filled(server: ServerProcess, rng: random.Random) -> None:
    """Makes the recipients, some of them in a class of their own."""
    async with channel_to(server.address) as channel:
        stub = RecipientServiceStub(channel)
        for keys in chunks():
            people = (
                recipients.Recipient(recipient=key, locale=rng.choice(["", "pt", "de"])) for key in keys
            )
            items = (recipients.UpsertRecipientItem(recipient=person) for person in people)
            await stub.UpsertRecipients(recipients.UpsertRecipientsRequest(items=items))


async def create(server: ServerProcess) -> str:
    content = Content(simple=SimpleContent(title="To all"))
    request = pb.CreateBroadcastRequest(
        request_id="once",
        audience=pb.Audience(everyone=True),
        notification=NotificationSpec(category="news", content=content),
    )
    async with channel_to(server.address) as channel:
        stub = BroadcastServiceStub(channel)
        created = await answered(lambda: stub.CreateBroadcast(request))
    return created.broadcast.broadcast_id


async def processed(server: ServerProcess, broadcast_id: str, count: int) -> pb.Broadcast:
    """Waits until so many have had their turn."""
    async with channel_to(server.address) as channel:
        stub = BroadcastServiceStub(channel)
        request = pb.GetBroadcastRequest(broadcast_id=broadcast_id)

        async def look() -> Any:
            found = (await answered(lambda: stub.GetBroadcast(request))).broadcast
            return found if found.progress.processed_count >= count else None

        found: pb.Broadcast = await eventually(look, "the broadcast to get on", 60)
        return found


async def check_everybody(server: ServerProcess, broadcast_id: str) -> None:
    """In the end everyone has it, once, and is counted once."""
    progress = (await processed(server, broadcast_id, RECIPIENTS)).progress
    assert progress.processed_count == progress.delivered_count == RECIPIENTS
    async with channel_to(server.address) as channel:
        stub = InboxServiceStub(channel)
        for keys in chunks():
            response = await stub.GetSummary(inbox.GetSummaryRequest(recipients=keys))
            assert [each.summary.total for each in response.summaries] == [1] * len(keys)
    await server.stop()
    with closing(sqlite3.connect(server.database)) as database:
        (rows, different) = database.execute(
            "SELECT count(*), count(DISTINCT recipient) FROM notifications WHERE revision = 1"
        ).fetchone()
    assert (rows, different) == (RECIPIENTS, RECIPIENTS)


async def created_or_dead(server: ServerProcess) -> str:
    """The id of the broadcast; empty when the server died before it said so. What it writes by itself counts too."""
    creating, dying = asyncio.ensure_future(create(server)), asyncio.ensure_future(server.wait())
    await asyncio.wait((creating, dying), return_when=asyncio.FIRST_COMPLETED)
    created = creating.done()
    for each in (creating, dying):
        each.cancel()
    return creating.result() if created else ""


@pytest.mark.parametrize("point", ["before_commit", "after_commit", "before_hint", "after_hint"])
async def test_a_broadcast_goes_on_where_it_was(servers: Servers, rng: random.Random, point: str) -> None:
    server = await servers.prepare(command=CRASHING_SERVER)
    await server.start(environment=NEVER)
    await filled(server, rng)
    await server.stop()
    broadcast_id = ""
    for _ in range(KILLS):
        # Once there is a broadcast, it may die before it serves anybody.
        crash = {"CRASH_AT": f"{point}:{rng.randint(3, 7)}"}
        await server.start(ready=not broadcast_id, environment=crash)
        broadcast_id = broadcast_id or await created_or_dead(server)
        async with asyncio.timeout(60):
            assert await server.wait() == -signal.SIGKILL
    await server.start(environment=NEVER)
    await check_everybody(server, broadcast_id or await create(server))


async def test_a_broadcast_survives_kills_at_random(servers: Servers, rng: random.Random) -> None:
    server = await servers.start()
    await filled(server, rng)
    broadcast_id = await create(server)
    for _ in range(KILLS):
        await processed(server, broadcast_id, rng.randint(0, RECIPIENTS // 2))
        await server.kill()
        await server.start()
    await check_everybody(server, broadcast_id)
