"""What is decided under the recipient's lock, and what meets the rules again when it falls due: on both engines."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from tests.support.broadcasting import Station
from tests.support.contents import simple
from tests.support.senders import UNLIMITED, releases_on, sending_on
from tests.support.stores import START, TurnedClock
from tests.support.streams import ANYONE
from tocsin_server.domain.access import Principal
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.category import Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.commands import (
    CancelNotifications,
    ChangePreferences,
    ClaimDeliveries,
    Command,
    ExpireEntries,
    UpsertCategory,
    UpsertRecipient,
)
from tocsin_server.domain.delivery import Delivery, DeliveryState
from tocsin_server.domain.notification import (
    Channel,
    ChannelOverride,
    Disposition,
    EventKind,
    NotificationSpec,
    NotificationState,
    Priority,
    Rule,
)
from tocsin_server.domain.preferences import Choice, Preferences, PreferencesChange
from tocsin_server.domain.quiet_hours import QuietHours, QuietWindow
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, Profile
from tocsin_server.domain.time import DAY, HOUR, MINUTE, Micros
from tocsin_server.domain.value import replace
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.policies import Policies
from tocsin_server.service.sending import SendPlan, SendRequest, SendResult
from tocsin_server.service.status import Component
from tocsin_server.service.tenant_cache import PolicyWatch
from tocsin_server.store.store import Store

PROVIDERS = {Channel.EMAIL: "log", Channel.PUSH: "log"}
PHONE = Address(Channel.PUSH, "phone")
MAIL = Address(Channel.EMAIL, "ada@example.com")
PUSH = NotificationSpec("ada", "orders", channels=(Channel.INBOX, Channel.PUSH))
SATURDAY = QuietHours((QuietWindow((6,), 0, 0),))
NIGHT = QuietHours((QuietWindow((1, 2, 3, 4, 5, 6, 7), 22 * 60, 7 * 60),))
EVENING: Micros = START // DAY * DAY + 23 * HOUR
"""Of a Friday."""
MORNING: Micros = EVENING + 8 * HOUR


class House:
    """Everything from a spec to the store, but for the wire. Ada has a phone and a mailbox."""

    def __init__(self, store: Store, clock: TurnedClock) -> None:
        self.store = store
        self.clock = clock
        policies, watch = Policies(store.policies), PolicyWatch(store.policies, Component("policies", clock))
        watch.watch(policies)
        store.writer.listen(watch.on_commit)
        self.facts = SendFacts(policies, store.recipients, PROVIDERS)
        self.sending = sending_on(store, Cursors(store.facts), clock, rates=UNLIMITED, facts=self.facts)
        self.releases = releases_on(store, clock, facts=self.facts)

    async def know(self, *addresses: Address, recipient: str = "ada") -> None:
        await self.write(
            UpsertRecipient(
                tenant="default",
                recipient=recipient,
                profile=Profile(addresses=addresses),
                fields=PROFILE_FIELDS,
            )
        )

    async def define(
        self, *throttles: Throttle, name: str = "orders", retention: Micros | None = None
    ) -> None:
        category = Category(name, throttles=throttles, retention=retention)
        fields = frozenset(("throttles", "retention"))
        await self.write(UpsertCategory(tenant="default", category=category, fields=fields))

    async def prefer(self, *choices: Choice, quiet: QuietHours | None = None) -> None:
        change = PreferencesChange(Preferences(choices, quiet), frozenset(("choices", "quiet_hours")))
        await self.write(ChangePreferences(tenant="default", recipient="ada", change=change, undefined=True))

    async def send(self, spec: NotificationSpec = PUSH, by: Principal = ANYONE) -> SendResult:
        (result,) = await self.sending.send(by, [SendRequest("", spec, simple("Hello"))])
        assert isinstance(result, SendResult), result
        return result

    async def plan(self, spec: NotificationSpec = PUSH) -> SendPlan:
        return await self.sending.plan(ANYONE, SendRequest("", spec, simple("Hello")))

    async def deliveries(self, result: SendResult) -> Sequence[Delivery]:
        return await self.store.deliveries.deliveries("default", result.receipt.notification_id, 100)

    async def fire_due(self) -> int:
        timers = await self.store.readers.due_timers(self.clock.time, 1_000)
        answers = await self.releases.fire(timers) if timers else []
        assert not [answer for answer in answers if isinstance(answer, Exception)]
        return len(answers)

    async def timeline(self, result: SendResult) -> list[EventKind]:
        found = await self.store.readers.timeline("default", result.receipt.notification_id, 100)
        return [event.kind for event in found]

    async def state(self, result: SendResult) -> NotificationState:
        entry = await self.store.readers.notification("default", result.receipt.notification_id)
        assert entry is not None
        return NotificationState(entry.state)

    async def claimed_bodies(self) -> dict[str, ChannelBody | None]:
        """What is stored for the addresses that something goes out to now."""
        claim = ClaimDeliveries(tenant="", limit=10, lease=MINUTE)
        (answer,) = await self.store.writer.submit([claim])
        assert not isinstance(answer, Exception), answer
        return {claimed.delivery.address: claimed.body for claimed in answer.receipt.deliveries}

    async def write(self, command: Command[Any]) -> None:
        (answer,) = await self.store.writer.submit([command])
        assert not isinstance(answer, Exception), answer


@pytest.fixture
async def house(store: Store, clock: TurnedClock) -> House:
    made = House(store, clock)
    await made.know(PHONE, MAIL)
    return made


# --- throttles --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", list(ThrottleScope))
async def test_of_200_senders_at_once_the_cap_lets_its_number_through(
    house: House, scope: ThrottleScope
) -> None:
    await house.define(Throttle(scope, 7, HOUR))
    results = await asyncio.gather(*(house.send() for _ in range(200)))
    assert {result.receipt.disposition for result in results} == {Disposition.STORED}
    sent = [delivery for result in results for delivery in await house.deliveries(result)]
    assert len(sent) == 7
    assert sorted(len(result.receipt.decisions) for result in results) == [0] * 7 + [1] * 193


async def test_what_200_senders_at_once_have_deferred_never_exceeds_the_cap(house: House) -> None:
    await house.define(Throttle(ThrottleScope.CATEGORY, 3, HOUR, Overflow.DEFER))
    results = await asyncio.gather(*(house.send() for _ in range(200)))
    dues = sorted([(await house.deliveries(result))[0].due_time for result in results])
    assert len(dues) == 200
    assert all(later - earlier >= HOUR for earlier, later in zip(dues, dues[3:], strict=False))
    assert dues[-1] == START + 66 * HOUR, "and none waits longer than it must"


async def test_what_is_deferred_goes_out_when_there_is_room(house: House, clock: TurnedClock) -> None:
    await house.define(Throttle(ThrottleScope.RECIPIENT, 1, HOUR, Overflow.DEFER))
    results = [await house.send() for _ in range(4)]
    (first,) = await house.deliveries(results[0])
    assert first.claim_time == START
    for number, result in enumerate(results[1:], 1):
        (waiting,) = await house.deliveries(result)
        assert (waiting.state, waiting.claim_time) == (DeliveryState.PENDING, None)
        assert waiting.due_time == START + number * HOUR
    # Someone who comes later does not push in.
    late = await house.send()
    assert (await house.deliveries(late))[0].due_time == START + 4 * HOUR
    for number, result in enumerate([*results[1:], late], 1):
        clock.time = START + number * HOUR
        assert await house.fire_due() == 1
        (gone,) = await house.deliveries(result)
        assert (gone.due_time, gone.claim_time) == (clock.time, clock.time)
    assert await house.fire_due() == 0


async def test_a_clock_that_comes_late_still_keeps_to_the_cap(house: House, clock: TurnedClock) -> None:
    """All of them fall due in one turn, but one: which may go then is settled anew."""
    await house.define(Throttle(ThrottleScope.CATEGORY, 1, HOUR, Overflow.DEFER))
    results = [await house.send() for _ in range(4)]
    clock.time = START + 5 * HOUR
    while await house.fire_due():
        pass
    dues = sorted([(await house.deliveries(result))[0].due_time for result in results[1:]])
    assert dues[0] == clock.time
    assert all(later - earlier >= HOUR for earlier, later in pairwise(dues))


async def test_what_is_released_together_does_not_count_twice(house: House, clock: TurnedClock) -> None:
    """Each held a slot for the morning, which it gives back for the one that it takes then."""
    await house.define(Throttle(ThrottleScope.CHANNEL, 2, HOUR))
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    results = [await house.send() for _ in range(3)]
    assert [len(await house.deliveries(result)) for result in results] == [1, 1, 0]
    clock.time = MORNING + 1
    assert await house.fire_due() == 2
    for result in results[:2]:
        (gone,) = await house.deliveries(result)
        assert (gone.state, gone.claim_time) == (DeliveryState.PENDING, clock.time)


async def test_what_went_out_counts_when_another_channel_is_released(
    house: House, clock: TurnedClock
) -> None:
    both = (Channel.EMAIL, Channel.PUSH)
    await house.define(Throttle(ThrottleScope.CHANNEL, 1, 12 * HOUR, channels=both))
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    result = await house.send(replace(PUSH, channels=both))
    assert [delivery.due_time for delivery in await house.deliveries(result)] == [EVENING, MORNING]
    clock.time = MORNING
    assert await house.fire_due() == 1
    clock.time = EVENING + 12 * HOUR - 1
    mail = replace(PUSH, channels=(Channel.EMAIL,))
    assert await house.deliveries(await house.send(mail)) == []
    clock.time += 1
    assert len(await house.deliveries(await house.send(mail))) == 1


async def test_what_is_cancelled_while_it_waits_counts_for_nothing(house: House, clock: TurnedClock) -> None:
    await house.define(Throttle(ThrottleScope.CATEGORY, 1, DAY))
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    result = await house.send()
    assert await house.deliveries(await house.send()) == []
    await house.write(CancelNotifications(tenant="default", ids=(result.receipt.notification_id,)))
    assert len(await house.deliveries(await house.send())) == 1
    assert await house.deliveries(await house.send()) == []


async def test_throttles_look_at_other_categories_where_they_are_to(house: House) -> None:
    await house.define(Throttle(ThrottleScope.RECIPIENT, 2, HOUR))
    await house.define(Throttle(ThrottleScope.CATEGORY, 2, HOUR), name="news")
    news = NotificationSpec("ada", "news", channels=(Channel.PUSH,))
    assert [len(await house.deliveries(await house.send(news))) for _ in range(3)] == [1, 1, 0]
    assert await house.deliveries(await house.send()) == [], "its recipient has had two"
    urgent = NotificationSpec("ada", "orders", Priority.URGENT, (Channel.PUSH,))
    assert len(await house.deliveries(await house.send(urgent))) == 1


# --- quiet hours and preferences --------------------------------------------------------------------------------------


async def test_what_comes_in_quiet_hours_goes_out_in_the_morning(house: House, clock: TurnedClock) -> None:
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    result = await house.send()
    assert result.cursor, "the inbox is never quiet"
    (waiting,) = await house.deliveries(result)
    assert (waiting.due_time, waiting.claim_time) == (MORNING, None)
    clock.time = MORNING - 1
    assert await house.fire_due() == 0
    clock.time = MORNING
    assert await house.fire_due() == 1
    (gone,) = await house.deliveries(result)
    assert (gone.state, gone.claim_time) == (DeliveryState.PENDING, MORNING)
    assert await house.timeline(result) == [EventKind.STORED]


async def test_what_is_released_can_be_claimed_though_nothing_ever_was(
    house: House, clock: TurnedClock
) -> None:
    """As after a restart in the night: both change deliveries, but not the same of them."""
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    await house.send()
    clock.time = MORNING
    assert await house.fire_due() == 1
    assert list(await house.claimed_bodies()) == ["phone"]


async def test_what_was_deferred_meets_what_is_preferred_by_then(house: House, clock: TurnedClock) -> None:
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    denied, longer, moved = [await house.send() for _ in range(3)]
    await house.write(CancelNotifications(tenant="default", ids=(moved.receipt.notification_id,)))
    await house.prefer(quiet=SATURDAY)
    clock.time = MORNING
    await house.fire_due()
    (waiting,) = await house.deliveries(longer)
    assert (waiting.state, waiting.due_time, waiting.claim_time) == (
        DeliveryState.PENDING,
        MORNING + 17 * HOUR,
        None,
    )
    assert await house.timeline(longer) == [EventKind.STORED, EventKind.DELIVERY_DEFERRED]
    await house.prefer(Choice(False, "orders", Channel.PUSH))
    clock.time = MORNING + 17 * HOUR
    await house.fire_due()
    for result in (denied, longer):
        (ended,) = await house.deliveries(result)
        assert (ended.state, ended.claim_time) == (DeliveryState.SUPPRESSED, None)
        assert await house.timeline(result) == [
            EventKind.STORED,
            EventKind.DELIVERY_DEFERRED,
            EventKind.DELIVERY_SUPPRESSED,
        ]
    assert (await house.deliveries(moved))[0].state is DeliveryState.CANCELLED


async def test_what_was_deferred_goes_out_to_the_addresses_that_there_are_by_then(
    house: House, clock: TurnedClock
) -> None:
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    bell = ChannelOverride(Channel.PUSH, sound="bell")
    result = await house.send(replace(PUSH, overrides=(bell,)))
    await house.know(Address(Channel.PUSH, "tablet"))
    clock.time = MORNING
    assert await house.fire_due() == 1
    phone, tablet = await house.deliveries(result)
    assert (phone.address, phone.state, phone.claim_time) == ("phone", DeliveryState.SUPPRESSED, None)
    assert (tablet.address, tablet.state, tablet.claim_time) == ("tablet", DeliveryState.PENDING, MORNING)
    *_, event = await house.store.readers.timeline("default", result.receipt.notification_id, 100)
    assert event.kind is EventKind.DELIVERY_SUPPRESSED
    assert [decision.rule for decision in event.decisions] == [Rule.NO_ADDRESS], "and it is said why"
    assert await house.fire_due() == 0
    (body,) = (await house.claimed_bodies()).items()
    assert body == ("tablet", ChannelBody(Channel.PUSH, sound="bell"))


async def test_what_would_be_released_after_its_expire_time_never_waits(
    house: House, clock: TurnedClock
) -> None:
    await house.prefer(quiet=NIGHT)
    clock.time = EVENING
    spec = NotificationSpec("ada", "orders", channels=PUSH.channels, expire_time=MORNING)
    result = await house.send(spec)
    assert await house.deliveries(result) == []
    assert [decision.rule for decision in result.receipt.decisions] == [Rule.QUIET_HOURS, Rule.EXPIRY]


async def test_what_was_scheduled_is_decided_when_it_is_due(house: House, clock: TurnedClock) -> None:
    later = NotificationSpec("ada", "orders", channels=PUSH.channels, deliver_delay=HOUR)
    kept, refused, whole = [await house.send(later) for _ in range(3)]
    assert {result.receipt.disposition for result in (kept, refused, whole)} == {Disposition.SCHEDULED}
    await house.prefer(Choice(False, "orders", Channel.PUSH))
    clock.time += HOUR
    assert await house.fire_due() == 3
    assert await house.state(kept) is NotificationState.STORED
    assert await house.deliveries(kept) == []
    assert await house.timeline(kept) == [EventKind.SCHEDULED, EventKind.STORED]
    # And where nothing is let through, it is suppressed.
    last = await house.send(later)
    await house.prefer(Choice(False))
    clock.time += HOUR
    await house.fire_due()
    assert await house.state(last) is NotificationState.SUPPRESSED
    assert await house.timeline(last) == [EventKind.SCHEDULED, EventKind.SUPPRESSED]


async def test_a_send_follows_what_was_said_before_it_whatever_was_known(house: House, store: Store) -> None:
    """The profile in memory is outdated: the writer notices, and the draft is made anew."""
    assert len(await house.deliveries(await house.send())) == 1
    elsewhere = House(store, house.clock)
    await elsewhere.prefer(Choice(False, "orders", Channel.PUSH))
    assert await house.deliveries(await house.send()) == []
    await elsewhere.know(PHONE, Address(Channel.PUSH, "tablet"))
    await elsewhere.prefer()
    assert [delivery.address for delivery in await house.deliveries(await house.send())] == [
        "phone",
        "tablet",
    ]
    # So it is for one that nothing was known of.
    nobody = NotificationSpec("bob", "orders")
    assert (await house.send(nobody)).receipt.disposition is Disposition.STORED
    await elsewhere.write(
        ChangePreferences(
            tenant="default",
            recipient="bob",
            change=PreferencesChange(Preferences((Choice(False),)), frozenset(("choices",))),
            undefined=True,
        )
    )
    assert (await house.send(nobody)).receipt.disposition is Disposition.SUPPRESSED


async def test_the_profile_may_change_at_any_moment(house: House) -> None:
    """Every send follows one of the preferences that held while it was under way, and none fails."""
    done = asyncio.Event()

    async def change() -> None:
        allowed = False
        while not done.is_set():
            await house.prefer(Choice(allowed, "orders", Channel.PUSH))
            allowed = not allowed

    changing = asyncio.ensure_future(change())
    try:
        results = [await house.send() for _ in range(100)]
    finally:
        done.set()
        await changing
    assert {result.receipt.disposition for result in results} == {Disposition.STORED}


# --- what is not in the inbox -----------------------------------------------------------------------------------------


async def test_what_goes_out_alone_has_an_end_of_its_own(house: House, store: Store) -> None:
    spec = NotificationSpec("ada", "orders", channels=(Channel.EMAIL,))
    cancelled, expired = await house.send(spec), await house.send(spec)
    assert (await store.readers.heads("default", ["ada"]))["ada"].revision == 0
    await house.write(CancelNotifications(tenant="default", ids=(cancelled.receipt.notification_id,)))
    assert await house.state(cancelled) is NotificationState.RETRACTED
    await house.write(ExpireEntries(tenant="", entries=(("default", expired.receipt.notification_id),)))
    assert await house.state(expired) is NotificationState.EXPIRED
    states = [(await house.deliveries(result))[0].state for result in (cancelled, expired)]
    assert states == [DeliveryState.CANCELLED, DeliveryState.EXPIRED]
    assert (await store.readers.heads("default", ["ada"]))["ada"].revision == 0


async def test_a_category_may_keep_its_notifications_shorter(house: House, clock: TurnedClock) -> None:
    await house.define(retention=HOUR)
    result = await house.send()
    clock.time += HOUR
    await house.fire_due()
    assert await house.state(result) is NotificationState.EXPIRED


# --- what goes out says -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deliver_delay", [None, HOUR], ids=["at once", "scheduled"])
async def test_what_a_sender_says_for_a_channel_is_kept_for_it(
    house: House, clock: TurnedClock, deliver_delay: Micros | None
) -> None:
    """Once for all addresses of the channel, and for none that it does not go out on."""
    await house.know(PHONE, Address(Channel.PUSH, "tablet"), MAIL)
    spec = replace(
        PUSH,
        deliver_delay=deliver_delay,
        channels=(Channel.INBOX, Channel.PUSH, Channel.EMAIL),
        overrides=(
            ChannelOverride(Channel.PUSH, sound="siren"),
            ChannelOverride(Channel.SMS, text="Come home."),
        ),
    )
    result = await house.send(spec)
    if deliver_delay:
        clock.time += deliver_delay
        await house.fire_due()
    by_channel: dict[Channel, set[int | None]] = {}
    for delivery in await house.deliveries(result):
        by_channel.setdefault(delivery.channel, set()).add(delivery.body_id)
    assert by_channel[Channel.EMAIL] == {None}
    assert len(by_channel[Channel.PUSH]) == 1
    siren = ChannelBody(Channel.PUSH, sound="siren")
    assert await house.claimed_bodies() == {"phone": siren, "tablet": siren, "ada@example.com": None}


async def test_what_a_broadcast_says_for_a_channel_goes_out_on_it(house: House, clock: TurnedClock) -> None:
    await house.know(MAIL)
    spec = NotificationSpec(
        "",
        "orders",
        channels=(Channel.INBOX, Channel.EMAIL),
        overrides=(ChannelOverride(Channel.EMAIL, subject="To you"),),
    )
    await Station(house.store, clock, providers=PROVIDERS).delivered(spec=spec)
    assert await house.claimed_bodies() == {"ada@example.com": ChannelBody(Channel.EMAIL, "To you")}


# --- plans ------------------------------------------------------------------------------------------------------------


async def test_a_plan_writes_nothing(house: House) -> None:
    await house.define(Throttle(ThrottleScope.CATEGORY, 1, HOUR))
    for _ in range(3):
        plan = (await house.plan()).plan
        assert (plan.disposition, len(plan.deliveries), plan.decisions) == (Disposition.STORED, 1, ())
    assert len(await house.deliveries(await house.send())) == 1
    assert (await house.plan()).plan.deliveries == ()
    unknown = NotificationSpec("nobody", "orders")
    assert (await house.plan(unknown)).plan.entered
    assert await house.store.recipients.recipient("default", "nobody") is None


async def test_a_plan_follows_what_was_said_just_before_it(house: House, store: Store) -> None:
    assert (await house.plan()).plan.deliveries
    await House(store, house.clock).prefer(Choice(False, "orders", Channel.PUSH))
    assert not (await house.plan()).plan.deliveries


SAID = [
    (),
    (Choice(False, "orders", Channel.PUSH),),
    (Choice(False, "", Channel.EMAIL), Choice(True, "orders")),
    (Choice(False),),
]


@pytest.mark.parametrize("choices", SAID)
@pytest.mark.parametrize("overflow", [Overflow.DROP, Overflow.DEFER])
@pytest.mark.parametrize("quiet", [None, NIGHT])
async def test_send_does_what_the_plan_said(
    house: House,
    clock: TurnedClock,
    choices: tuple[Choice, ...],
    overflow: Overflow,
    quiet: QuietHours | None,
) -> None:
    clock.time = EVENING
    await house.define(Throttle(ThrottleScope.CATEGORY, 2, HOUR, overflow, (Channel.PUSH, Channel.EMAIL)))
    await house.prefer(*choices, quiet=quiet)
    everywhere = (Channel.INBOX, Channel.EMAIL, Channel.PUSH, Channel.SMS)
    specs = [
        NotificationSpec("ada", "orders", channels=everywhere),
        NotificationSpec("ada", "orders", Priority.URGENT, everywhere),
        NotificationSpec("ada", "orders"),
        NotificationSpec("ada", "orders", channels=everywhere, expire_time=EVENING + 30 * MINUTE),
        NotificationSpec("ada", "orders", deliver_delay=HOUR),
        NotificationSpec("ada", "orders", expire_time=EVENING - 1),
    ]
    for spec in specs * 2:
        plan = (await house.plan(spec)).plan
        result = await house.send(spec)
        assert (result.receipt.disposition, result.receipt.decisions) == (plan.disposition, plan.decisions)
        assert bool(result.cursor) is plan.entered
        sent = await house.deliveries(result)
        assert [(each.channel, each.address, each.provider, each.due_time) for each in sent] == [
            (each.channel, each.address, each.provider, each.due_time) for each in plan.deliveries
        ]
        assert [each.claim_time is None for each in sent] == [each.deferred for each in plan.deliveries]
