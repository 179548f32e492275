"""Deliveries: claimed by one at a time, recorded by whoever holds the claim, and gone with their notification."""

import asyncio

import pytest

from tests.integration.store.conftest import MakeDesk
from tests.support.deliveries import LEASE, Dispatch
from tests.support.desk import Desk
from tests.support.stores import QUOTAS, START, TurnedClock
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands import (
    ChangeTenant,
    ClaimDeliveries,
    CreateTenant,
    ExpireEntries,
    RecordOutcome,
)
from tocsin_server.domain.delivery import (
    Attempted,
    Bounced,
    Delivery,
    DeliveryState,
    Failed,
    Rejected,
    Sent,
)
from tocsin_server.domain.notification import Channel, EventKind
from tocsin_server.domain.retry import RETRIES
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import DAY, HOUR, MINUTE, SECOND
from tocsin_server.service.ports import Committed, DeliveryBacklog
from tocsin_server.store.store import Store


@pytest.fixture
def dispatch(desk: Desk) -> Dispatch:
    return Dispatch(desk)


async def of(store: Store, id: bytes, tenant: str = "default") -> list[Delivery]:
    return await store.deliveries.deliveries(tenant, id, 10)


async def states(store: Store, id: bytes, tenant: str = "default") -> list[DeliveryState]:
    return [delivery.state for delivery in await of(store, id, tenant)]


async def steps(store: Store, id: bytes) -> list[tuple[EventKind, Channel | None, str]]:
    """The steps of its life that concern deliveries."""
    events = await store.readers.timeline("default", id, 100)
    return [(event.kind, event.channel, event.detail) for event in events if event.channel is not None]


# --- claiming ---------------------------------------------------------------------------------------------------------


async def test_a_delivery_is_claimed_when_it_is_due(
    dispatch: Dispatch, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    id = await dispatch.plan(START + HOUR, "ada@example.com", "ada@example.org")
    assert commits[-1].earliest_delivery == START + HOUR
    (entry,) = [entry for entry in [await store.readers.notification("default", id)] if entry]

    clock.time = START + HOUR - 1
    assert await dispatch.claim() == []
    clock.time += 1
    one, other = await dispatch.claim()
    assert (one.delivery.address, other.delivery.address) == ("ada@example.com", "ada@example.org")
    assert one.delivery.claim_time == clock.time + LEASE
    assert (one.delivery.fence, one.delivery.attempts) == (1, 1)
    assert (one.body, one.content) == (None, entry.content)
    assert await of(store, id) == [one.delivery, other.delivery]


async def test_the_earliest_are_claimed_first_and_no_more_than_asked_for(
    dispatch: Dispatch, clock: TurnedClock
) -> None:
    for minutes in (3, 1, 2):
        await dispatch.plan(START + minutes * MINUTE)
    clock.time += HOUR
    first = await dispatch.claim(limit=2)
    rest = await dispatch.claim(limit=2)
    assert [claimed.delivery.due_time for claimed in first + rest] == [
        START + minutes * MINUTE for minutes in (1, 2, 3)
    ]


async def test_several_who_claim_at_once_share(desk: Desk, dispatch: Dispatch, store: Store) -> None:
    """However their transactions fall together, each delivery is claimed by one of them."""
    for _ in range(40):
        await dispatch.plan(START)
    command = ClaimDeliveries(tenant="", limit=10, lease=LEASE)
    receipts = await asyncio.gather(*(desk.submit(command) for _ in range(8)))
    claimed = [claimed.delivery for receipt in receipts for claimed in receipt.deliveries]
    assert len(claimed) == len({delivery.pk for delivery in claimed}) == 40
    assert {delivery.fence for delivery in claimed} == {1}


async def test_a_body_that_was_rendered_comes_with_the_claim(
    dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    body = ChannelBody(Channel.EMAIL, "Subject", "Text", "<p>Text</p>")
    await dispatch.plan(START, "ada@example.com", "ada@example.org", body=body)
    assert [claimed.body for claimed in await dispatch.claim()] == [body, body]


async def test_a_deferred_delivery_waits_for_its_timer(
    dispatch: Dispatch, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    id = await dispatch.plan(START, deferred=True)
    assert commits[-1].earliest_delivery is None
    clock.time += DAY
    assert await dispatch.claim() == []
    assert await states(store, id) == [DeliveryState.PENDING]


async def test_what_expires_first_is_not_claimed(
    dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    id = await dispatch.plan(START, expire_time=START + HOUR)
    clock.time = START + HOUR
    assert await dispatch.claim() == []
    (delivery,) = await of(store, id)
    assert (delivery.state, delivery.claim_time) == (DeliveryState.EXPIRED, None)
    assert await steps(store, id) == [
        (EventKind.DELIVERY_EXPIRED, Channel.EMAIL, "Its expire time has passed.")
    ]


async def test_deliveries_of_a_suspended_tenant_wait(
    make_desk: MakeDesk, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    await create_tenant(desk, "t")
    dispatch = Dispatch(make_desk("t"))
    await dispatch.plan(START)
    await desk.submit(ChangeTenant(tenant="default", name="t", state=TenantState.SUSPENDED))
    assert await dispatch.claim() == []
    assert await store.deliveries.delivery_backlog(START, START, 10) == DeliveryBacklog(None, 0)
    await desk.submit(ChangeTenant(tenant="default", name="t", state=TenantState.ACTIVE))
    assert len(await dispatch.claim()) == 1


async def test_a_lease_that_has_ended_is_claimed_anew(dispatch: Dispatch, clock: TurnedClock) -> None:
    await dispatch.plan(START)
    (first,) = await dispatch.claim()
    clock.time = START + LEASE - 1
    assert await dispatch.claim() == []
    clock.time += 1
    (second,) = await dispatch.claim()
    assert (second.delivery.pk, second.delivery.fence) == (first.delivery.pk, first.delivery.fence + 1)
    assert second.delivery.attempts == 2


async def test_what_is_never_recorded_is_given_up(
    dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    """A delivery that kills whoever makes it must not do so for ever."""
    id = await dispatch.plan(START)
    for _ in range(RETRIES.max_attempts):
        assert len(await dispatch.claim()) == 1
        clock.time += LEASE
    assert await dispatch.claim() == []
    assert await states(store, id) == [DeliveryState.DEAD]
    ((kind, _, detail),) = await steps(store, id)
    assert (kind, "did not come to an end" in detail) == (EventKind.DELIVERY_DEAD, True)


async def test_the_backlog_is_what_can_be_claimed(
    dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    for seconds in (0, 1, 2, 60):
        await dispatch.plan(START + seconds * SECOND)
    backlog = store.deliveries.delivery_backlog
    assert await backlog(START - 1, START - 1, 10) == DeliveryBacklog(None, 0)
    assert await backlog(START - 1, START + 2, 10) == DeliveryBacklog(START, 0)
    assert await backlog(START + SECOND, START + HOUR, 10) == DeliveryBacklog(START, 2)
    assert await backlog(START + HOUR, START + HOUR, 3) == DeliveryBacklog(START, 3)


# --- recording --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempted", "state", "kind", "detail"),
    [
        (Sent("m-1"), DeliveryState.SENT, EventKind.DELIVERY_SENT, "m-1"),
        (Bounced("No such user."), DeliveryState.BOUNCED, EventKind.DELIVERY_BOUNCED, "No such user."),
        (Rejected("Too large."), DeliveryState.DEAD, EventKind.DELIVERY_DEAD, "Too large."),
        (Failed("Busy."), DeliveryState.FAILED, EventKind.DELIVERY_FAILED, "Busy."),
    ],
)
async def test_a_result_is_recorded_and_shows_in_the_timeline(
    dispatch: Dispatch,
    store: Store,
    attempted: Attempted,
    state: DeliveryState,
    kind: EventKind,
    detail: str,
) -> None:
    id = await dispatch.plan(START, channel=Channel.PUSH)
    (claimed,) = await dispatch.claim()
    assert await dispatch.record(claimed.delivery, attempted) is RecordOutcome.RECORDED
    assert await states(store, id) == [state]
    assert await steps(store, id) == [(kind, Channel.PUSH, detail)]


async def test_a_failure_is_tried_again_later(
    dispatch: Dispatch, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    id = await dispatch.plan(START)
    (claimed,) = await dispatch.claim()
    await dispatch.record(claimed.delivery, Failed("Busy.", retry_after=MINUTE))
    assert commits[-1].earliest_delivery == START + MINUTE
    (delivery,) = await of(store, id)
    assert (delivery.due_time, delivery.claim_time) == (START + MINUTE, START + MINUTE)
    clock.time = START + MINUTE - 1
    assert await dispatch.claim() == []
    clock.time += 1
    (again,) = await dispatch.claim()
    assert again.delivery.attempts == 2
    await dispatch.record(again.delivery)
    assert await states(store, id) == [DeliveryState.SENT]
    clock.time += DAY
    assert await dispatch.claim() == []


async def test_a_result_that_comes_after_the_lease_changes_nothing(
    dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    """Whoever slept through the lease is told by the fencing token, whatever it brings."""
    id = await dispatch.plan(START)
    (slept,) = await dispatch.claim()
    clock.time += LEASE
    (awake,) = await dispatch.claim()
    before = await of(store, id)
    assert await dispatch.record(slept.delivery, Bounced("late")) is RecordOutcome.OVERTAKEN
    assert await of(store, id) == before
    assert await dispatch.record(awake.delivery) is RecordOutcome.RECORDED
    assert await dispatch.record(slept.delivery, Bounced("later")) is RecordOutcome.CLOSED
    assert await states(store, id) == [DeliveryState.SENT]
    assert [kind for kind, _, _ in await steps(store, id)] == [EventKind.DELIVERY_SENT]


async def test_a_late_result_counts_while_nobody_else_has_claimed(
    dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    """The lease protects others; where there are none, the truth is better than another call."""
    id = await dispatch.plan(START)
    (claimed,) = await dispatch.claim()
    clock.time += HOUR
    assert await dispatch.record(claimed.delivery) is RecordOutcome.RECORDED
    assert await states(store, id) == [DeliveryState.SENT]


# --- with their notification ------------------------------------------------------------------------------------------


async def content_count(store: Store) -> int:
    pool = store.deliveries._pool
    (count,) = await pool.run(
        lambda connection: connection.execute("SELECT count(*) FROM contents").fetchone()
    )
    return int(count)


BODY = ChannelBody(Channel.EMAIL, "Subject", "Text")


async def test_cancelling_takes_back_what_is_open(
    desk: Desk, dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    id = await dispatch.plan(START, "sent", "failed", "claimed", body=BODY)
    sent, failed, claimed = await dispatch.claim()
    await dispatch.record(sent.delivery)
    await dispatch.record(failed.delivery, Failed("Busy."))
    other = await dispatch.plan(START + HOUR, deferred=True)
    await desk.cancel(id, other)

    assert await states(store, id) == [DeliveryState.SENT, *(DeliveryState.CANCELLED,) * 2]
    assert await states(store, other) == [DeliveryState.CANCELLED]
    details = [detail for kind, _, detail in await steps(store, id) if kind is EventKind.DELIVERY_CANCELLED]
    assert details == [
        "Taken back before it was sent.",
        "Taken back while its provider was being called: it may have arrived.",
    ]
    clock.time += DAY
    assert await dispatch.claim() == []
    assert await dispatch.record(claimed.delivery) is RecordOutcome.CLOSED
    assert await states(store, id) == [DeliveryState.SENT, *(DeliveryState.CANCELLED,) * 2]
    assert await content_count(store) == 0


async def test_expiring_ends_what_is_open_but_for_a_call_under_way(
    desk: Desk, dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    id = await dispatch.plan(START, "claimed", "also claimed", "pending", body=BODY)
    one, other = await dispatch.claim(limit=2)
    await desk.submit(ExpireEntries(tenant="", entries=(("default", id),)))
    assert await states(store, id) == [*(DeliveryState.CLAIMED,) * 2, DeliveryState.EXPIRED]
    assert await content_count(store) == 0

    # What was begun in time may have gone out, and is not tried again.
    assert await dispatch.record(one.delivery) is RecordOutcome.RECORDED
    assert await dispatch.record(other.delivery, Failed("Busy.")) is RecordOutcome.RECORDED
    clock.time += DAY
    assert await dispatch.claim() == []
    assert await states(store, id) == [DeliveryState.SENT, DeliveryState.DEAD, DeliveryState.EXPIRED]


async def test_a_timer_that_expires_an_entry_ends_its_deliveries(
    desk: Desk, dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    """Deliveries that have no expire time of their own, too."""
    id = (await desk.send(expire_time=START + HOUR)).notification_id
    await dispatch.plan(START + DAY, id=id)
    clock.time += HOUR
    assert await desk.fire_due() == 1
    assert await states(store, id) == [DeliveryState.EXPIRED]


async def test_deliveries_go_with_their_notification(
    desk: Desk, dispatch: Dispatch, store: Store, clock: TurnedClock
) -> None:
    id = await dispatch.plan(START, body=BODY)
    (claimed,) = await dispatch.claim()
    await desk.cancel(id)
    assert await desk.prune(clock.time + 1) == 1
    assert await of(store, id) == []
    assert await dispatch.record(claimed.delivery) is RecordOutcome.CLOSED


async def test_deliveries_go_with_their_recipient(desk: Desk, dispatch: Dispatch, store: Store) -> None:
    id = await dispatch.plan(START, body=BODY)
    other = await dispatch.plan(START, recipient="bob", body=BODY)
    await desk.erase()
    assert (await of(store, id), await states(store, other)) == ([], [DeliveryState.PENDING])
    assert await content_count(store) == 2


async def test_a_result_of_a_delivery_that_is_gone_is_no_others(
    desk: Desk, dispatch: Dispatch, store: Store
) -> None:
    """It may come when its key has been given to another, that is claimed as often."""
    await dispatch.plan(START)
    (gone,) = await dispatch.claim()
    await desk.erase()
    other = await dispatch.plan(START, recipient="bob")
    (theirs,) = await dispatch.claim()
    assert await dispatch.record(gone.delivery, Bounced("No such address.")) is RecordOutcome.CLOSED
    assert await states(store, other) == [DeliveryState.CLAIMED]
    assert await dispatch.record(theirs.delivery) is RecordOutcome.RECORDED
    assert await states(store, other) == [DeliveryState.SENT]


async def test_deliveries_go_with_their_tenant(
    make_desk: MakeDesk, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    await create_tenant(desk, "t")
    theirs = Dispatch(make_desk("t"))
    ids = [await theirs.plan(START, "one", "two", body=BODY) for _ in range(3)]
    await desk.submit(ChangeTenant(tenant="default", name="t", state=TenantState.DELETING))
    # In chunks smaller than what there is of anything.
    await desk.erase_tenant("t", limit=2)
    assert [await of(store, id, "t") for id in ids] == [[], [], []]
    assert await content_count(store) == 0
    assert await store.tenants.tenant("t") is None


async def create_tenant(desk: Desk, name: str) -> None:
    await desk.submit(CreateTenant(tenant="default", name=name, display_name="", quotas=QUOTAS))
