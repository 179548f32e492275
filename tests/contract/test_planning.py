"""PlanSend, and Send with channels besides the inbox: what is decided, what is told of it, and what is refused."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.conftest import Refusal, Start, Tocsin, reason, refused, spec
from tests.support.waiting import eventually
from tocsin.v1 import category_service_pb2 as categories
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import preference_service_pb2 as preferences
from tocsin.v1.notification_service_pb2 import (
    DELIVERY_STATE_PENDING,
    DELIVERY_STATE_SENT,
    TIMELINE_EVENT_KIND_SUPPRESSED,
    GetNotificationRequest,
    GetNotificationResponse,
    PlanSendRequest,
    PlanSendResponse,
    SendRequest,
    SendResult,
)
from tocsin.v1.recipient_service_pb2 import Address, Recipient, UpsertRecipientItem, UpsertRecipientsRequest
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.rpc.convert.times import micros, timestamp

EVERYWHERE = [pb.CHANNEL_INBOX, pb.CHANNEL_EMAIL, pb.CHANNEL_PUSH, pb.CHANNEL_SMS]
ADDRESSES = {pb.CHANNEL_EMAIL: "ada@example.com", pb.CHANNEL_PUSH: "phone", pb.CHANNEL_CHAT: "@ada"}
ALWAYS = preferences.QuietHours(
    windows=[
        preferences.QuietWindow(days=preferences.Weekday.values()[1:], start_time="00:00", end_time="00:00")
    ],
    action=preferences.QUIET_ACTION_DEFER,
)


class Person:
    """Ada, who has a mailbox, a phone and a name in a chat, for which nobody has a provider."""

    def __init__(self, tocsin: Tocsin) -> None:
        self.tocsin = tocsin

    async def know(self) -> None:
        addresses = [Address(channel=channel, value=value) for channel, value in ADDRESSES.items()]
        item = UpsertRecipientItem(recipient=Recipient(recipient="ada", addresses=addresses))
        await self.tocsin.recipients.UpsertRecipients(UpsertRecipientsRequest(items=[item]))

    async def define(self, **fields: Any) -> None:
        category = categories.Category(category="orders", **fields)
        await self.tocsin.categories.UpsertCategory(categories.UpsertCategoryRequest(category=category))

    async def prefer(self, *denied: int, quiet: preferences.QuietHours | None = None) -> None:
        choices = [
            preferences.PreferenceChoice(allowed=False, category="orders", channel=channel)  # type: ignore[arg-type]
            for channel in denied
        ]
        said = preferences.Preferences(choices=choices, quiet_hours=quiet)
        await self.tocsin.preferences.UpdatePreferences(
            preferences.UpdatePreferencesRequest(recipient="ada", preferences=said)
        )

    async def plan(self, **fields: Any) -> PlanSendResponse:
        request = PlanSendRequest(notification=spec(**{"channels": EVERYWHERE, **fields}))
        return await self.tocsin.notifications.PlanSend(request)

    async def send(self, **fields: Any) -> SendResult:
        return await self.tocsin.send(**{"channels": EVERYWHERE, **fields})

    async def get(self, result: SendResult) -> GetNotificationResponse:
        request = GetNotificationRequest(notification_id=result.notification_id)
        return await self.tocsin.notifications.GetNotification(request)


@pytest.fixture
async def ada(start: Start) -> Person:
    """In a tenant whose e-mail, push and SMS go to the log. It is noon: no day ends during a test."""
    tocsin = await start(log_channels="email,push,sms")
    tocsin.turn_clock(DAY + DAY // 2 - tocsin.clock.now() % DAY)
    person = Person(tocsin)
    await person.know()
    return person


def told(decisions: Any) -> list[tuple[str, str, str, str, str]]:
    """Rule, outcome, channel, layer and key of each decision, all of which say why."""
    assert all(decision.text.endswith(".") for decision in decisions)
    return [
        (
            pb.DecisionRule.Name(decision.rule).removeprefix("DECISION_RULE_"),
            pb.DecisionOutcome.Name(decision.outcome).removeprefix("DECISION_OUTCOME_"),
            pb.Channel.Name(decision.channel).removeprefix("CHANNEL_"),
            decision.layer,
            decision.key,
        )
        for decision in decisions
    ]


def going_out(plan: PlanSendResponse) -> dict[int, str]:
    assert {delivery.provider for delivery in plan.deliveries} <= {"log"}
    return {delivery.channel: delivery.address for delivery in plan.deliveries}


NO_PHONE_NUMBER = ("NO_ADDRESS", "SUPPRESSED", "SMS", "recipient", "addresses")

# --- what a plan says -------------------------------------------------------------------------------------------------


async def test_a_plan_says_where_it_would_go_and_what_it_would_show(ada: Person) -> None:
    before = ada.tocsin.clock.now()
    plan = await ada.plan(title="Shipped")
    assert (plan.disposition, plan.enters_inbox) == (pb.DISPOSITION_STORED, True)
    assert plan.content == pb.Content(simple=pb.SimpleContent(title="Shipped"), fallback_text="Shipped")
    assert going_out(plan) == {pb.CHANNEL_EMAIL: "ada@example.com", pb.CHANNEL_PUSH: "phone"}
    for delivery in plan.deliveries:
        assert before <= micros(delivery.due_time) <= ada.tocsin.clock.now()
    assert told(plan.decisions) == [NO_PHONE_NUMBER]


async def test_a_plan_leaves_nothing_behind(ada: Person) -> None:
    await ada.plan(recipient="nobody")
    await ada.plan(title="t", deliver_delay=Duration(seconds=60))
    assert await ada.tocsin.titles() == []
    assert await reason(ada.tocsin.entries("nobody")) == "RECIPIENT_NOT_FOUND"
    assert (await ada.send()).cursor == (await ada.tocsin.entries()).cursor


async def test_a_channel_that_is_denied_is_left_out_and_so_is_one_without_a_provider(ada: Person) -> None:
    await ada.define(channels=[pb.CHANNEL_INBOX, pb.CHANNEL_PUSH, pb.CHANNEL_CHAT])
    await ada.prefer(pb.CHANNEL_PUSH)
    plan = await ada.plan(channels=[])
    assert (plan.enters_inbox, going_out(plan)) == (True, {})
    assert told(plan.decisions) == [
        ("PREFERENCE", "SUPPRESSED", "PUSH", "recipient", "orders PUSH"),
        ("NO_PROVIDER", "SUPPRESSED", "CHAT", "settings", "providers"),
    ]


async def test_what_goes_nowhere_is_suppressed(ada: Person) -> None:
    await ada.define()
    await ada.prefer(*EVERYWHERE)
    plan = await ada.plan()
    assert (plan.disposition, plan.enters_inbox) == (pb.DISPOSITION_SUPPRESSED, False)
    assert [decision[2] for decision in told(plan.decisions)] == ["INBOX", "EMAIL", "PUSH", "SMS"]


async def test_quiet_hours_defer_what_interrupts(ada: Person) -> None:
    await ada.prefer(quiet=ALWAYS)
    plan = await ada.plan()
    email, push = plan.deliveries
    assert micros(email.due_time) <= ada.tocsin.clock.now() < micros(push.due_time)
    (quiet,) = [decision for decision in plan.decisions if decision.rule == pb.DECISION_RULE_QUIET_HOURS]
    assert told([quiet]) == [("QUIET_HOURS", "DEFERRED", "PUSH", "recipient", "quiet_hours")]
    assert quiet.due_time == push.due_time
    urgent = await ada.plan(priority=pb.PRIORITY_URGENT)
    assert all(micros(each.due_time) <= ada.tocsin.clock.now() for each in urgent.deliveries)


@pytest.mark.parametrize(
    ("overflow", "outcome"),
    [
        (categories.THROTTLE_OVERFLOW_DROP, "SUPPRESSED"),
        (categories.THROTTLE_OVERFLOW_DEFER, "DEFERRED"),
    ],
)
async def test_a_throttle_that_is_full_is_told_and_a_plan_fills_none(
    ada: Person, overflow: categories.ThrottleOverflow.ValueType, outcome: str
) -> None:
    throttle = categories.Throttle(
        scope=categories.THROTTLE_SCOPE_CATEGORY, max=1, window=Duration(seconds=3600), overflow=overflow
    )
    await ada.define(throttles=[throttle])
    for _ in range(2):
        assert told((await ada.plan()).decisions) == [NO_PHONE_NUMBER]
    await ada.send()
    plan = await ada.plan()
    assert told(plan.decisions)[1:] == [("THROTTLE", outcome, "PUSH", "category", "orders/category")]
    if outcome == "SUPPRESSED":
        assert pb.CHANNEL_PUSH not in going_out(plan)
    else:
        push = plan.deliveries[-1]
        assert push.due_time == plan.decisions[-1].due_time
        assert abs(micros(push.due_time) - ada.tocsin.clock.now() - HOUR) < 60 * SECOND


async def test_what_has_expired_would_be_suppressed(ada: Person) -> None:
    plan = await ada.plan(expire_time=timestamp(ada.tocsin.clock.now() - SECOND))
    assert (plan.disposition, plan.enters_inbox, going_out(plan)) == (pb.DISPOSITION_SUPPRESSED, False, {})
    assert told(plan.decisions) == [("EXPIRY", "SUPPRESSED", "UNSPECIFIED", "spec", "expire_time")]


async def test_what_is_for_later_is_decided_later(ada: Person) -> None:
    when = timestamp(ada.tocsin.clock.now() + DAY)
    plan = await ada.plan(deliver_time=when)
    assert (plan.disposition, plan.enters_inbox, going_out(plan)) == (pb.DISPOSITION_SCHEDULED, False, {})
    (decision,) = plan.decisions
    assert told([decision]) == [("SCHEDULE", "DEFERRED", "UNSPECIFIED", "spec", "deliver_time")]
    assert decision.due_time == when


async def test_a_recipient_that_nobody_knows_has_an_inbox(ada: Person) -> None:
    plan = await ada.plan(recipient="nobody", channels=[pb.CHANNEL_INBOX, pb.CHANNEL_EMAIL])
    assert (plan.enters_inbox, going_out(plan)) == (True, {})
    assert told(plan.decisions) == [("NO_ADDRESS", "SUPPRESSED", "EMAIL", "recipient", "addresses")]


# --- Send does it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"channels": []},
        {"channels": [pb.CHANNEL_PUSH]},
        {"priority": pb.PRIORITY_URGENT},
        {"expire_time": Timestamp(seconds=1_000_000_000)},
        {"deliver_time": Timestamp(seconds=1_000_000_000)},
        {"category": "news"},
        {"recipient": "nobody"},
    ],
    ids=lambda fields: " ".join(fields) or "plain",
)
async def test_send_does_what_the_plan_said(ada: Person, fields: dict[str, Any]) -> None:
    await ada.define(
        channels=EVERYWHERE,
        throttles=[
            categories.Throttle(
                scope=categories.THROTTLE_SCOPE_CHANNEL,
                max=1,
                window=Duration(seconds=3600),
                channels=[pb.CHANNEL_EMAIL],
            )
        ],
    )
    await ada.prefer(quiet=ALWAYS)
    for _ in range(2):
        plan = await ada.plan(**fields)
        result = await ada.send(**fields)
        found = await ada.get(result)
        assert result.disposition == plan.disposition
        assert list(result.decisions) == list(plan.decisions)
        assert bool(result.cursor) is plan.enters_inbox
        assert [(each.channel, each.address, each.provider) for each in found.deliveries] == [
            (each.channel, each.address, each.provider) for each in plan.deliveries
        ]
        assert list(found.timeline[0].decisions) == list(plan.decisions)


async def test_what_was_sent_shows_where_it_went_and_why_not_elsewhere(ada: Person) -> None:
    await ada.define()
    await ada.prefer(pb.CHANNEL_EMAIL, quiet=ALWAYS)
    result = await ada.send()
    found = await ada.get(result)
    (push,) = found.deliveries
    assert (push.channel, push.address, push.state) == (pb.CHANNEL_PUSH, "phone", DELIVERY_STATE_PENDING)
    assert told(found.timeline[0].decisions) == [
        ("PREFERENCE", "SUPPRESSED", "EMAIL", "recipient", "orders EMAIL"),
        ("QUIET_HOURS", "DEFERRED", "PUSH", "recipient", "quiet_hours"),
        NO_PHONE_NUMBER,
    ]
    urgent = await ada.send(priority=pb.PRIORITY_URGENT)

    async def sent() -> bool:
        return [each.state for each in (await ada.get(urgent)).deliveries] == [DELIVERY_STATE_SENT]

    await eventually(sent, "the delivery")


async def test_what_was_suppressed_shows_why(ada: Person) -> None:
    await ada.define()
    await ada.prefer(pb.CHANNEL_PUSH)
    result = await ada.send(channels=[pb.CHANNEL_PUSH])
    assert (result.disposition, result.cursor) == (pb.DISPOSITION_SUPPRESSED, "")
    found = await ada.get(result)
    assert (found.state, list(found.deliveries)) == (pb.NOTIFICATION_STATE_SUPPRESSED, [])
    (step,) = found.timeline
    assert step.kind == TIMELINE_EVENT_KIND_SUPPRESSED
    assert told(step.decisions) == [("PREFERENCE", "SUPPRESSED", "PUSH", "recipient", "orders PUSH")]


# --- refused ----------------------------------------------------------------------------------------------------------

Ask = Callable[[Tocsin, pb.NotificationSpec], Awaitable[object]]
ASKS: dict[str, Ask] = {
    "Send": lambda tocsin, asked: tocsin.notifications.Send(SendRequest(notification=asked)),
    "PlanSend": lambda tocsin, asked: tocsin.notifications.PlanSend(PlanSendRequest(notification=asked)),
}


@pytest.fixture(params=ASKS)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Each way to say what a notification is."""
    return ASKS[request.param]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"recipient": "a\0"}, "recipient"),
        ({"category": "no spaces"}, "category"),
        ({"content": pb.Content(simple=pb.SimpleContent())}, "content.simple.title"),
        ({"channels": [pb.CHANNEL_UNSPECIFIED]}, "channels[0]"),
        ({"channels": [pb.CHANNEL_EMAIL] * 2}, "channels"),
        ({"priority": 9}, "priority"),
        ({"thread": "t" * 129}, "thread"),
        ({"expire_time": Timestamp(nanos=-1)}, "expire_time"),
        ({"deliver_time": Timestamp(seconds=253_402_300_799)}, "deliver_time"),
        ({"deliver_delay": Duration(seconds=-1)}, "deliver_delay"),
        (
            {"channel_overrides": [pb.ChannelOverride(channel=pb.CHANNEL_INBOX)]},
            "channel_overrides[0].channel",
        ),
        (
            {"channel_overrides": [pb.ChannelOverride(channel=pb.CHANNEL_EMAIL)] * 2},
            "channel_overrides[1].channel",
        ),
        (
            {"channel_overrides": [pb.ChannelOverride(channel=pb.CHANNEL_EMAIL, sound="s")]},
            "channel_overrides[0].sound",
        ),
    ],
)
async def test_what_breaks_a_rule_is_named(
    tocsin: Tocsin, ask: Ask, fields: dict[str, Any], path: str
) -> None:
    refusal = await refused(ask(tocsin, spec(**fields)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert set(refusal.fields) == {f"notification.{path}"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"deliver_local_time": pb.LocalDateTime(value="2027-01-01T09:00")}, "deliver_local_time"),
        ({"batch_key": "k"}, "batch_key"),
        ({"no_batch": True}, "no_batch"),
        (
            {
                "escalation": [
                    pb.EscalationStep(
                        after_delay=Duration(seconds=60),
                        condition=pb.ESCALATION_CONDITION_UNREAD,
                        channels=[pb.CHANNEL_EMAIL],
                    )
                ]
            },
            "escalation",
        ),
    ],
)
async def test_what_is_not_built_is_refused_by_name(
    tocsin: Tocsin, ask: Ask, fields: dict[str, Any], path: str
) -> None:
    refusal = await refused(ask(tocsin, spec(**fields)))
    assert refusal == Refusal("UNIMPLEMENTED", "FEATURE_NOT_BUILT", {"field": f"notification.{path}"}, [])
    assert await tocsin.titles() == []


async def test_batching_is_not_built(ada: Person) -> None:
    throttle = categories.Throttle(
        scope=categories.THROTTLE_SCOPE_CATEGORY,
        max=1,
        window=Duration(seconds=3600),
        overflow=categories.THROTTLE_OVERFLOW_BATCH,
    )
    refusal = await refused(ada.define(throttles=[throttle]))
    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "FEATURE_NOT_BUILT")
    assert refusal.metadata == {"field": "category.throttles[0].overflow"}
    batching = preferences.QuietHours(windows=ALWAYS.windows, action=preferences.QUIET_ACTION_BATCH)
    refusal = await refused(ada.prefer(quiet=batching))
    assert (refusal.code, refusal.reason) == ("UNIMPLEMENTED", "FEATURE_NOT_BUILT")
    assert refusal.metadata == {"field": "preferences.quiet_hours.action"}


async def test_a_template_that_nobody_made_is_not_found(tocsin: Tocsin, ask: Ask) -> None:
    asked = pb.NotificationSpec(recipient="ada", category="orders", template=pb.TemplateRef(name="welcome"))
    assert await reason(ask(tocsin, asked)) == "TEMPLATE_NOT_FOUND"


async def test_content_has_a_limit_of_its_own(start: Start, ask: Ask) -> None:
    tocsin = await start(max_content_bytes=2_000)
    large = pb.Content(simple=pb.SimpleContent(title="t", body="x" * 3_000), fallback_text="t")
    assert await reason(ask(tocsin, spec(content=large))) == "MESSAGE_TOO_LARGE"
    # What a channel shows of its own counts.
    override = pb.ChannelOverride(channel=pb.CHANNEL_EMAIL, text="x" * 3_000)
    assert await reason(ask(tocsin, spec(channel_overrides=[override]))) == "MESSAGE_TOO_LARGE"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "OK"),
        ({"recipient": "bob"}, "RECIPIENT_NOT_ALLOWED"),
        ({"category": "secret"}, "CATEGORY_NOT_ALLOWED"),
    ],
)
async def test_a_key_plans_no_farther_than_it_reaches(
    tocsin: Tocsin, fields: dict[str, Any], expected: str
) -> None:
    narrow = await tocsin.create_key("send", recipients=["ada"], categories=["orders*"])
    request = PlanSendRequest(notification=spec(**fields))
    call = tocsin.notifications.PlanSend(request, metadata=narrow.metadata)
    if expected == "OK":
        assert (await call).disposition == pb.DISPOSITION_STORED
    else:
        assert await reason(call) == expected
