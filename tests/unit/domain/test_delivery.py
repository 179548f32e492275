"""How a delivery gets on: its states, what a call makes of it, and what it is known by."""

from collections.abc import Callable
from itertools import product

import pytest

from tocsin_server.domain.delivery import (
    DETAIL_MAX_CHARS,
    EVENTS,
    OPEN,
    TRANSITIONS,
    Attempted,
    Bounced,
    Delivery,
    DeliveryState,
    Failed,
    Rejected,
    Sent,
    cancelled,
    claimed,
    expired,
    idempotency_key,
    recorded,
)
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.retry import RetryPolicy
from tocsin_server.domain.time import HOUR, MINUTE, SECOND, Micros
from tocsin_server.domain.value import replace

NOW: Micros = 1_800_000_000_000_000
POLICY = RetryPolicy(max_attempts=5, first_delay=10 * SECOND, longest_delay=MINUTE, longest_retry_after=HOUR)
PENDING = Delivery(
    pk=1,
    tenant="acme",
    notification_id=b"n" * 16,
    recipient="ada",
    channel=Channel.EMAIL,
    address="ada@example.com",
    provider="log",
    create_time=NOW - HOUR,
    state=DeliveryState.PENDING,
    due_time=NOW,
    claim_time=NOW,
    fence=0,
    attempts=0,
    body_id=None,
    expire_time=None,
    detail="",
    message_id="",
    change_time=NOW - HOUR,
)
CLAIMED = claimed(PENDING, POLICY, MINUTE, NOW)


def test_every_state_is_reached_and_shown() -> None:
    """But for the two that nothing is to be told of: planned, and being called."""
    reached = {state for following in TRANSITIONS.values() for state in following}
    assert reached == set(DeliveryState) - {DeliveryState.PENDING}
    assert set(EVENTS) == set(DeliveryState) - {DeliveryState.PENDING, DeliveryState.CLAIMED}
    assert {state for state in TRANSITIONS if DeliveryState.CLAIMED in TRANSITIONS[state]} == OPEN


STEPS: dict[DeliveryState, Callable[[Delivery], Delivery]] = {
    DeliveryState.CLAIMED: lambda delivery: claimed(delivery, POLICY, MINUTE, NOW),
    DeliveryState.SENT: lambda delivery: recorded(delivery, Sent(), POLICY, NOW, 0),
    DeliveryState.FAILED: lambda delivery: recorded(delivery, Failed(""), POLICY, NOW, 0),
    DeliveryState.BOUNCED: lambda delivery: recorded(delivery, Bounced(""), POLICY, NOW, 0),
    DeliveryState.DEAD: lambda delivery: recorded(delivery, Rejected(""), POLICY, NOW, 0),
    DeliveryState.CANCELLED: lambda delivery: cancelled(delivery, NOW),
}


@pytest.mark.parametrize(("before", "after"), list(product(DeliveryState, STEPS)))
def test_what_the_table_does_not_allow_does_not_happen(before: DeliveryState, after: DeliveryState) -> None:
    delivery = replace(PENDING, state=before, attempts=1)
    if after in TRANSITIONS.get(before, ()):
        assert STEPS[after](delivery).state is after
    else:
        with pytest.raises(AssertionError):
            STEPS[after](delivery)


@pytest.mark.parametrize(
    ("changes", "state", "attempts"),
    [
        ({}, DeliveryState.CLAIMED, 1),
        ({"expire_time": NOW + 1}, DeliveryState.CLAIMED, 1),
        ({"expire_time": NOW}, DeliveryState.EXPIRED, 0),
        ({"state": DeliveryState.FAILED, "attempts": 4}, DeliveryState.CLAIMED, 5),
        ({"state": DeliveryState.CLAIMED, "attempts": 4}, DeliveryState.CLAIMED, 5),
        ({"state": DeliveryState.CLAIMED, "attempts": 5}, DeliveryState.DEAD, 5),  # nobody came back
        (
            {"state": DeliveryState.CLAIMED, "attempts": 5, "expire_time": NOW},
            DeliveryState.EXPIRED,
            5,
        ),  # the time goes first
    ],
)
def test_what_becomes_of_it_when_it_can_be_claimed(
    changes: dict[str, object], state: DeliveryState, attempts: int
) -> None:
    before = replace(PENDING, **changes)
    after = claimed(before, POLICY, MINUTE, NOW)
    held = state is DeliveryState.CLAIMED
    assert (after.state, after.attempts, after.change_time) == (state, attempts, NOW)
    assert after.claim_time == (NOW + MINUTE if held else None)
    assert after.fence == before.fence + held


@pytest.mark.parametrize(
    ("attempted", "changes", "state", "detail"),
    [
        (Sent("m-1"), {}, DeliveryState.SENT, ""),
        (Sent(), {"detail": "It failed before."}, DeliveryState.SENT, ""),
        (Bounced("No such user."), {}, DeliveryState.BOUNCED, "No such user."),
        (Rejected("Too large."), {}, DeliveryState.DEAD, "Too large."),
        (Failed("Busy."), {}, DeliveryState.FAILED, "Busy."),
        (Failed("Busy."), {"attempts": 5}, DeliveryState.DEAD, "Given up after 5 attempts. Busy."),
        (
            Failed("Busy."),
            {"expire_time": NOW},
            DeliveryState.DEAD,
            "It expires before its next attempt. Busy.",
        ),
        # What cannot be stored, or would change a terminal, is left out; and all of it is bounded.
        (Rejected("a\0b\r\n\x1b[2Jc\ud800"), {}, DeliveryState.DEAD, "a b [2Jc"),
        (Rejected("x" * 10_000), {}, DeliveryState.DEAD, "x" * DETAIL_MAX_CHARS),
    ],
)
def test_what_becomes_of_it_when_its_provider_was_called(
    attempted: Attempted, changes: dict[str, object], state: DeliveryState, detail: str
) -> None:
    after = recorded(replace(CLAIMED, **changes), attempted, POLICY, NOW, 0.0)
    assert (after.state, after.detail) == (state, detail)
    assert after.message_id == (attempted.message_id if isinstance(attempted, Sent) else "")
    again = NOW + 5 * SECOND if state is DeliveryState.FAILED else None
    assert after.claim_time == again
    assert after.due_time == (again or NOW)


def test_a_call_under_way_may_end_after_its_notification_has_expired() -> None:
    after = expired(CLAIMED, NOW)
    assert (after.state, after.expire_time, after.claim_time) == (
        DeliveryState.CLAIMED,
        NOW,
        CLAIMED.claim_time,
    )
    assert expired(replace(CLAIMED, expire_time=NOW - 1), NOW).expire_time == NOW - 1
    assert expired(PENDING, NOW).state is DeliveryState.EXPIRED


def test_an_idempotency_key_is_that_of_a_notification_channel_and_address() -> None:
    key = idempotency_key("acme", b"n" * 16, Channel.EMAIL, "ada@example.com")
    # As it was always: another one would let a provider take for new what it has.
    assert key == "0dc878fbe9e910ca43a3d2f14b3948c6"
    others = [
        idempotency_key("other", b"n" * 16, Channel.EMAIL, "ada@example.com"),
        idempotency_key("acme", b"m" * 16, Channel.EMAIL, "ada@example.com"),
        idempotency_key("acme", b"n" * 16, Channel.CHAT, "ada@example.com"),
        idempotency_key("acme", b"n" * 16, Channel.EMAIL, "ada@example.org"),
    ]
    assert len({key, *others}) == 5
