"""Send: each spec on its own, and what becomes of it."""

import asyncio

import pytest

from tests.support.contents import simple
from tests.support.desk import Desk
from tests.support.samples import TRACE_PARENT
from tests.support.senders import sending_on
from tests.support.stores import START, TurnedClock
from tests.support.streams import ANYONE, Exchange
from tocsin_server.domain.access import Principal
from tocsin_server.domain.errors import (
    CategoryNotAllowed,
    DeadlinePassed,
    MessageTooLarge,
    RateLimited,
    RecipientNotAllowed,
    RequestIdReused,
)
from tocsin_server.domain.ids import RANDOM_BITS, recipient_hash
from tocsin_server.domain.notification import Disposition, NotificationSpec, Priority
from tocsin_server.domain.time import HOUR
from tocsin_server.domain.value import replace
from tocsin_server.service.rates import SendRates
from tocsin_server.service.sending import SendRequest, SendResult, SentContent

SPEC = NotificationSpec("ada", "orders")
HELLO = simple("Hello", "World")


class Sender:
    def __init__(self, streams: Exchange) -> None:
        self.rate = 0
        rates = SendRates(lambda tenant: self.rate, lambda: 0.0)
        self.sending = sending_on(
            streams.store, streams.cursors, streams.clock, rates=rates, max_content_bytes=1_000
        )

    async def send(
        self,
        *specs: NotificationSpec,
        content: SentContent = HELLO,
        by: Principal = ANYONE,
        id: str = "",
        deadline: float | None = None,
    ) -> list[object]:
        requests = [SendRequest(id and f"{id}{place}", spec, content) for place, spec in enumerate(specs)]
        return list(await self.sending.send(by, requests, trace_parent=TRACE_PARENT, deadline=deadline))


@pytest.fixture
def sender(streams: Exchange) -> Sender:
    return Sender(streams)


def result(outcome: object) -> SendResult:
    assert isinstance(outcome, SendResult), outcome
    return outcome


async def test_what_is_sent_is_stored_whole(sender: Sender, streams: Exchange, desk: Desk) -> None:
    spec = replace(SPEC, priority=Priority.HIGH, thread="t", attributes={"order": "17"})
    sent = result((await sender.send(spec))[0])
    assert (sent.receipt.disposition, sent.receipt.revision, sent.replayed) == (Disposition.STORED, 1, False)
    assert sent.cursor == await streams.token(1)
    follower = await streams.live(("ada", await streams.token(0)))
    (event,) = [event for event in follower.events if event.HasField("notification")]
    shown = event.notification
    assert shown.content.fallback_text == "Hello\nWorld"
    assert (shown.thread, shown.attributes["order"], shown.trace_parent) == ("t", "17", TRACE_PARENT)
    assert shown.create_time.ToMicroseconds() == START
    id = int.from_bytes(sent.receipt.notification_id)
    assert id >> RANDOM_BITS & 0xFFF == recipient_hash("default", "ada")


async def test_nothing_is_sent_at_once(sender: Sender) -> None:
    assert await sender.send() == []


async def test_what_is_not_in_the_inbox_has_no_cursor(sender: Sender) -> None:
    later, never = await sender.send(replace(SPEC, deliver_delay=HOUR), replace(SPEC, expire_time=START))
    assert (result(later).receipt.disposition, result(later).cursor) == (Disposition.SCHEDULED, "")
    assert (result(never).receipt.disposition, result(never).cursor) == (Disposition.SUPPRESSED, "")


async def test_a_bad_spec_never_rejects_its_neighbours(sender: Sender, desk: Desk) -> None:
    limited = Principal("default", "key", ANYONE.scopes, recipients=("ada",), categories=("orders",))
    outcomes = await sender.send(
        SPEC,
        replace(SPEC, recipient="bob"),
        replace(SPEC, category="news"),
        SPEC,
        by=limited,
    )
    assert [type(outcome) for outcome in outcomes] == [
        SendResult, RecipientNotAllowed, CategoryNotAllowed, SendResult,
    ]  # fmt: skip
    assert [result(outcomes[place]).receipt.revision for place in (0, 3)] == [1, 2]
    assert (await desk.check_counts()).revision == 2


async def test_content_has_a_limit(sender: Sender, desk: Desk) -> None:
    (refused,) = await sender.send(SPEC, content=simple("x" * 2_000))
    assert isinstance(refused, MessageTooLarge)
    assert refused.metadata == {"limit": "1000"}
    assert await desk.entries() == []


async def test_a_repeat_gets_the_first_answer(sender: Sender, desk: Desk, turned_clock: TurnedClock) -> None:
    """Also when both are in flight at once, and later; a delay counts from the first."""
    spec = replace(SPEC, deliver_delay=HOUR)
    one, two = await asyncio.gather(sender.send(spec, id="r"), sender.send(spec, id="r"))
    turned_clock.time += HOUR
    three = await sender.send(spec, id="r")
    receipts = [result(found[0]) for found in (one, two, three)]
    assert len({each.receipt.notification_id for each in receipts}) == 1
    assert [each.replayed for each in receipts] == [False, True, True]
    assert await desk.timer_count() == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, category="news"),
        replace(SPEC, recipient="bob"),
        replace(SPEC, attributes={"order": "17"}),
        replace(SPEC, expire_time=START + HOUR),
        replace(SPEC, deliver_delay=HOUR),
    ],
)
async def test_another_spec_needs_another_id(sender: Sender, other: NotificationSpec) -> None:
    await sender.send(SPEC, id="r")
    (refused,) = await sender.send(other, id="r")
    assert isinstance(refused, RequestIdReused)


async def test_another_content_needs_another_id(sender: Sender) -> None:
    await sender.send(SPEC, id="r")
    (refused,) = await sender.send(SPEC, content=simple("Hello", "World!"), id="r")
    assert isinstance(refused, RequestIdReused)


async def test_without_an_id_nothing_is_a_repeat(sender: Sender, desk: Desk) -> None:
    await sender.send(SPEC, SPEC)
    assert (await desk.check_counts()).revision == 2


async def test_a_tenant_that_sends_too_fast_is_held_back(sender: Sender, desk: Desk) -> None:
    sender.rate = 3
    outcomes = await sender.send(*[SPEC] * 5)
    assert [isinstance(outcome, RateLimited) for outcome in outcomes] == [False] * 3 + [True] * 2
    assert (await desk.check_counts()).revision == 3


async def test_past_the_deadline_nothing_is_sent(sender: Sender, desk: Desk) -> None:
    (late,) = await sender.send(SPEC, deadline=0.0)
    assert isinstance(late, DeadlinePassed)
    assert await desk.entries() == []
