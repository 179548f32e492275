"""Draft and settle: what is decided about a notification before and under its recipient's lock."""

import pytest

from tocsin_server.domain.category import Category, Overflow, Throttle, ThrottleScope
from tocsin_server.domain.inbox import Counts, Inbox
from tocsin_server.domain.notification import Channel, Disposition, NotificationSpec, Outcome, Priority, Rule
from tocsin_server.domain.preferences import NO_PREFERENCES, Choice, Preferences
from tocsin_server.domain.quiet_hours import QuietAction, QuietHours, QuietWindow
from tocsin_server.domain.recipient import Address, AddressState, Profile, RecipientFacts
from tocsin_server.domain.sending import Draft, Facts, Plan, draft, settle
from tocsin_server.domain.throttle import Slot
from tocsin_server.domain.time import DAY, HOUR, Micros
from tocsin_server.domain.value import replace

NOW: Micros = 1_800_000_000_000_000
SPEC = NotificationSpec("ada", "orders")
PLAIN = Facts(Category("orders"))
INBOX = Inbox("acme", "ada", b"incarnat", 7, 2, Counts(1, 1, 3))


def drafted(**changes: object) -> Draft:
    return draft(b"id", "acme", replace(SPEC, **changes), PLAIN, NOW)


@pytest.mark.parametrize(
    ("said", "category", "priority"),
    [
        (Priority.UNSPECIFIED, Category("orders"), Priority.NORMAL),
        (Priority.UNSPECIFIED, Category("orders", priority=Priority.LOW), Priority.LOW),
        (Priority.URGENT, Category("orders", priority=Priority.LOW), Priority.URGENT),  # the spec goes first
    ],
)
def test_the_priority_of_a_draft(said: Priority, category: Category, priority: Priority) -> None:
    assert draft(b"id", "acme", replace(SPEC, priority=said), Facts(category), NOW).priority is priority


EMAIL = Address(Channel.EMAIL, "ada@example.com")
PHONE = Address(Channel.PUSH, "token-1")
TABLET = Address(Channel.PUSH, "token-2")
OLD_PHONE = Address(Channel.PUSH, "token-0", AddressState.BOUNCED)
PROVIDERS = {Channel.EMAIL: "log", Channel.PUSH: "log"}
ALL_DAY = QuietHours((QuietWindow((1, 2, 3, 4, 5, 6, 7), 0, 0),))
"""Of which the end is that of a day: NOW is at 08:00 in UTC."""


def facts(**changes: object) -> Facts:
    addresses = changes.pop("addresses", (EMAIL, PHONE))
    preferences = changes.pop("preferences", NO_PREFERENCES)
    recipient = RecipientFacts(7, Profile(addresses=addresses), preferences)  # type: ignore[arg-type]
    known = Facts(Category("orders"), recipient, providers=PROVIDERS)
    return replace(known, **changes)


def channels_of(spec: NotificationSpec, known: Facts) -> tuple[list[str], list[str]]:
    """Channels with their addresses, and rules with what they decided on a channel."""
    made = draft(b"id", "acme", spec, known, NOW)
    channels = [
        f"{each.channel.name}{'+' if each.due_time else ''} {' '.join(each.addresses)}".strip()
        for each in made.channels
    ]
    decisions = [
        f"{decision.rule.name} {decision.outcome.name} {decision.channel.name}"
        for decision in made.decisions
        if decision.channel
    ]
    return channels, decisions


def denied(category: str = "", channel: Channel | None = None) -> Preferences:
    return Preferences((Choice(False, category, channel),))


ANYWHERE = replace(SPEC, channels=(Channel.PUSH, Channel.EMAIL, Channel.INBOX))


@pytest.mark.parametrize(
    ("spec", "known", "channels", "decisions"),
    [
        # Nothing is said anywhere: the inbox.
        (SPEC, facts(), ["INBOX"], []),
        # The category's channels where the spec names none; the spec's otherwise. INBOX comes first.
        (
            SPEC,
            facts(category=Category("orders", channels=(Channel.EMAIL, Channel.INBOX))),
            ["INBOX", "EMAIL ada@example.com"],
            [],
        ),
        (ANYWHERE, facts(), ["INBOX", "EMAIL ada@example.com", "PUSH token-1"], []),
        # One that is denied is left out, and why; allowing what would be allowed is told too.
        (
            ANYWHERE,
            facts(preferences=denied("orders", Channel.PUSH)),
            ["INBOX", "EMAIL ada@example.com"],
            ["PREFERENCE SUPPRESSED PUSH"],
        ),
        (SPEC, facts(preferences=denied()), [], ["PREFERENCE SUPPRESSED INBOX"]),
        (SPEC, facts(defaults=denied()), [], ["PREFERENCE SUPPRESSED INBOX"]),
        (
            SPEC,
            facts(defaults=denied(), preferences=Preferences((Choice(True),))),
            ["INBOX"],
            ["PREFERENCE ALLOWED INBOX"],
        ),
        # Nobody denies a mandatory category.
        (
            SPEC,
            facts(category=Category("orders", mandatory=True), preferences=denied()),
            ["INBOX"],
            ["MANDATORY ALLOWED INBOX"],
        ),
        # Every active address, each once; without one, or without a provider, the channel is left out.
        (
            ANYWHERE,
            facts(addresses=(TABLET, OLD_PHONE, PHONE, PHONE)),
            ["INBOX", "PUSH token-2 token-1"],
            ["NO_ADDRESS SUPPRESSED EMAIL"],
        ),
        (
            ANYWHERE,
            facts(addresses=(OLD_PHONE,), providers={}),
            ["INBOX"],
            ["NO_ADDRESS SUPPRESSED EMAIL", "NO_ADDRESS SUPPRESSED PUSH"],
        ),
        (
            ANYWHERE,
            facts(providers={Channel.EMAIL: "log"}),
            ["INBOX", "EMAIL ada@example.com"],
            ["NO_PROVIDER SUPPRESSED PUSH"],
        ),
        # Quiet hours hold back what interrupts, and never the inbox.
        (
            ANYWHERE,
            facts(preferences=Preferences(quiet_hours=ALL_DAY)),
            ["INBOX", "EMAIL ada@example.com", "PUSH+ token-1"],
            ["QUIET_HOURS DEFERRED PUSH"],
        ),
        (
            ANYWHERE,
            facts(preferences=Preferences(quiet_hours=replace(ALL_DAY, action=QuietAction.DROP, email=True))),
            ["INBOX"],
            ["QUIET_HOURS SUPPRESSED EMAIL", "QUIET_HOURS SUPPRESSED PUSH"],
        ),
        # The tenant's hold where the recipient has not said any, and not where they want none.
        (
            ANYWHERE,
            facts(defaults=Preferences(quiet_hours=ALL_DAY)),
            ["INBOX", "EMAIL ada@example.com", "PUSH+ token-1"],
            ["QUIET_HOURS DEFERRED PUSH"],
        ),
        (
            ANYWHERE,
            facts(
                defaults=Preferences(quiet_hours=ALL_DAY), preferences=Preferences(quiet_hours=QuietHours())
            ),
            ["INBOX", "EMAIL ada@example.com", "PUSH token-1"],
            [],
        ),
        # What is urgent or mandatory waits for nothing.
        (
            replace(ANYWHERE, priority=Priority.URGENT),
            facts(preferences=Preferences(quiet_hours=ALL_DAY)),
            ["INBOX", "EMAIL ada@example.com", "PUSH token-1"],
            [],
        ),
        # What would come too late is not kept.
        (
            replace(ANYWHERE, expire_time=NOW + HOUR),
            facts(preferences=Preferences(quiet_hours=ALL_DAY)),
            ["INBOX", "EMAIL ada@example.com"],
            ["QUIET_HOURS DEFERRED PUSH", "EXPIRY SUPPRESSED PUSH"],
        ),
    ],
)
def test_the_channels_of_a_draft(
    spec: NotificationSpec, known: Facts, channels: list[str], decisions: list[str]
) -> None:
    assert channels_of(spec, known) == (channels, decisions)


def test_a_draft_says_which_profile_it_was_made_from() -> None:
    assert draft(b"id", "acme", SPEC, facts(), NOW).profile_version == 7
    assert drafted().profile_version == 0


@pytest.mark.parametrize(
    ("deliver_time", "deliver_delay", "deferred_to"),
    [
        (None, None, None),
        (NOW + 5, None, NOW + 5),
        (NOW, None, None),  # now is not later
        (NOW - 5, None, None),
        (None, 5, NOW + 5),
        (None, 0, None),
    ],
)
def test_the_deliver_time_of_a_draft(
    deliver_time: Micros | None, deliver_delay: Micros | None, deferred_to: Micros | None
) -> None:
    assert drafted(deliver_time=deliver_time, deliver_delay=deliver_delay).deliver_time == deferred_to


@pytest.mark.parametrize(
    ("deliver_time", "expire_time", "now", "disposition", "rule"),
    [
        (None, None, NOW, Disposition.STORED, None),
        (None, NOW + 1, NOW, Disposition.STORED, None),
        (None, NOW, NOW, Disposition.SUPPRESSED, Rule.EXPIRY),  # its time is over at that instant
        (None, NOW + 1, NOW + 9, Disposition.SUPPRESSED, Rule.EXPIRY),  # … also if it passes in the queue
        (NOW + 5, None, NOW, Disposition.SCHEDULED, Rule.SCHEDULE),
        (NOW + 5, NOW + 3, NOW, Disposition.SCHEDULED, Rule.SCHEDULE),  # expiry is met again when it is due
        (NOW + 5, NOW - 1, NOW, Disposition.SUPPRESSED, Rule.EXPIRY),  # expiry goes first
        (NOW + 5, None, NOW + 5, Disposition.STORED, None),  # due by the time it is settled
    ],
)
def test_what_becomes_of_a_draft(
    deliver_time: Micros | None,
    expire_time: Micros | None,
    now: Micros,
    disposition: Disposition,
    rule: Rule | None,
) -> None:
    plan = settle(drafted(deliver_time=deliver_time, expire_time=expire_time), INBOX, (), now)
    assert plan.disposition is disposition
    assert [decision.rule for decision in plan.decisions] == ([rule] if rule else [])
    if disposition is Disposition.STORED:
        assert plan.inbox == replace(INBOX, revision=8, counts=Counts(2, 2, 4))
    else:
        assert plan.inbox == INBOX, "what is not there takes no revision"


def test_a_decision_says_why() -> None:
    (scheduled,) = settle(drafted(deliver_time=NOW + 5), INBOX, (), NOW).decisions
    assert (scheduled.layer, scheduled.key, scheduled.outcome) == ("spec", "deliver_time", Outcome.DEFERRED)
    assert scheduled.due_time == NOW + 5
    (expired,) = settle(drafted(expire_time=NOW), INBOX, (), NOW).decisions
    assert (expired.layer, expired.key, expired.outcome) == ("spec", "expire_time", Outcome.SUPPRESSED)
    assert expired.text
    assert scheduled.text


def test_equal_facts_give_equal_plans() -> None:
    """What PlanSend will say is what Send does."""
    assert settle(drafted(), INBOX, (), NOW) == settle(drafted(), INBOX, (), NOW)


# --- what goes out ----------------------------------------------------------------------------------------------------

ONE_A_DAY = Throttle(ThrottleScope.CATEGORY, 1, DAY, channels=(Channel.PUSH,))


def planned(spec: NotificationSpec, known: Facts, *slots: Slot) -> Plan:
    return settle(draft(b"id", "acme", spec, known, NOW), INBOX, slots, NOW + 3)


def test_each_address_is_a_delivery() -> None:
    plan = planned(ANYWHERE, facts(addresses=(EMAIL, PHONE, TABLET)))
    assert (plan.disposition, plan.entered, plan.inbox.revision) == (Disposition.STORED, True, 8)
    assert [(each.channel, each.address, each.due_time, each.deferred) for each in plan.deliveries] == [
        (Channel.EMAIL, "ada@example.com", NOW + 3, False),
        (Channel.PUSH, "token-1", NOW + 3, False),
        (Channel.PUSH, "token-2", NOW + 3, False),
    ]
    assert plan.slots == (), "without a throttle nothing is counted"


def test_what_goes_out_need_not_enter_the_inbox() -> None:
    plan = planned(replace(SPEC, channels=(Channel.EMAIL,)), facts())
    assert (plan.disposition, plan.entered, plan.inbox) == (Disposition.STORED, False, INBOX)
    assert len(plan.deliveries) == 1


def test_what_goes_nowhere_is_suppressed_with_all_its_reasons() -> None:
    plan = planned(ANYWHERE, facts(preferences=denied()))
    assert (plan.disposition, plan.entered, plan.inbox) == (Disposition.SUPPRESSED, False, INBOX)
    assert {decision.channel for decision in plan.decisions} == {Channel.INBOX, Channel.EMAIL, Channel.PUSH}


def test_what_is_deferred_waits_for_its_time() -> None:
    plan = planned(ANYWHERE, facts(preferences=Preferences(quiet_hours=ALL_DAY)))
    (push,) = [each for each in plan.deliveries if each.channel is Channel.PUSH]
    assert push.deferred
    assert [decision.due_time for decision in plan.decisions] == [push.due_time]


@pytest.mark.parametrize(
    ("throttle", "slots", "outcome"),
    [
        # The slot is free, and is taken.
        (ONE_A_DAY, (), "sent"),
        (ONE_A_DAY, (Slot(NOW + 3 - DAY, b"before", Channel.PUSH, "orders"),), "sent"),
        # It is not.
        (ONE_A_DAY, (Slot(NOW + 4 - DAY, b"before", Channel.PUSH, "orders"),), "dropped"),
        (
            replace(ONE_A_DAY, overflow=Overflow.DEFER),
            (Slot(NOW - HOUR, b"before", Channel.PUSH, "orders"),),
            "deferred",
        ),
        # Of another category: another count, unless it counts all.
        (ONE_A_DAY, (Slot(NOW, b"before", Channel.PUSH, "news"),), "sent"),
        (
            replace(ONE_A_DAY, scope=ThrottleScope.RECIPIENT),
            (Slot(NOW, b"before", Channel.PUSH, "news"),),
            "dropped",
        ),
        (
            replace(ONE_A_DAY, scope=ThrottleScope.CHANNEL),
            (Slot(NOW, b"before", Channel.PUSH, "news"),),
            "dropped",
        ),
        # On another channel: the throttle does not look at it.
        (
            replace(ONE_A_DAY, scope=ThrottleScope.RECIPIENT),
            (Slot(NOW, b"before", Channel.EMAIL, "orders"),),
            "sent",
        ),
    ],
)
def test_throttles(throttle: Throttle, slots: tuple[Slot, ...], outcome: str) -> None:
    plan = planned(
        ANYWHERE, facts(category=Category("orders", throttles=(throttle,)), throttled=True), *slots
    )
    push = [each for each in plan.deliveries if each.channel is Channel.PUSH]
    taken = [slot for slot in plan.slots if slot.channel is Channel.PUSH]
    assert [each.due_time for each in push] == [slot.due_time for slot in taken]
    if outcome == "sent":
        assert [each.due_time for each in push] == [NOW + 3]
        assert plan.decisions == ()
        return
    (decision,) = plan.decisions
    assert decision.rule is Rule.THROTTLE
    if outcome == "dropped":
        assert push == []
        assert decision.outcome is Outcome.SUPPRESSED
    else:
        assert [each.due_time for each in push] == [NOW - HOUR + DAY]
        assert (decision.outcome, decision.due_time) == (Outcome.DEFERRED, NOW - HOUR + DAY)
    assert len(plan.deliveries) == 1 + len(push), "other channels are not touched"


@pytest.mark.parametrize(("waiting", "outcome"), [(999, Outcome.DEFERRED), (1_000, Outcome.SUPPRESSED)])
def test_so_many_wait_behind_a_throttle(waiting: int, outcome: Outcome) -> None:
    deferring = replace(ONE_A_DAY, overflow=Overflow.DEFER)
    slots = [Slot(NOW + each * DAY, b"%d" % each, Channel.PUSH, "orders") for each in range(waiting + 1)]
    plan = planned(
        ANYWHERE, facts(category=Category("orders", throttles=(deferring,)), throttled=True), *slots
    )
    (decision,) = plan.decisions
    assert decision.outcome is outcome
    assert ("1,000 wait for room already" in decision.text) is (outcome is Outcome.SUPPRESSED)


def test_what_bypasses_throttles_takes_no_slot() -> None:
    known = facts(category=Category("orders", throttles=(ONE_A_DAY,)), throttled=True)
    full = Slot(NOW, b"before", Channel.PUSH, "orders")
    plan = planned(replace(ANYWHERE, priority=Priority.URGENT), known, full)
    assert len(plan.deliveries) == 2
    assert plan.slots == ()
