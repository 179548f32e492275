"""Plans, whatever the facts: what is never in one."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from tocsin_server.domain.category import Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.notification import Channel, Disposition, NotificationSpec, Outcome, Priority
from tocsin_server.domain.preferences import Choice, Preferences, chosen, resolve
from tocsin_server.domain.quiet_hours import QuietAction, QuietHours, QuietWindow
from tocsin_server.domain.recipient import Address, AddressState, Profile, RecipientFacts
from tocsin_server.domain.sending import Facts, Plan, active_addresses, draft, settle
from tocsin_server.domain.throttle import Slot
from tocsin_server.domain.time import DAY, HOUR, MINUTE, Micros

NOW: Micros = 1_800_000_000_000_000
ZONES = ("", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns")

channels = st.sampled_from(Channel)
outside = st.sampled_from([channel for channel in Channel if channel is not Channel.INBOX])
some_channels = st.lists(channels, unique=True, max_size=6).map(tuple)
# BATCH is not built: nothing that is written has it.
throttles = st.builds(
    Throttle,
    st.sampled_from(ThrottleScope),
    st.integers(1, 3),
    st.integers(MINUTE, DAY),
    st.sampled_from((Overflow.DROP, Overflow.DEFER)),
    st.lists(outside, unique=True, min_size=1).map(tuple),
)
categories = st.builds(
    Category,
    st.just("orders"),
    channels=st.lists(channels, unique=True, min_size=1).map(tuple),
    mandatory=st.booleans(),
    priority=st.sampled_from((Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.URGENT)),
    throttles=st.lists(throttles, max_size=3).map(tuple),
)
choices = st.builds(
    Choice, st.booleans(), st.sampled_from(("", "orders", "news")), st.one_of(st.none(), channels)
)
windows = st.builds(
    QuietWindow,
    st.lists(st.integers(1, 7), unique=True, min_size=1).map(lambda days: tuple(sorted(days))),
    st.integers(0, 1439),
    st.integers(0, 1439),
)
quiet_hours = st.builds(
    QuietHours,
    st.lists(windows, max_size=3).map(tuple),
    st.sampled_from((QuietAction.DEFER, QuietAction.DROP)),
    st.booleans(),
)
preferences = st.builds(
    Preferences,
    st.lists(choices, max_size=6).map(lambda made: chosen((), made)),
    st.one_of(st.none(), quiet_hours),
)
addresses = st.builds(Address, outside, st.sampled_from("abc"), st.sampled_from(AddressState))
profiles = st.builds(
    Profile,
    time_zone=st.sampled_from(ZONES),
    addresses=st.lists(addresses, max_size=8).map(tuple),
)
facts = st.builds(
    Facts,
    categories,
    st.builds(RecipientFacts, st.integers(0, 9), profiles, preferences),
    preferences,
    st.dictionaries(outside, st.just("log")),
    st.booleans(),
)
times = st.one_of(st.none(), st.integers(NOW - HOUR, NOW + 2 * DAY))
specs = st.builds(
    NotificationSpec,
    st.just("ada"),
    st.just("orders"),
    st.sampled_from(Priority),
    some_channels,
    deliver_time=times,
    expire_time=times,
)


def slots_of(taken: Iterable[tuple[int, Channel, str]]) -> tuple[Slot, ...]:
    return tuple(
        Slot(NOW + offset, bytes([number]), channel, category)
        for number, (offset, channel, category) in enumerate(taken)
    )


slots = st.lists(
    st.tuples(st.integers(-DAY, DAY), outside, st.sampled_from(("orders", "news"))), max_size=6
).map(slots_of)
waits = st.integers(0, HOUR)
"""Between the draft and its settlement."""


def planned(spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], now: Micros) -> Plan:
    drafted = draft(b"id", "acme", spec, known, NOW)
    return settle(drafted, Inbox("acme", "ada", b"incarnat"), taken, now)


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
        assert delivery.address in active_addresses(recipient.profile.addresses, delivery.channel)
        assert delivery.provider == known.providers[delivery.channel]
    places = [(delivery.channel, delivery.address) for delivery in plan.deliveries]
    assert len(set(places)) == len(places), "nobody gets it twice"


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


@given(specs, facts, slots, waits)
def test_what_is_urgent_or_mandatory_is_never_held_up(
    spec: NotificationSpec, known: Facts, taken: tuple[Slot, ...], wait: Micros
) -> None:
    now = NOW + wait
    plan = planned(spec, known, taken, now)
    if known.category.mandatory or (spec.priority or known.category.priority) is Priority.URGENT:
        assert not [delivery for delivery in plan.deliveries if delivery.deferred]
        assert plan.slots == ()


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
