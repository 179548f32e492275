"""Draft and settle: what is decided about a notification before and under its recipient's lock."""

import pytest

from tocsin_server.domain.inbox import Counts, Inbox
from tocsin_server.domain.notification import Channel, Disposition, NotificationSpec, Outcome, Priority, Rule
from tocsin_server.domain.sending import UNDEFINED_CATEGORY, CategoryProfile, Draft, draft, settle
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import replace

NOW: Micros = 1_800_000_000_000_000
SPEC = NotificationSpec("ada", "orders")
INBOX = Inbox("acme", "ada", b"incarnat", 7, 2, Counts(1, 1, 3))


def drafted(**changes: object) -> Draft:
    return draft(b"id", "acme", replace(SPEC, **changes), UNDEFINED_CATEGORY, NOW)


@pytest.mark.parametrize(
    ("said", "category", "priority"),
    [
        (Priority.UNSPECIFIED, UNDEFINED_CATEGORY, Priority.NORMAL),
        (Priority.UNSPECIFIED, CategoryProfile(Priority.LOW), Priority.LOW),
        (Priority.URGENT, CategoryProfile(Priority.LOW), Priority.URGENT),  # the spec goes first
    ],
)
def test_the_priority_of_a_draft(said: Priority, category: CategoryProfile, priority: Priority) -> None:
    assert draft(b"id", "acme", replace(SPEC, priority=said), category, NOW).priority is priority


@pytest.mark.parametrize(
    ("said", "channels"),
    [((), (Channel.INBOX,)), ((Channel.EMAIL, Channel.INBOX), (Channel.EMAIL, Channel.INBOX))],
)
def test_the_channels_of_a_draft(said: tuple[Channel, ...], channels: tuple[Channel, ...]) -> None:
    assert drafted(channels=said).channels == channels


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
    plan = settle(drafted(deliver_time=deliver_time, expire_time=expire_time), INBOX, now)
    assert plan.disposition is disposition
    assert [decision.rule for decision in plan.decisions] == ([rule] if rule else [])
    if disposition is Disposition.STORED:
        assert plan.inbox == replace(INBOX, revision=8, counts=Counts(2, 2, 4))
    else:
        assert plan.inbox == INBOX, "what is not there takes no revision"


def test_a_decision_says_why() -> None:
    (scheduled,) = settle(drafted(deliver_time=NOW + 5), INBOX, NOW).decisions
    assert (scheduled.layer, scheduled.key, scheduled.outcome) == ("spec", "deliver_time", Outcome.DEFERRED)
    assert scheduled.due_time == NOW + 5
    (expired,) = settle(drafted(expire_time=NOW), INBOX, NOW).decisions
    assert (expired.layer, expired.key, expired.outcome) == ("spec", "expire_time", Outcome.SUPPRESSED)
    assert expired.text
    assert scheduled.text


def test_equal_facts_give_equal_plans() -> None:
    """What PlanSend will say is what Send does."""
    assert settle(drafted(), INBOX, NOW) == settle(drafted(), INBOX, NOW)
