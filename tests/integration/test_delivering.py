"""The loop that delivers, on a real store: what it hands to providers, when, and how often."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.contents import simple
from tests.support.deliveries import Dispatch, HeldProvider, planning
from tests.support.desk import CODEC, Desk
from tests.support.senders import facts_of, releases_on, sending_on, templates_of
from tests.support.stores import START, TurnedClock, stored
from tests.support.streams import ANYONE
from tests.support.waiting import eventually
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands import (
    Answer,
    ClaimDeliveries,
    Command,
    Receipt,
    RecordDelivery,
    UpsertRecipient,
)
from tocsin_server.domain.content import Content, SimpleContent
from tocsin_server.domain.delivery import (
    Bounced,
    Delivery,
    DeliveryState,
    Failed,
    Sent,
    idempotency_key,
)
from tocsin_server.domain.errors import StorageUnavailable, TocsinError
from tocsin_server.domain.notification import Channel, ChannelOverride, NotificationSpec, TemplateRef
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, Profile
from tocsin_server.domain.template import TemplateBody, TemplateChannel, TemplateDefinition
from tocsin_server.domain.time import HOUR, MINUTE, SECOND, Micros
from tocsin_server.domain.value import replace
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.ports import QueueDepth, Writer
from tocsin_server.service.providers import Providers
from tocsin_server.service.releases import Releases
from tocsin_server.service.sending import Sending, SendRequest, SendResult
from tocsin_server.service.status import Component, ComponentState
from tocsin_server.store.store import Store
from tocsin_server.workers.deliver import LATE, DeliverLimits, DeliverWorker

CONCURRENCY = 4


class Scribe:
    """The store's writer, which refuses some kinds of commands as often as it is told, and runs what is to happen
    between a claim and its call."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.refuse: dict[type[Command[Any]], int] = {}
        self.after_claim: Callable[[], None] = lambda: None

    async def submit(
        self, commands: Sequence[Command[Receipt]], *, deadline: float | None = None
    ) -> list[Answer[Receipt] | TocsinError]:
        kind = type(commands[0])
        if self.refuse.get(kind, 0):
            self.refuse[kind] -= 1
            return [StorageUnavailable()] * len(commands)
        answers = await self._writer.submit(commands, deadline=deadline)
        if kind is ClaimDeliveries:
            self.after_claim()
        return answers

    def depth(self) -> QueueDepth:
        return self._writer.depth()


class Rig:
    """A loop, its provider, and the store that both work on."""

    def __init__(self, store: Store, clock: TurnedClock, *, call_timeout: int = 10 * SECOND) -> None:
        self.store = store
        self.clock = clock
        self.scribe = Scribe(store.writer)
        self.provider = HeldProvider()
        self.component = Component("deliveries", clock)
        self.worker = DeliverWorker(
            store.deliveries,
            self.scribe,
            clock,
            CODEC,
            Providers({Channel.EMAIL: self.provider}),
            self.component,
            DeliverLimits(CONCURRENCY, call_timeout),
        )
        store.writer.listen(self.worker)
        self.desk = Desk(store, clock)
        self.dispatch = Dispatch(self.desk)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loop runs."""
        task = asyncio.ensure_future(self.worker.run())
        try:
            yield
        finally:
            await self.worker.drain(10)
            await task

    async def of(self, id: bytes) -> Delivery:
        (delivery,) = await self.store.deliveries.deliveries("default", id, 2)
        return delivery

    async def until(self, id: bytes, *states: DeliveryState) -> Delivery:
        """Waits for the delivery to be in one of these."""

        async def look() -> Delivery | None:
            delivery = await self.of(id)
            return delivery if delivery.state in states else None

        found = await eventually(look, f"the delivery to be one of {states}")
        assert found is not None
        return found


SPEC = NotificationSpec(
    "ada",
    "orders",
    channels=(Channel.EMAIL,),
    overrides=(ChannelOverride(Channel.EMAIL, subject="Build 17!", from_name="CI"),),
)


@dataclass(frozen=True)
class Outbox:
    """What sends to Ada, who has a mailbox, and what lets out what it keeps."""

    sending: Sending
    releases: Releases
    store: Store
    clock: TurnedClock

    @classmethod
    async def open(cls, rig: Rig, store: Store, clock: TurnedClock) -> "Outbox":
        profile = Profile(addresses=(Address(Channel.EMAIL, "ada@example.com"),))
        await rig.desk.submit(
            UpsertRecipient(tenant="default", recipient="ada", profile=profile, fields=PROFILE_FIELDS)
        )
        facts = facts_of(store, {Channel.EMAIL: "log"})
        sending = sending_on(store, Cursors(store.facts), clock, facts=facts)
        return cls(sending, releases_on(store, clock, facts=facts), store, clock)

    async def send(self, request: SendRequest) -> bytes:
        (result,) = await self.sending.send(ANYONE, [request])
        assert isinstance(result, SendResult), result
        return result.receipt.notification_id

    async def let_time_pass(self, time: Micros) -> None:
        self.clock.time += time
        await self.releases.fire(await self.store.readers.due_timers(self.clock.time, 100))


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture(autouse=True)
def known_command() -> Iterator[None]:
    with planning():
        yield


@pytest.fixture
async def store(tmp_path: Path, clock: TurnedClock) -> AsyncIterator[Store]:
    async with stored(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def rig(store: Store, clock: TurnedClock) -> Rig:
    return Rig(store, clock)


async def test_a_provider_gets_all_it_needs(rig: Rig) -> None:
    id = (await rig.desk.send(text="Hello", trace=CODEC.trace("00-trace"))).notification_id
    await rig.dispatch.plan(START, id=id, expire_time=START + HOUR)
    async with rig.running():
        delivery = await rig.until(id, DeliveryState.SENT)
    (message,) = rig.provider.messages
    assert (message.tenant, message.notification_id) == ("default", id)
    assert (message.channel, message.address) == (Channel.EMAIL, "ada@example.com")
    assert message.body == ChannelBody(Channel.EMAIL, subject="Hello", text="Hello")
    assert message.content.kind.title == "Hello"
    assert message.idempotency_key == idempotency_key("default", id, Channel.EMAIL, "ada@example.com")
    assert (message.attempt, message.expire_time) == (1, START + HOUR)
    assert message.trace_parent == "00-trace"
    assert (delivery.attempts, rig.worker.attempts) == (1, {("email", "sent"): 1})


async def test_a_body_that_was_rendered_is_what_goes_out(rig: Rig) -> None:
    body = ChannelBody(Channel.EMAIL, "Subject", "Text", "<p>Text</p>")
    id = await rig.dispatch.plan(START, body=body)
    async with rig.running():
        await rig.until(id, DeliveryState.SENT)
    assert [message.body for message in rig.provider.messages] == [body]


@pytest.mark.parametrize("deliver_delay", [None, HOUR], ids=["at once", "scheduled"])
async def test_a_sender_says_what_differs_on_a_channel(
    rig: Rig, store: Store, clock: TurnedClock, deliver_delay: int | None
) -> None:
    """What it does not say for the channel follows the content, also where that is revised in the meantime."""
    outbox = await Outbox.open(rig, store, clock)
    spec = replace(SPEC, deliver_delay=deliver_delay)
    first, second = [await outbox.send(SendRequest("", spec, simple("Hello", "World"))) for _ in range(2)]
    await rig.desk.revise(second, "Revised")
    await outbox.let_time_pass(deliver_delay or 0)
    async with rig.running():
        for id in (first, second):
            await rig.until(id, DeliveryState.SENT)
    assert {message.notification_id: message.body for message in rig.provider.messages} == {
        first: ChannelBody(Channel.EMAIL, "Build 17!", "World", from_name="CI"),
        second: ChannelBody(Channel.EMAIL, "Build 17!", "Revised", from_name="CI"),
    }


@pytest.mark.parametrize("deliver_delay", [None, HOUR], ids=["at once", "scheduled"])
async def test_what_a_sender_says_goes_before_its_template(
    rig: Rig, store: Store, clock: TurnedClock, deliver_delay: int | None
) -> None:
    outbox = await Outbox.open(rig, store, clock)
    channel = TemplateChannel(
        Channel.EMAIL, subject="Rendered", text="{{ data.text }}", html="<p>Rendered</p>"
    )
    body = TemplateBody("", Content(SimpleContent("Hello")), channels=(channel,))
    definition = TemplateDefinition((body,))
    await templates_of(store, clock).create_version(ANYONE, "", "greeting", definition, activate=True)
    template = TemplateRef("greeting", data={"text": "World"})
    spec = replace(SPEC, deliver_delay=deliver_delay, template=template)
    id = await outbox.send(SendRequest("", spec, None))
    await outbox.let_time_pass(deliver_delay or 0)
    async with rig.running():
        await rig.until(id, DeliveryState.SENT)
    (message,) = rig.provider.messages
    assert message.body == ChannelBody(Channel.EMAIL, "Build 17!", "World", "<p>Rendered</p>", from_name="CI")


async def test_a_delivery_goes_out_when_it_is_due(rig: Rig, clock: TurnedClock) -> None:
    async with rig.running():
        later = await rig.dispatch.plan(START + HOUR)
        now = await rig.dispatch.plan(START)
        await rig.until(now, DeliveryState.SENT)
        assert (await rig.of(later)).state is DeliveryState.PENDING
        clock.time += HOUR
        await rig.until(later, DeliveryState.SENT)
    assert [message.notification_id for message in rig.provider.messages] == [now, later]


async def test_a_failure_is_tried_again_under_the_same_key(rig: Rig, clock: TurnedClock) -> None:
    rig.provider.answers += [Failed("Busy."), RuntimeError("a defect"), Sent("m-1")]
    id = await rig.dispatch.plan(START)
    details = []
    async with rig.running():
        for _ in range(2):
            delivery = await rig.until(id, DeliveryState.FAILED)
            details.append(delivery.detail)
            clock.time = delivery.due_time
            await eventually(lambda: len(rig.provider.messages) > len(details), "another attempt")
        delivery = await rig.until(id, DeliveryState.SENT)
    assert details == ["Busy.", "The provider's adapter failed: RuntimeError."]
    assert (delivery.message_id, delivery.attempts) == ("m-1", 3)
    assert [message.attempt for message in rig.provider.messages] == [1, 2, 3]
    assert len({message.idempotency_key for message in rig.provider.messages}) == 1


async def test_what_cannot_be_made_a_message_has_failed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that this version cannot read is a failure like any other: seen, tried again, and given up in time."""

    def unreadable(content: bytes) -> Content:
        raise ValueError(content)

    monkeypatch.setattr(rig.worker, "_codec", SimpleNamespace(content=unreadable))
    id = await rig.dispatch.plan(START)
    async with rig.running():
        delivery = await rig.until(id, DeliveryState.FAILED)
    assert (delivery.detail, delivery.attempts) == ("The provider's adapter failed: ValueError.", 1)
    assert rig.provider.messages == []


async def test_an_address_that_bounces_is_not_tried_again(rig: Rig) -> None:
    rig.provider.answers.append(Bounced("No such user."))
    id = await rig.dispatch.plan(START)
    async with rig.running():
        delivery = await rig.until(id, DeliveryState.BOUNCED)
    assert (delivery.detail, delivery.claim_time) == ("No such user.", None)


async def test_a_provider_that_does_not_answer_has_failed(store: Store, clock: TurnedClock) -> None:
    rig = Rig(store, clock, call_timeout=SECOND // 20)
    rig.provider.open.clear()
    id = await rig.dispatch.plan(START)
    async with rig.running():
        delivery = await rig.until(id, DeliveryState.FAILED)
    assert delivery.detail == "No answer within 0.05 s."
    assert rig.provider.under_way == 0


async def test_a_provider_that_is_not_enabled_any_more_has_failed(rig: Rig) -> None:
    id = await rig.dispatch.plan(START, channel=Channel.SMS)
    async with rig.running():
        delivery = await rig.until(id, DeliveryState.FAILED)
    assert delivery.detail == "The provider log is not enabled."


async def test_only_so_many_calls_are_under_way_and_the_rest_is_not_claimed(rig: Rig) -> None:
    """What waits here for its turn would have less of its lease than it needs."""
    rig.provider.open.clear()
    ids = [await rig.dispatch.plan(START) for _ in range(3 * CONCURRENCY)]
    async with rig.running():
        await eventually(lambda: rig.provider.under_way == CONCURRENCY, "all calls that may be under way")
        states = [(await rig.of(id)).state for id in ids]
        assert states.count(DeliveryState.CLAIMED) == CONCURRENCY
        rig.provider.open.set()
        for id in ids:
            await rig.until(id, DeliveryState.SENT)
    assert rig.provider.most_under_way == CONCURRENCY
    assert len(rig.provider.messages) == len(ids)


async def test_what_expires_between_the_claim_and_the_call_does_not_go_out(
    rig: Rig, clock: TurnedClock
) -> None:
    def turn() -> None:
        clock.time = START + HOUR

    rig.scribe.after_claim = turn
    id = await rig.dispatch.plan(START, expire_time=START + HOUR)
    async with rig.running():
        await rig.until(id, DeliveryState.EXPIRED)
    assert rig.provider.messages == []


async def test_a_result_is_recorded_as_soon_as_storage_can(rig: Rig) -> None:
    """The provider is not called again for it."""
    rig.scribe.refuse[RecordDelivery] = 2
    id = await rig.dispatch.plan(START)
    async with rig.running():
        await rig.until(id, DeliveryState.SENT)
    assert len(rig.provider.messages) == 1


async def test_a_result_that_cannot_be_recorded_in_time_is_given_up(store: Store, clock: TurnedClock) -> None:
    """Its delivery is made again, under the same key."""
    rig = Rig(store, clock, call_timeout=SECOND // 20)
    rig.scribe.refuse[RecordDelivery] = 1_000
    id = await rig.dispatch.plan(START)
    async with rig.running():
        await eventually(lambda: rig.worker.attempts.total() == 1, "the first call")
        await eventually(lambda: not rig.worker._calls, "the result to be given up")
        rig.scribe.refuse.clear()
        clock.time += MINUTE
        await rig.until(id, DeliveryState.SENT)
    first, second = rig.provider.messages
    assert (first.idempotency_key, second.attempt) == (second.idempotency_key, 2)


async def test_the_loop_goes_on_when_storage_comes_back(rig: Rig) -> None:
    rig.scribe.refuse[ClaimDeliveries] = 1
    id = await rig.dispatch.plan(START)
    async with rig.running():
        await rig.until(id, DeliveryState.SENT)


async def test_a_drain_ends_what_is_under_way_and_begins_nothing(rig: Rig) -> None:
    rig.provider.open.clear()
    under_way = await rig.dispatch.plan(START)
    async with rig.running():
        await eventually(lambda: rig.provider.under_way == 1, "the call")
        draining = asyncio.ensure_future(rig.worker.drain(10))
        await eventually(rig.worker._claims_no_more.is_set, "the end of claiming")
        waiting = await rig.dispatch.plan(START)
        rig.provider.open.set()
        await draining
    assert (await rig.of(under_way)).state is DeliveryState.SENT
    assert (await rig.of(waiting)).state is DeliveryState.PENDING


async def test_a_drain_does_not_wait_for_a_provider_that_hangs(rig: Rig) -> None:
    rig.provider.open.clear()
    id = await rig.dispatch.plan(START)
    async with rig.running():
        await eventually(lambda: rig.provider.under_way == 1, "the call")
        await rig.worker.drain(0.05)
        assert rig.provider.under_way == 0
    # Whoever comes next makes it again once the lease has ended.
    assert (await rig.of(id)).state is DeliveryState.CLAIMED


async def test_it_is_reported_how_late_deliveries_are(rig: Rig, clock: TurnedClock) -> None:
    await rig.dispatch.plan(START)
    clock.time = START + LATE
    rig.scribe.refuse[ClaimDeliveries] = 1_000
    async with rig.running():
        await eventually(lambda: rig.component.report.state is ComponentState.DEGRADED, "the report")
        queue = rig.worker.queue()
        assert (queue.depth, queue.oldest_age, rig.worker.lag) == (1, LATE, LATE)
        rig.scribe.refuse.clear()
        await eventually(lambda: rig.component.report.state is ComponentState.OK, "the end of it")
        await eventually(lambda: rig.worker.queue().depth == 0, "an empty queue")


async def test_several_loops_on_one_store_make_each_delivery_once(store: Store, clock: TurnedClock) -> None:
    rigs = [Rig(store, clock) for _ in range(3)]
    ids = [await rigs[0].dispatch.plan(START) for _ in range(60)]
    async with rigs[0].running(), rigs[1].running(), rigs[2].running():
        for id in ids:
            await rigs[0].until(id, DeliveryState.SENT)
    made = [message.notification_id for rig in rigs for message in rig.provider.messages]
    assert sorted(made) == sorted(ids)
