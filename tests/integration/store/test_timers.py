"""FireTimer: what happens at a time happens once, whoever fires it and however often."""

import asyncio

import pytest

from tests.support.contents import simple
from tests.support.desk import Desk
from tests.support.stores import QUOTAS, START, TurnedClock
from tocsin_server.domain.commands import Answer, ByIds, ChangeTenant, ShownContent, TimerKind
from tocsin_server.domain.errors import QuotaExceeded
from tocsin_server.domain.inbox import Counts, InboxChange, Mark, Status
from tocsin_server.domain.notification import Disposition, EventKind, NotificationState, TemplateRef
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import DAY, HOUR, MINUTE
from tocsin_server.domain.value import replace
from tocsin_server.service.ports import Committed
from tocsin_server.store.store import Store


async def state_of(store: Store, id: bytes) -> NotificationState:
    found = await store.readers.notification("default", id)
    assert found is not None
    return NotificationState(found.state)


async def test_a_deferred_send_enters_the_inbox_when_it_is_due(
    desk: Desk, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    receipt = await desk.send(deliver_time=START + HOUR, trace=b"trace")
    assert (receipt.disposition, receipt.incarnation) == (Disposition.SCHEDULED, None)
    assert [decision.due_time for decision in receipt.decisions] == [START + HOUR]
    assert commits[-1].earliest_timer == START + HOUR
    assert not commits[-1].changes
    assert (await desk.inbox()).revision == 0

    clock.time = START + HOUR - 1
    assert await desk.fire_due() == 0
    clock.time += 1
    assert await desk.fire_due() == 1
    assert await desk.fire_due() == 0
    (entry,) = await desk.entries()
    assert (entry.state, entry.revision, entry.content_revision) == (NotificationState.STORED, 1, 1)
    assert (await desk.check_counts()).counts == Counts(1, 1, 1)
    (change,) = commits[-1].changes
    assert isinstance(change, InboxChange)
    assert (change.content, change.envelope, change.trace) == (entry.content, entry.envelope, b"trace")


async def test_one_timer_fired_by_several_takes_effect_once(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """In one transaction, and in several at once."""
    for _ in range(3):
        await desk.send(deliver_time=START + HOUR)
    clock.time += HOUR
    once = await desk.firing()
    assert [command.timer.kind for command in once] == [TimerKind.DELIVER] * 3
    answers = await asyncio.gather(*(store.writer.submit(once + once) for _ in range(4)))
    fired = [answer.receipt for found in answers for answer in found if not isinstance(answer, Exception)]
    assert (len(fired), sum(fired)) == (24, 3)
    assert (await desk.check_counts()).revision == 3
    # Each has got a timer that will expire it.
    assert await desk.timer_count() == 3


async def test_a_timer_that_is_gone_takes_no_other_with_it(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """What was read of it may come when its key has been given to another."""
    await desk.send(deliver_time=START + HOUR)
    clock.time += HOUR
    read = await desk.firing()
    await desk.erase()
    await desk.send("bob", deliver_time=clock.time + HOUR)
    (answer,) = await store.writer.submit(read)
    assert isinstance(answer, Answer)
    assert not answer.receipt
    assert await desk.timer_count() == 1
    clock.time += HOUR
    assert await desk.fire_due() == 1
    assert (await desk.check_counts("bob")).revision == 1


async def test_a_cancelled_send_stays_cancelled(desk: Desk, store: Store, clock: TurnedClock) -> None:
    id = (await desk.send(deliver_time=START + HOUR)).notification_id
    await desk.cancel(id)
    clock.time += HOUR
    await desk.fire_due()
    assert await state_of(store, id) is NotificationState.CANCELLED
    assert (await desk.inbox()).revision == 0


async def test_what_is_revised_while_its_template_is_rendered_is_shown_as_revised(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    command = desk.sending(deliver_time=START + HOUR)
    id = command.draft.id
    await desk.submit(replace(command, spec=replace(command.spec, template=TemplateRef("welcome"))))
    clock.time += HOUR
    (firing,) = await desk.firing()
    await desk.revise(id, "Revised")
    rendered = replace(firing, shown=ShownContent(simple("Rendered").shown))
    assert await desk.submit(rendered)
    (entry,) = await desk.entries()
    assert entry.content == simple("Revised").shown


async def test_what_has_expired_when_it_is_due_never_enters(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    id = (await desk.send(deliver_time=START + HOUR, expire_time=START + HOUR)).notification_id
    clock.time += HOUR
    assert await desk.fire_due() == 1
    assert await state_of(store, id) is NotificationState.EXPIRED
    assert (await desk.check_counts()).revision == 0
    assert await desk.timer_count() == 0
    events = await store.readers.timeline("default", id, 10)
    assert [event.kind for event in events] == [EventKind.SCHEDULED, EventKind.EXPIRED]


async def test_what_is_due_before_it_is_written_is_kept_like_any_other(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """A deliver time that passes in the queue: the entry is stored at once, and retention must find it."""
    command = desk.sending(deliver_time=START + MINUTE)
    clock.time += MINUTE
    receipt = await desk.submit(command)
    assert receipt.disposition is Disposition.STORED
    found, _ = await store.readers.expirable(clock.time + 1, 0, 10)
    assert found == [("default", receipt.notification_id)]


async def test_an_entry_expires_at_its_time(
    desk: Desk, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    id = (await desk.send(expire_time=START + HOUR)).notification_id
    assert commits[-1].earliest_timer == START + HOUR
    clock.time += HOUR
    # Before the timer has fired it shows as what it is.
    (entry,) = await desk.entries()
    assert (entry.state, entry.content, entry.final_time) == (NotificationState.EXPIRED, None, START + HOUR)
    clock.time += MINUTE
    assert await desk.fire_due() == 1
    (entry,) = await desk.entries()
    assert (entry.state, entry.status, entry.content) == (NotificationState.EXPIRED, Status.GONE, None)
    assert (entry.revision, entry.content_revision) == (2, 1)
    assert (await desk.check_counts()).counts == Counts()
    assert [event.revision for event in await store.readers.timeline("default", id, 10)] == [1, 2]


async def test_a_snoozed_entry_comes_back(desk: Desk, store: Store, clock: TurnedClock) -> None:
    id = (await desk.send()).notification_id
    await desk.mark(Mark.SNOOZED, ByIds((id,)), snooze_until=START + HOUR)
    assert (await desk.check_counts()).counts == Counts(0, 0, 1)
    clock.time += HOUR
    assert await desk.fire_due() == 1
    (entry,) = await desk.entries()
    assert (entry.status, entry.snoozed_until) == (Status.UNSEEN, None)
    inbox = await desk.check_counts()
    assert (inbox.revision, inbox.counts) == (3, Counts(1, 1, 1))
    events = await store.readers.timeline("default", id, 10)
    assert [event.kind for event in events] == [EventKind.STORED, EventKind.SNOOZED, EventKind.UNSNOOZED]


@pytest.mark.parametrize(
    ("marks", "wakes"),
    [
        # Snoozed for longer: the first timer does nothing.
        ([(Mark.SNOOZED, 1), (Mark.SNOOZED, 2)], 2),
        # … for shorter: the second one does it, and the first finds nothing to do.
        ([(Mark.SNOOZED, 2), (Mark.SNOOZED, 1)], 1),
        # Woken and snoozed to the same time again: two timers, one effect.
        ([(Mark.SNOOZED, 1), (Mark.UNSNOOZED, 0), (Mark.SNOOZED, 1)], 1),
        # Woken and snoozed for longer.
        ([(Mark.SNOOZED, 1), (Mark.UNSNOOZED, 0), (Mark.SNOOZED, 3)], 3),
        # Put away meanwhile: it stays there.
        ([(Mark.SNOOZED, 1), (Mark.ARCHIVED, 0)], None),
    ],
)
async def test_only_the_latest_snooze_counts(
    desk: Desk, clock: TurnedClock, marks: list[tuple[Mark, int]], wakes: int | None
) -> None:
    id = (await desk.send()).notification_id
    for mark, hours in marks:
        await desk.mark(mark, ByIds((id,)), snooze_until=START + hours * HOUR if hours else None)
    before = await desk.inbox()
    for hour in range(1, 5):
        clock.time = START + hour * HOUR
        await desk.fire_due()
        (status,) = (await desk.statuses()).values()
        woken = wakes is not None and hour >= wakes
        assert (status is Status.UNSEEN) is woken
        assert (await desk.inbox()).revision == before.revision + woken
    assert await desk.timer_count() == 0


async def test_an_expired_entry_is_not_woken(desk: Desk, clock: TurnedClock) -> None:
    id = (await desk.send(expire_time=START + HOUR)).notification_id
    await desk.mark(Mark.SNOOZED, ByIds((id,)), snooze_until=START + 2 * HOUR)
    clock.time += 2 * HOUR
    assert await desk.fire_due() == 2
    assert await desk.statuses() == {id: Status.GONE}
    assert (await desk.check_counts()).revision == 3


async def test_what_waits_uses_a_quota_until_it_is_settled(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    await desk.submit(
        ChangeTenant(
            tenant="default",
            name="default",
            quotas=Quotas(max_pending=2),
            quota_fields=frozenset({"max_pending"}),
        )
    )
    first, _ = [(await desk.send(deliver_time=START + HOUR)).notification_id for _ in range(2)]
    with pytest.raises(QuotaExceeded) as full:
        await desk.send("bob", deliver_time=START + HOUR)
    assert full.value.metadata == {"quota": "max_pending", "limit": "2"}
    await desk.send()
    await desk.cancel(first)
    await desk.send("bob", deliver_time=START + 2 * HOUR)
    clock.time += HOUR
    assert await desk.fire_due() == 2
    await desk.send("bob", deliver_time=START + 2 * HOUR)
    with pytest.raises(QuotaExceeded):
        await desk.send("bob", deliver_time=START + 2 * HOUR)
    await desk.erase("bob")
    await desk.send(deliver_time=START + 2 * HOUR)
    assert QUOTAS.max_pending > 2


async def test_timers_of_a_suspended_tenant_wait(desk: Desk, store: Store, clock: TurnedClock) -> None:
    await desk.send(deliver_time=START + HOUR)
    await desk.submit(ChangeTenant(tenant="default", name="default", state=TenantState.SUSPENDED))
    clock.time += DAY
    assert await desk.fire_due() == 0
    await desk.submit(ChangeTenant(tenant="default", name="default", state=TenantState.ACTIVE))
    assert await desk.fire_due() == 1
    assert (await desk.check_counts()).revision == 1


async def test_timers_are_read_earliest_first(desk: Desk, store: Store) -> None:
    for hours in (3, 1, 2):
        await desk.send(deliver_time=START + hours * HOUR)
    timers = await store.readers.due_timers(START + 2 * HOUR, 10)
    assert [timer.due_time for timer in timers] == [START + HOUR, START + 2 * HOUR]
    assert len(await store.readers.due_timers(START + DAY, 2)) == 2
