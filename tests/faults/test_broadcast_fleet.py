"""Fault 1 for broadcasts of a fleet: replicas that carry them out together, and are killed meanwhile.

Every recipient gets each broadcast exactly once; the tables are judged, and what subscribers received.
"""

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.support.calls import CALL_TIMEOUT_S, channel_to, reason_of
from tests.support.crowd import EVERYONE, Crowd, Kind, Stored
from tests.support.fleet import Fleet
from tests.support.load import Load, make_item
from tests.support.processes import ServerProcess
from tests.support.tenants import bearer, tenants_with_keys
from tests.support.waiting import eventually
from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from tocsin.v1.notification_service_pb2 import SendBatchRequest
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin.v1.recipient_service_pb2 import (
    DeleteRecipientRequest,
    Recipient,
    UpsertRecipientItem,
    UpsertRecipientsRequest,
)
from tocsin.v1.recipient_service_pb2_grpc import RecipientServiceStub
from tocsin.v1.topic_service_pb2 import AddMembersRequest, CreateTopicRequest, RemoveMembersRequest
from tocsin.v1.topic_service_pb2_grpc import TopicServiceStub

RECIPIENTS, CHUNK = 6_000, 100
TENANTS = ("acme", "globex")
OF_A_TENANT, OTHERS = 1_500, 25
SENDERS, BATCHES, ITEMS = 4, 30, 20
FOLLOWED_CROWD, FOLLOWED, NOTIFICATIONS_A_KILL = 3_000, 8, 100
PATIENCE_S = 60
POINTS = ("before_commit", "after_commit", "before_hint", "after_hint")
CRASHING_SERVER = (sys.executable, str(Path(__file__).with_name("crashing_server.py")), "serve")
SETTINGS = {"TOCSIN_LOG_CHANNELS": "email", "TOCSIN_POLL_INTERVAL": "200ms", "TOCSIN_LOG_LEVEL": "warning"}


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    small = {"MOST_RECIPIENTS": str(CHUNK)}
    async with Fleet(tmp_path, settings=SETTINGS, environments=[small] * 3, command=CRASHING_SERVER) as fleet:
        yield fleet


async def processed(
    channel: grpc.aio.Channel, crowd: Crowd, broadcast: pb.Broadcast, count: int
) -> pb.Broadcast:
    """Waits until so many have had their turn, or it has ended."""

    async def look() -> pb.Broadcast | None:
        found = await crowd.got(channel, broadcast)
        final = found.state >= pb.BROADCAST_STATE_COMPLETED
        return found if final or found.progress.processed_count >= count else None

    found = await eventually(look, "the broadcast to get on", PATIENCE_S)
    assert found is not None
    return found


# --- one broadcast, killed replicas -----------------------------------------------------------------------------------


async def test_everyone_gets_it_once_however_replicas_die(fleet: Fleet, rng: random.Random) -> None:
    crowd, stored = Crowd.drawn(RECIPIENTS, rng), Stored(fleet.postgres)
    servers = [replica.server for replica in fleet.replicas]
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(address)) for address in fleet.addresses]
        await crowd.come(channels[0])
        # Each is to die at a point of its own, soon after it has begun to take part.
        points = rng.sample(POINTS, k=len(POINTS))
        for server, point in zip(servers, points, strict=False):
            await server.kill()
            await server.start(environment=dying(point, rng))
        # Asked for until one has said so that lives on.
        creating = asyncio.create_task(crowd.told(channels[1], "once"))
        for server in servers:
            await death_of(server)
        assert stored.unfinished == 1
        # The point that is left, perhaps before it serves anybody.
        await servers[0].start(ready=False, environment=dying(points[-1], rng))
        await death_of(servers[0])
        assert stored.unfinished == 1
        # And at any time, while another one goes on, and while nobody does.
        await asyncio.gather(*(server.start() for server in servers[1:]))
        broadcast = await creating
        for server, channel in zip(servers[1:], channels[1:], strict=True):
            so_far = (await crowd.got(channel, broadcast)).progress.processed_count
            await processed(channel, crowd, broadcast, rng.randint(so_far, RECIPIENTS))
            await server.kill()
        await asyncio.gather(*(server.start() for server in servers))
        crowd.check(await processed(channels[0], crowd, broadcast, sys.maxsize))
    assert stored.holders("once") == Counter(crowd.reached)
    assert stored.drifted() == []
    assert stored.unfinished == 0


def dying(point: str, rng: random.Random) -> dict[str, str]:
    """Before it can have carried out all of a broadcast, with the others at work."""
    return {"CRASH_AT": f"{point}:{rng.randint(2, 10)}"}


async def death_of(server: ServerProcess) -> None:
    assert await server.wait(PATIENCE_S) == -signal.SIGKILL


# --- several at once, among others ------------------------------------------------------------------------------------


class Tenant:
    """A tenant at work on all replicas, with its broadcasts and with what else happens to its recipients.

    No call may fail: nothing is broken, but that everybody is in everybody's way.
    """

    def __init__(self, name: str, key: str, channels: Sequence[grpc.aio.Channel], rng: random.Random) -> None:
        self.name = name
        self.crowd = Crowd.drawn(OF_A_TENANT, rng, bearer(key))
        self.sent = Counter[str]()
        self._rng = rng
        self._channels = channels
        self._call: dict[str, Any] = {"metadata": bearer(key), "timeout": CALL_TIMEOUT_S}
        keys = self.crowd.of(Kind.PLAIN, Kind.LOCAL)
        others = rng.sample(keys, k=2 * OTHERS)
        self._erased, self._fickle = {*others[:OTHERS]}, {*others[OTHERS:]}
        self._members = self._fickle | {*rng.sample(sorted({*keys} - {*others}), k=len(keys) // 2)}

    @property
    def _channel(self) -> grpc.aio.Channel:
        """To any replica."""
        return self._rng.choice(self._channels)

    async def come(self) -> None:
        """Its recipients, and a topic of some of them."""
        await self.crowd.come(self._channel)
        topics = TopicServiceStub(self._channel)
        await topics.CreateTopic(CreateTopicRequest(topic="topic"), **self._call)
        members = AddMembersRequest(topic="topic", recipients=sorted(self._members))
        await topics.AddMembers(iter((members,)), **self._call)

    async def work(self) -> None:
        """All at once."""
        audiences = {
            "everyone": EVERYONE,
            "everyone again": EVERYONE,
            "cancelled": EVERYONE,
            "topic": pb.Audience(topic="topic"),
            "filter": pb.Audience(filter="locale = pt"),
        }
        async with asyncio.TaskGroup() as tasks:
            for name, audience in audiences.items():
                tasks.create_task(self._broadcast(name, audience))
            for number in range(SENDERS):
                tasks.create_task(self._send(number))
            tasks.create_task(self._change())

    def check(self, stored: Stored) -> None:
        """What has become of all of it."""
        assert stored.holders("", self.name) == self.sent
        settled = self.crowd.reached - self._erased
        for name, expected in {
            "everyone": settled,
            "everyone again": settled,
            "topic": self._members - self._fickle,
            "filter": {*self.crowd.of(Kind.LOCAL)} - self._erased - self._fickle,
        }.items():
            holders = stored.holders(name, self.name)
            assert set(holders.values()) == {1}, (name, holders.most_common(3))
            # Who comes to be, or is a member or not, just when it begins may get it or not.
            others = {key for key in holders if key not in self.crowd.kinds}
            assert expected <= {*holders} <= expected | self._fickle | others
        cancelled = stored.holders("cancelled", self.name)
        assert set(cancelled.values()) <= {1}
        last = max(cancelled, default="")
        assert {key for key in settled if key <= last} <= {*cancelled}

    async def _broadcast(self, name: str, audience: pb.Audience) -> None:
        broadcast = await self.crowd.told(self._channel, name, audience)
        if name == "cancelled":
            await processed(self._channel, self.crowd, broadcast, self._rng.randrange(OF_A_TENANT // 2))
            await self._cancel(broadcast)
        found = await processed(self._channel, self.crowd, broadcast, sys.maxsize)
        assert found.state == pb.BROADCAST_STATE_COMPLETED or name == "cancelled"
        progress = found.progress
        suppressed = sum(each.count for each in progress.suppressed)
        assert progress.processed_count == progress.delivered_count + suppressed
        if found.state == pb.BROADCAST_STATE_COMPLETED and audience == EVERYONE:
            least = self.crowd.reached - self._erased
            assert len(least) <= progress.delivered_count
            assert suppressed == len(self.crowd.of(Kind.DENIED))

    async def _cancel(self, broadcast: pb.Broadcast) -> None:
        """Unless all have had their turn by then."""
        request = pb.CancelBroadcastRequest(broadcast_id=broadcast.broadcast_id)
        try:
            await BroadcastServiceStub(self._channel).CancelBroadcast(request, **self._call)
        except grpc.aio.AioRpcError as error:
            if reason_of(error) != "BROADCAST_FINAL":
                raise

    async def _send(self, number: int) -> None:
        """To some who are in the broadcasts, and to some who come to be by it."""
        stub = NotificationServiceStub(self._channel)
        old = sorted(self._members)
        new = [f"{key}-new" for key in old]
        for count in range(BATCHES):
            keys = [*self._rng.sample(old, k=ITEMS - 1), self._rng.choice(new)]
            items = [make_item(f"{number}-{count}-{key}", key) for key in keys]
            reply = await stub.SendBatch(SendBatchRequest(items=items), **self._call)
            assert [each.WhichOneof("outcome") for each in reply.results] == ["result"] * ITEMS, reply
            self.sent.update(keys)

    async def _change(self) -> None:
        """Profiles change, members go and come, and some recipients are erased."""
        recipients, topics = RecipientServiceStub(self._channel), TopicServiceStub(self._channel)
        for fickle, erased in zip(sorted(self._fickle), sorted(self._erased), strict=True):
            profile = Recipient(recipient=fickle, locale=self._rng.choice(("de", "fr", "pt")))
            item = UpsertRecipientItem(recipient=profile, update_mask=FieldMask(paths=["locale"]))
            await recipients.UpsertRecipients(UpsertRecipientsRequest(items=[item]), **self._call)
            leaving = RemoveMembersRequest(topic="topic", recipients=[fickle])
            await topics.RemoveMembers(iter((leaving,)), **self._call)
            joining = AddMembersRequest(topic="topic", recipients=[fickle])
            await topics.AddMembers(iter((joining,)), **self._call)
            await recipients.DeleteRecipient(DeleteRecipientRequest(recipient=erased), **self._call)


async def test_everybody_is_in_the_way_and_everyone_gets_each_once(fleet: Fleet, rng: random.Random) -> None:
    """Broadcasts of two tenants at once, carried out by all replicas, among sends to the same recipients."""
    keys = await tenants_with_keys(fleet.addresses, TENANTS)
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(address)) for address in fleet.addresses]
        tenants = [Tenant(name, key, channels, rng) for name, key in keys.items()]
        await asyncio.gather(*(tenant.come() for tenant in tenants))
        await asyncio.gather(*(tenant.work() for tenant in tenants))
    stored = Stored(fleet.postgres)
    for tenant in tenants:
        tenant.check(stored)
    assert stored.drifted() == []
    assert stored.unfinished == 0
    assert stored.deadlocks == 0


# --- streams meanwhile ------------------------------------------------------------------------------------------------


async def test_streams_bring_each_once_while_replicas_are_killed(fleet: Fleet, rng: random.Random) -> None:
    """Each replica is killed once, and so is the one of each stream; the oracle judges."""
    crowd = Crowd.drawn(FOLLOWED_CROWD, rng)
    followed = rng.sample(sorted(crowd.reached), k=FOLLOWED)
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(channel_to(address)) for address in fleet.addresses]
        await crowd.come(channels[0])
        async with Load(fleet.addresses, rng, recipients=followed, subscriber_count=3) as load:
            await load.subscribed()
            for number, replica in enumerate(fleet.replicas):
                name, channel = f"broadcast-{number}", channels[number - 1]
                load.begin(NOTIFICATIONS_A_KILL)
                load.oracle.broadcast(name)
                broadcast = await crowd.told(channel, name)
                await processed(channel, crowd, broadcast, rng.randrange(FOLLOWED_CROWD // 2))
                await replica.server.kill()
                crowd.check(await processed(channel, crowd, broadcast, sys.maxsize))
                await replica.server.start()
                await load.finished()
            assert await load.violations() == []
    assert Stored(fleet.postgres).unfinished == 0
