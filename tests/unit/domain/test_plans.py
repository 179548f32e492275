"""Plans, whatever the facts: what is never in one."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_server.domain.category import Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.notification import Channel, Disposition, NotificationSpec, Outcome, Priority
from tocsin_server.domain.preferences import NO_PREFERENCES, Choice, Preferences, chosen, resolve
from tocsin_server.domain.quiet_hours import QuietAction, QuietHours, QuietWindow
from tocsin_server.domain.recipient import Address, AddressState, Profile, RecipientFacts
from tocsin_server.domain.sending import Facts, Plan, draft, settle
from tocsin_server.domain.throttle import Slot
from tocsin_server.domain.time import DAY, HOUR, MINUTE, Micros
from tocsin_server.domain.value import replace

NOW: Micros = 1_800_000_000_000_000
ZONES = ("", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns")

rarely = st.sampled_from((False, False, False, True))
channels = st.sampled_from(Channel)
outside = st.sampled_from([channel for channel in Channel if channel is not Channel.INBOX])
some_channels = st.one_of(st.just(tuple(Channel)), st.lists(channels, unique=True, max_size=6).map(tuple))
priorities = st.sampled_from(
    (Priority.UNSPECIFIED, Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.URGENT)
)
# BATCH is not built: nothing that is written has it.
throttles = st.builds(
    Throttle,
    st.sampled_from(ThrottleScope),
    st.integers(1, 2),
    st.integers(HOUR, DAY),
    st.sampled_from((Overflow.DROP, Overflow.DEFER)),
    st.lists(outside, unique=True, min_size=3).map(tuple),
)
categories = st.builds(
    Category,
    st.just("orders"),
    channels=st.lists(channels, unique=True, min_size=1).map(tuple),
    mandatory=rarely,
    priority=priorities.map(lambda priority: priority or Priority.NORMAL),
    throttles=st.one_of(st.just(()), st.lists(throttles, min_size=1, max_size=2).map(tuple)),
)
choices = st.builds(
    Choice, st.booleans(), st.sampled_from(("", "orders", "news")), st.one_of(st.none(), channels)
)
# Every day, and often all of it: rules are to meet each other.
windows = st.one_of(
    st.just(QuietWindow((1, 2, 3, 4, 5, 6, 7), 0, 0)),
    st.builds(QuietWindow, st.just((1, 2, 3, 4, 5, 6, 7)), st.integers(0, 1439), st.integers(0, 1439)),
)
quiet_hours = st.builds(
    QuietHours,
    st.lists(windows, min_size=1, max_size=3).map(tuple),
    st.sampled_from((QuietAction.DEFER, QuietAction.DROP)),
    st.booleans(),
)
preferences = st.builds(
    Preferences,
    st.lists(choices, max_size=2).map(lambda made: chosen((), made)),
    st.one_of(st.none(), quiet_hours, quiet_hours),
)
some_addresses = st.lists(
    st.builds(Address, outside, st.sampled_from("abc"), st.sampled_from(AddressState)), max_size=4
)
one_each = [Address(channel, "own") for channel in Channel if channel is not Channel.INBOX]
addresses = st.one_of(some_addresses, some_addresses.map(lambda others: one_each + others))
profiles = st.builds(
    Profile,
    time_zone=st.sampled_from(ZONES),
    addresses=addresses.map(tuple),
)
facts = st.builds(
    Facts,
    categories,
    st.builds(RecipientFacts, st.integers(0, 9), profiles, preferences),
    st.one_of(st.just(NO_PREFERENCES), preferences),
    st.sets(outside, max_size=2).map(
        lambda without: {each.channel: "log" for each in one_each if each.channel not in without}
    ),
).map(lambda known: replace(known, throttled=bool(known.category.throttles)))
times = st.integers(NOW - HOUR, NOW + DAY)
specs = st.builds(
    NotificationSpec,
    st.just("ada"),
    st.just("orders"),
    priorities,
    some_channels,
    deliver_time=st.one_of(st.none(), st.none(), st.none(), st.none(), times),
    expire_time=st.one_of(st.none(), times),
)


def slots_of(taken: Iterable[tuple[int, Channel, str]]) -> tuple[Slot, ...]:
    return tuple(
        Slot(NOW + offset, bytes([number]), channel, category)
        for number, (offset, channel, category) in enumerate(taken)
    )


slots = st.lists(
    st.tuples(st.integers(-HOUR, HOUR), outside, st.sampled_from(("orders", "news"))), min_size=3, max_size=9
).map(slots_of)
waits = st.integers(0, MINUTE)
"""Between the draft and its settlement."""


def planned(spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], now: Micros) -> Plan:
    drafted = draft(b"id", "acme", spec, known, NOW)
    return settle(drafted, Inbox("acme", "ada", b"incarnat"), taken, now)


@settings(max_examples=300)
@given(specs, facts, slots, waits)
def test_a_plan_goes_only_where_it_may(
    spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], wait: Micros
) -> None:
    plan = planned(spec, known, taken, NOW + wait)
    recipient = known.recipient
    used = {delivery.channel for delivery in plan.deliveries} | ({Channel.INBOX} if plan.entered else set())
    assert used <= set(spec.channels or known.category.channels), "only what was asked for"
    for channel in used:
        assert resolve(known.category, channel, recipient.preferences, known.defaults).allowed
    for delivery in plan.deliveries:
        active = Address(delivery.channel, delivery.address, AddressState.ACTIVE)
        assert active in recipient.profile.addresses
        assert delivery.provider == known.providers[delivery.channel]
    places = [(delivery.channel, delivery.address) for delivery in plan.deliveries]
    assert len(set(places)) == len(places), "nobody gets it twice"


@settings(max_examples=300)
@given(specs, facts, slots, waits)
def test_a_plan_is_never_late(
    spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], wait: Micros
) -> None:
    now = NOW + wait
    plan = planned(spec, known, taken, now)
    for delivery in plan.deliveries:
        assert delivery.due_time >= now
        assert spec.expire_time is None or delivery.due_time < spec.expire_time
        assert delivery.deferred is (delivery.due_time > now)
    if spec.expire_time is not None and spec.expire_time <= now:
        assert plan.disposition is Disposition.SUPPRESSED
        assert not plan.entered


@settings(max_examples=300)
@given(specs, facts, slots, waits)
def test_what_is_urgent_or_mandatory_is_never_held_up(
    spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], wait: Micros
) -> None:
    now = NOW + wait
    plan = planned(spec, known, taken, now)
    if known.category.mandatory or (spec.priority or known.category.priority) is Priority.URGENT:
        assert not [delivery for delivery in plan.deliveries if delivery.deferred]
        assert plan.slots == ()


@settings(max_examples=300)
@given(specs, facts, slots, waits)
def test_a_plan_says_why_of_every_channel_that_it_leaves_out_or_defers(
    spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], wait: Micros
) -> None:
    plan = planned(spec, known, taken, NOW + wait)
    if plan.disposition is Disposition.SCHEDULED or any(each.channel is None for each in plan.decisions):
        (decision,) = plan.decisions  # of all channels
        assert decision.outcome in (Outcome.DEFERRED, Outcome.SUPPRESSED)
        return
    used = {delivery.channel for delivery in plan.deliveries} | ({Channel.INBOX} if plan.entered else set())
    suppressed = {each.channel for each in plan.decisions if each.outcome is Outcome.SUPPRESSED}
    deferred = {each.channel for each in plan.decisions if each.outcome is Outcome.DEFERRED}
    assert suppressed == set(spec.channels or known.category.channels) - used
    assert {each.channel for each in plan.deliveries if each.deferred} <= deferred
    assert all(decision.text and decision.layer for decision in plan.decisions)
    assert (plan.disposition is Disposition.STORED) is bool(used)
