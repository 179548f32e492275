"""Load over the bare stubs, independent of our client library: senders, a marker, subscribers; they feed the oracle."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import grpc
from google.rpc.code_pb2 import RESOURCE_EXHAUSTED, UNAVAILABLE

from tests.support.calls import CALL_TIMEOUT_S, PATIENCE_S, answered, ask, channel_to
from tests.support.oracle import Inbox, Oracle, Violation, count
from tests.support.subscriber import Subscriber
from tests.support.waiting import INTERVAL_S, eventually
from tests.support.wire import REQUEST_ID, ack_of, read_inbox
from tocsin.v1.inbox_service_pb2 import MARK_ARCHIVED, MARK_READ, MARK_SEEN, MarkEntriesRequest
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_pb2 import Content, NotificationIds, NotificationSpec, SimpleContent
from tocsin.v1.notification_service_pb2 import (
    CancelNotificationsRequest,
    SendBatchRequest,
    SendItem,
    SendItemResult,
    SendRequest,
    SendStreamRequest,
)
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub

# The same for an item of a batch.
ITEM_ASKED_AGAIN = frozenset({UNAVAILABLE, RESOURCE_EXHAUSTED})

# How long subscribers may take to catch up once nothing is wrong any more.
CATCH_UP_S = 15

ITEMS_MAX = 20
# How often an answered request is sent once more, to be answered the same.
REPLAYED_SHARE = 0.1
# Marks that no later mark takes back, and what the entry's state says then.
MARKS = {MARK_SEEN: "seen", MARK_READ: "read", MARK_ARCHIVED: "archived"}
CANCELLED_SHARE = 0.1


class Sender:
    """Sends notifications by Send, SendBatch and SendStream, until each is answered.

    An item that was not answered is sent again under its request id, perhaps another way: they share one space of ids.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        oracle: Oracle,
        name: str,
        recipients: Sequence[str],
        rng: random.Random,
        body: str = "",
    ) -> None:
        self._name = name
        self._stub = NotificationServiceStub(channel)
        self._oracle = oracle
        self._recipients = recipients
        self._rng = rng
        self._body = body
        self._ways = (self._by_send, self._by_batch, self._by_stream)
        self._made = 0

    async def run(self, notifications: int) -> None:
        """Send so many notifications, and return when all are answered with OK."""
        while notifications:
            items = [self._make() for _ in range(min(notifications, self._rng.randint(1, ITEMS_MAX)))]
            notifications -= len(items)
            await self.send(items)
            if self._rng.random() < REPLAYED_SHARE:
                await self.send(items)

    async def send(self, items: Sequence[SendItem]) -> None:
        """Send items until all are answered with OK."""
        open_items = {item.request_id: item for item in items}

        async def send_open_items() -> None:
            if not open_items:
                return  # the last answer came, and the end of its stream did not
            way = self._rng.choice(self._ways)
            async for request_id, outcome in way(list(open_items.values())):
                if outcome.WhichOneof("outcome") == "result":
                    ack = ack_of(outcome.result)
                    self._oracle.acked(request_id, ack, replayed=outcome.result.replayed)
                    del open_items[request_id]
                elif outcome.error.code not in ITEM_ASKED_AGAIN:
                    raise AssertionError(f"{request_id} was refused: {outcome.error}")

        async with asyncio.timeout(PATIENCE_S):
            await answered(send_open_items)
            while open_items:
                await asyncio.sleep(INTERVAL_S)
                await answered(send_open_items)

    def _make(self) -> SendItem:
        self._made += 1
        request_id = f"{self._name}-{self._made}"
        recipient = self._rng.choice(self._recipients)
        self._oracle.asked(request_id, recipient)
        return make_item(request_id, recipient, self._body)

    async def _by_send(self, items: Sequence[SendItem]) -> AsyncIterator[tuple[str, SendItemResult]]:
        for item in items:
            request = SendRequest(request_id=item.request_id, notification=item.notification)
            reply = await self._stub.Send(request, timeout=CALL_TIMEOUT_S)
            yield item.request_id, SendItemResult(result=reply.result)

    async def _by_batch(self, items: Sequence[SendItem]) -> AsyncIterator[tuple[str, SendItemResult]]:
        reply = await self._stub.SendBatch(SendBatchRequest(items=items), timeout=CALL_TIMEOUT_S)
        for item, result in zip(items, reply.results, strict=True):
            yield item.request_id, result

    async def _by_stream(self, items: Sequence[SendItem]) -> AsyncIterator[tuple[str, SendItemResult]]:
        messages = [items[at : at + 3] for at in range(0, len(items), 3)]
        # Written by hand: handed an iterator, grpc.aio cancels the call when the connection breaks below it, and raises
        # a CancelledError that nobody asked for.
        stream = self._stub.SendStream(timeout=CALL_TIMEOUT_S)
        # A stream that has ended cannot be written to, for which grpc.aio has several exceptions, one of them private.
        # Reading it says how it ended.
        with contextlib.suppress(Exception):
            for message in messages:
                await stream.write(SendStreamRequest(items=message))
            await stream.done_writing()
        unanswered = iter(messages)
        async for reply in stream:
            for item, result in zip(next(unanswered), reply.results, strict=True):
                yield item.request_id, result
        assert next(unanswered, None) is None, "SendStream ended with OK before it had answered everything"


def make_item(request_id: str, recipient: str, body: str = "") -> SendItem:
    """A notification that says which request it was sent by."""
    return SendItem(
        request_id=request_id,
        notification=NotificationSpec(
            recipient=recipient,
            category="faults",
            content=Content(simple=SimpleContent(title=request_id, body=body)),
            attributes={REQUEST_ID: request_id},
        ),
    )


class Marker:
    """Marks and retracts what a subscriber has received, in ways that nothing takes back."""

    def __init__(
        self, channel: grpc.aio.Channel, oracle: Oracle, name: str, reader: str, rng: random.Random
    ) -> None:
        self._name = name
        self._reader = reader
        self._inbox = InboxServiceStub(channel)
        self._sending = NotificationServiceStub(channel)
        self._oracle = oracle
        self._rng = rng
        self._made = 0
        self._stopping = False

    def stop(self) -> None:
        """End `run` when the request under way is answered: to cancel it would not take it back."""
        self._stopping = True

    async def run(self, recipients: Sequence[str]) -> None:
        """Mark until stopped, as soon as there is something to mark."""
        self._stopping = False
        while not self._stopping:
            recipient = self._rng.choice(recipients)
            received = self._oracle.entries(self._reader, recipient)
            if received:
                ids = self._rng.sample(sorted(received), k=min(len(received), self._rng.randint(1, 5)))
                if self._rng.random() < CANCELLED_SHARE:
                    await self._retract(recipient, ids[:1])
                else:
                    await self._mark(recipient, ids)
            await asyncio.sleep(INTERVAL_S)

    async def _mark(self, recipient: str, ids: Sequence[str]) -> None:
        mark, flag = self._rng.choice(list(MARKS.items()))
        request = MarkEntriesRequest(
            request_id=self._request_id(),
            recipient=recipient,
            mark=mark,
            notifications=NotificationIds(ids=ids),
        )
        await ask(self._inbox.MarkEntries, request)
        self._acked(recipient, ids, flag)

    async def _retract(self, recipient: str, ids: Sequence[str]) -> None:
        request = CancelNotificationsRequest(
            request_id=self._request_id(), notifications=NotificationIds(ids=ids)
        )
        await ask(self._sending.CancelNotifications, request)
        self._acked(recipient, ids, "retracted")

    def _acked(self, recipient: str, ids: Sequence[str], flag: str) -> None:
        for notification_id in ids:
            self._oracle.marked(recipient, notification_id, flag)

    def _request_id(self) -> str:
        self._made += 1
        return f"{self._name}-{self._made}"


class Load:
    """Senders, a marker and subscribers at work on one server, or on several of a fleet.

    An async context manager: they subscribe within.

    Whatever goes wrong in any of them is raised where the context is left, or cancels what is awaited within it.
    """

    def __init__(
        self,
        address: str | Sequence[str],
        rng: random.Random,
        *,
        recipients: Sequence[str] = (),
        recipient_count: int = 5,
        sender_count: int = 4,
        subscriber_count: int = 2,
        subscriber_address: str | None = None,
        body: str = "",
        prefix: str = "",
    ) -> None:
        """Of several addresses, senders and subscribers take one after the other. Unless they are given, recipients are
        made up. `prefix` tells the names of one load from those of another on the same server.
        """
        addresses = [address] if isinstance(address, str) else address
        self.oracle = Oracle()
        made_up = [f"{prefix}recipient-{number}" for number in range(recipient_count)]
        self.recipients = list(recipients) or made_up
        self._channels = [channel_to(each) for each in addresses]
        self.channel = self._channels[0]
        # From the last to the first, so that most of what a subscriber gets was sent elsewhere.
        self._subscriber_channels = [
            channel_to(subscriber_address or addresses[-1 - number % len(addresses)])
            for number in range(subscriber_count)
        ]
        self.subscribers = [
            Subscriber(
                *(channel, self.oracle, f"subscriber-{number}", self.recipients, rng),
                # The first one never goes back, so that what it missed shows.
                older_share=0.3 if number else 0.0,
            )
            for number, channel in enumerate(self._subscriber_channels)
        ]
        self._senders = [
            Sender(
                self._channels[number % len(self._channels)],
                self.oracle,
                f"{prefix}sender-{number}",
                self.recipients,
                rng,
                body,
            )
            for number in range(sender_count)
        ]
        self._marker = Marker(self.channel, self.oracle, f"{prefix}marker", self.subscribers[0].name, rng)
        self._stack = AsyncExitStack()
        for channel in (*self._channels, *self._subscriber_channels):
            self._stack.push_async_callback(channel.close)
        self._tasks = asyncio.TaskGroup()
        self._subscribing: list[asyncio.Task[None]] = []
        self._sending: list[asyncio.Task[None]] = []
        self._marking: list[asyncio.Task[None]] = []

    def begin(self, notifications: int) -> None:
        """Begin to send about so many notifications, and to mark what arrives."""
        share = notifications // len(self._senders)
        self._sending = [self._tasks.create_task(sender.run(share)) for sender in self._senders]
        self._marking = [self._tasks.create_task(self._marker.run(self.recipients))]

    @property
    def sending(self) -> bool:
        """Whether something that was begun is not answered yet."""
        return not all(task.done() for task in self._sending)

    async def acked(self, notifications: int) -> None:
        """Return when so many more notifications have been acked than now, or all of them."""
        goal = self.oracle.ack_count + notifications
        await eventually(
            lambda: self.oracle.ack_count >= goal or not self.sending,
            f"{notifications} more acks",
            PATIENCE_S,
        )

    async def finished(self) -> None:
        """Return when everything that was begun is answered, and nothing is marked any more."""
        await asyncio.gather(*self._sending)
        self._marker.stop()
        await asyncio.gather(*self._marking)

    async def subscribed(self) -> None:
        """Return when every subscriber has a stream."""
        await eventually(
            lambda: all(subscriber.session_id for subscriber in self.subscribers), "the subscribers' streams"
        )

    async def caught_up(
        self, subscribers: Sequence[Subscriber], inboxes: Sequence[Inbox] | None = None
    ) -> None:
        """Return when these subscribers have everything that the inboxes hold now."""
        inboxes = inboxes or await self.read_inboxes()
        await eventually(
            lambda: all(self._has(subscriber, inbox) for subscriber in subscribers for inbox in inboxes),
            "the subscribers to catch up",
            CATCH_UP_S,
        )

    async def read_inboxes(self, *, history: bool = False) -> list[Inbox]:
        """All inboxes that were sent to."""
        recipients = sorted(self.oracle.recipients)
        return [await read_inbox(self.channel, recipient, history=history) for recipient in recipients]

    async def violations(self) -> list[Violation]:
        """What the oracle finds, once all subscribers have caught up, or do not get any further."""
        inboxes = await self.read_inboxes(history=True)
        with contextlib.suppress(TimeoutError):  # then the oracle says what they lack
            await self.caught_up(self.subscribers, inboxes)
        return self.oracle.violations(inboxes)

    def _has(self, subscriber: Subscriber, inbox: Inbox) -> bool:
        latest = self.oracle.entries(subscriber.name, inbox.recipient)
        counts = self.oracle.counts(subscriber.name, inbox.recipient)
        return all(latest.get(entry.id) == entry for entry in inbox.entries) and (
            counts is None or counts == count(inbox.entries)
        )

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._tasks)
        self._subscribing = [self._tasks.create_task(subscriber.run()) for subscriber in self.subscribers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        for task in (*self._sending, *self._marking, *self._subscribing):
            task.cancel()
        try:
            return await self._stack.__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:
            if len(failures.exceptions) > 1:
                raise
            raise failures.exceptions[0] from None  # most often what the test itself found


async def cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel tasks and return when they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
