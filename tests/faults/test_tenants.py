"""Promise 15 on the network: no connection of one tenant ever carries a byte of another's, on any replica."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import grpc

from tests.support.calls import CALL_TIMEOUT_S, channel_to
from tests.support.fleet import Fleet
from tests.support.proxy import Proxy
from tests.support.tenants import bearer, tenants_with_keys
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import START_BEGINNING, Position, SubscribeRequest
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_pb2 import Content, NotificationSpec, SimpleContent
from tocsin.v1.notification_service_pb2 import SendBatchRequest, SendItem
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub

TENANTS = ("acme", "globex")
RECIPIENTS = [f"recipient-{number}" for number in range(5)]
BATCHES, ITEMS_MAX = 40, 20


def mark(tenant: str) -> str:
    """What stands in everything of a tenant, and in nothing else."""
    return f"<of-{tenant}>"


class Member:
    """One connection of a tenant to one replica, watched on the wire: it subscribes, and sends."""

    def __init__(self, tenant: str, key: str, address: str) -> None:
        self.tenant = tenant
        self.received = 0
        self.wire = bytearray()
        self._metadata = bearer(key)
        self._proxy = Proxy(int(address.rpartition(":")[2]), self.wire.extend)
        self._stack = AsyncExitStack()
        self._following: asyncio.Task[None] | None = None

    async def send(self, rng: random.Random, number: int) -> int:
        """A batch to recipients whose names every tenant uses; how many there were."""
        items = [
            SendItem(
                request_id=f"{number}-{item}",
                notification=NotificationSpec(
                    recipient=rng.choice(RECIPIENTS),
                    category="c",
                    content=Content(
                        simple=SimpleContent(title="t", body=mark(self.tenant) * rng.randint(1, 20))
                    ),
                ),
            )
            for item in range(rng.randint(1, ITEMS_MAX))
        ]
        stub = NotificationServiceStub(self._channel)
        await stub.SendBatch(SendBatchRequest(items=items), metadata=self._metadata, timeout=CALL_TIMEOUT_S)
        return len(items)

    async def __aenter__(self) -> "Member":
        await self._stack.enter_async_context(self._proxy)
        self._channel: grpc.aio.Channel = channel_to(self._proxy.address)
        self._stack.push_async_callback(self._channel.close)
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._following is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self._stack.aclose()

    async def _follow(self) -> None:
        request = SubscribeRequest(
            recipients=[Position(recipient=recipient) for recipient in RECIPIENTS], start=START_BEGINNING
        )
        async for message in InboxServiceStub(self._channel).Subscribe(request, metadata=self._metadata):
            for event in message.events:
                if event.HasField("notification"):
                    assert event.notification.content.simple.body.startswith(mark(self.tenant))
                    self.received += 1


async def test_no_byte_of_another_tenant_is_ever_on_a_connection(tmp_path: Path, rng: random.Random) -> None:
    async with Fleet(tmp_path) as fleet, AsyncExitStack() as stack:
        secrets = await tenants_with_keys(fleet.addresses, TENANTS)
        members = [
            await stack.enter_async_context(Member(tenant, secrets[tenant], address))
            for tenant in TENANTS
            for address in fleet.addresses
        ]
        sent = dict.fromkeys(TENANTS, 0)
        for number in range(BATCHES):
            member = rng.choice(members)
            sent[member.tenant] += await member.send(rng, number)
        await eventually(
            lambda: all(member.received == sent[member.tenant] for member in members),
            "everything to arrive",
            20,
        )
        for member in members:
            (other,) = set(TENANTS) - {member.tenant}
            assert mark(member.tenant).encode() in member.wire
            assert mark(other).encode() not in member.wire
