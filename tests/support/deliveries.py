"""Deliveries as a test wants them: planned by a command of its own, and providers that do as they are told."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from msgspec import msgpack

from tests.support.desk import Desk
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands import (
    ClaimDeliveries,
    ClaimedDelivery,
    Command,
    RecordDelivery,
    RecordOutcome,
)
from tocsin_server.domain.delivery import Attempted, Delivery, NewDelivery, OutgoingMessage, Sent
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.time import MINUTE, Micros
from tocsin_server.domain.value import replace
from tocsin_server.store.deliveries import add_deliveries
from tocsin_server.store.store import HANDLERS
from tocsin_server.store.transaction import Transaction

LEASE: Micros = MINUTE
SENT = Sent()

_MARK = "UPDATE notifications SET has_deliveries = 1 WHERE tenant = ? AND id = ?"


class PlanDeliveries(Command[None], frozen=True, kw_only=True):
    """Writes deliveries of notifications that are stored, with a body each if one is given."""

    deliveries: tuple[NewDelivery, ...]
    body: ChannelBody | None = None


def plan_deliveries(transaction: Transaction, commands: Sequence[PlanDeliveries]) -> list[None]:
    """The handler."""
    for command in commands:
        planned = command.deliveries
        if command.body is not None:
            (body_id,) = transaction.add_contents((msgpack.encode(command.body),))
            planned = tuple(replace(delivery, body_id=body_id) for delivery in planned)
        for delivery in planned:
            transaction.connection.execute(_MARK, (delivery.tenant, delivery.notification_id))
        add_deliveries(transaction, planned)
    return [None] * len(commands)


@contextmanager
def planning() -> Iterator[None]:
    """Within it, a store that is opened knows the command."""
    with mock.patch.dict(HANDLERS, {PlanDeliveries: plan_deliveries}):
        yield


class Dispatch:
    """Deliveries of a desk's notifications, planned, claimed and recorded by hand."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def plan(
        self,
        due_time: Micros,
        *addresses: str,
        recipient: str = "ada",
        channel: Channel = Channel.EMAIL,
        deferred: bool = False,
        expire_time: Micros | None = None,
        body: ChannelBody | None = None,
        id: bytes | None = None,
    ) -> bytes:
        """A delivery to each address, of a new notification in the inbox unless one is named; its id."""
        if id is None:
            id = (await self._desk.send(recipient)).notification_id
        planned = [
            NewDelivery(
                self._desk.tenant,
                id,
                recipient,
                channel,
                address,
                "log",
                due_time,
                deferred,
                None,
                expire_time,
            )
            for address in addresses or ("ada@example.com",)
        ]
        await self._desk.submit(
            PlanDeliveries(tenant=self._desk.tenant, deliveries=tuple(planned), body=body)
        )
        return id

    async def claim(self, limit: int = 100, lease: Micros = LEASE) -> list[ClaimedDelivery]:
        """What can be claimed now."""
        return list(
            (await self._desk.submit(ClaimDeliveries(tenant="", limit=limit, lease=lease))).deliveries
        )

    async def record(
        self, delivery: Delivery, attempted: Attempted = SENT, jitter: float = 0.0
    ) -> RecordOutcome:
        """What came of a call."""
        command = RecordDelivery(
            tenant=delivery.tenant,
            pk=delivery.pk,
            notification_id=delivery.notification_id,
            fence=delivery.fence,
            attempted=attempted,
            jitter=jitter,
        )
        return await self._desk.submit(command)


class HeldProvider:
    """Takes messages, and answers when and how it is told; without answers at hand, that it has sent."""

    name = "log"

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []
        self.answers: deque[Attempted | Exception] = deque()
        self.open = asyncio.Event()
        self.open.set()
        self.under_way = 0
        self.most_under_way = 0

    async def send(self, message: OutgoingMessage) -> Attempted:
        """See `ports.Provider`."""
        self.messages.append(message)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.open.wait()
        finally:
            self.under_way -= 1
        answer = self.answers.popleft() if self.answers else Sent()
        if isinstance(answer, Exception):
            raise answer
        return answer
