"""CancelNotifications and ReviseNotification in every state that a notification can be in."""

from collections.abc import Awaitable, Callable

import pytest

from tests.support.desk import CODEC, Desk
from tests.support.stores import TurnedClock
from tocsin_server.domain.commands import ENTRIES_PER_TRANSACTION, ByIds, CancelOutcome
from tocsin_server.domain.errors import NotificationFinal, NotificationNotFound
from tocsin_server.domain.inbox import Counts, Mark, Status
from tocsin_server.domain.notification import EventKind, NotificationState
from tocsin_server.domain.time import HOUR, MINUTE
from tocsin_server.store.store import Store

Arrange = Callable[[Desk, TurnedClock], Awaitable[bytes]]


async def scheduled(desk: Desk, clock: TurnedClock) -> bytes:
    return (await desk.send(deliver_time=clock.time + HOUR)).notification_id


async def stored(desk: Desk, clock: TurnedClock) -> bytes:
    return (await desk.send()).notification_id


async def suppressed(desk: Desk, clock: TurnedClock) -> bytes:
    return (await desk.send(expire_time=clock.time - 1)).notification_id


async def cancelled(desk: Desk, clock: TurnedClock) -> bytes:
    id = await scheduled(desk, clock)
    await desk.cancel(id)
    return id


async def retracted(desk: Desk, clock: TurnedClock) -> bytes:
    id = await stored(desk, clock)
    await desk.cancel(id)
    return id


async def expired(desk: Desk, clock: TurnedClock) -> bytes:
    id = (await desk.send(expire_time=clock.time + MINUTE)).notification_id
    clock.time += MINUTE
    assert await desk.fire_due() == 1
    return id


async def expired_unnoticed(desk: Desk, clock: TurnedClock) -> bytes:
    """Past its time, and its timer has not fired yet."""
    id = (await desk.send(expire_time=clock.time + MINUTE)).notification_id
    clock.time += MINUTE
    return id


FINAL = (suppressed, cancelled, retracted, expired)


@pytest.mark.parametrize(
    ("arrange", "outcome", "state"),
    [
        (scheduled, CancelOutcome.CANCELLED, NotificationState.CANCELLED),
        (stored, CancelOutcome.RETRACTED, NotificationState.RETRACTED),
        (suppressed, CancelOutcome.ALREADY_FINAL, NotificationState.SUPPRESSED),
        (cancelled, CancelOutcome.ALREADY_FINAL, NotificationState.CANCELLED),
        (retracted, CancelOutcome.ALREADY_FINAL, NotificationState.RETRACTED),
        (expired, CancelOutcome.ALREADY_FINAL, NotificationState.EXPIRED),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_cancelling_in_each_state(
    desk: Desk,
    store: Store,
    clock: TurnedClock,
    arrange: Arrange,
    outcome: CancelOutcome,
    state: NotificationState,
) -> None:
    id = await arrange(desk, clock)
    assert await desk.cancel(id) == [outcome]
    found = await store.readers.notification("default", id)
    assert found is not None
    assert (found.state, found.content) == (state, None)
    assert (await desk.check_counts()).counts == Counts()


async def test_what_has_expired_is_not_retracted_before_its_timer_either(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """Who was shown that it has expired is not told otherwise."""
    id = await expired_unnoticed(desk, clock)
    assert await desk.cancel(id) == [CancelOutcome.ALREADY_FINAL]
    await desk.fire_due()
    found = await store.readers.notification("default", id)
    assert found is not None
    assert found.state == NotificationState.EXPIRED
    assert (await desk.check_counts()).counts == Counts()


async def test_what_has_expired_of_a_thread_is_left_alone(desk: Desk, clock: TurnedClock) -> None:
    await desk.send(thread="t", expire_time=clock.time + HOUR)
    kept = (await desk.send(thread="t")).notification_id
    waiting = await desk.send(
        thread="t", deliver_time=clock.time + 2 * HOUR, expire_time=clock.time + 3 * HOUR
    )
    clock.time += HOUR
    assert await desk.cancel_thread("t") == {
        waiting.notification_id: CancelOutcome.CANCELLED,
        kept: CancelOutcome.RETRACTED,
    }


async def test_what_does_not_exist_is_not_found(desk: Desk) -> None:
    id = (await desk.send()).notification_id
    assert await desk.cancel(bytes(16), id, bytes(16)) == [
        CancelOutcome.NOT_FOUND,
        CancelOutcome.RETRACTED,
        CancelOutcome.NOT_FOUND,
    ]


async def test_one_id_twice_has_one_outcome(desk: Desk) -> None:
    id = (await desk.send()).notification_id
    assert await desk.cancel(id, id) == [CancelOutcome.RETRACTED] * 2
    assert (await desk.inbox()).revision == 2


async def test_cancelling_across_inboxes(desk: Desk) -> None:
    ids = [(await desk.send(name)).notification_id for name in ("ada", "bob", "ada")]
    assert await desk.cancel(*ids) == [CancelOutcome.RETRACTED] * 3
    for name, revision in (("ada", 4), ("bob", 2)):
        inbox = await desk.check_counts(name)
        assert (inbox.revision, inbox.counts) == (revision, Counts())


async def test_a_thread_is_cancelled_the_latest_first(desk: Desk, clock: TurnedClock) -> None:
    await desk.send_many(ENTRIES_PER_TRANSACTION + 5, thread="t")
    waiting = (await desk.send(thread="t", deliver_time=clock.time + HOUR)).notification_id
    other = (await desk.send(thread="u")).notification_id
    await desk.send("bob", thread="t")
    outcomes = await desk.cancel_thread("t")
    assert len(outcomes) == ENTRIES_PER_TRANSACTION
    assert outcomes[waiting] is CancelOutcome.CANCELLED
    assert len(await desk.cancel_thread("t")) == 6
    assert await desk.cancel_thread("t") == {}
    assert [id for id, status in (await desk.statuses()).items() if status is not Status.GONE] == [other]
    assert (await desk.check_counts()).counts.total == 1
    assert (await desk.check_counts("bob")).counts.total == 1


@pytest.mark.parametrize("arrange", FINAL, ids=lambda value: value.__name__)
async def test_what_is_final_is_not_revised(desk: Desk, clock: TurnedClock, arrange: Arrange) -> None:
    id = await arrange(desk, clock)
    before = await desk.inbox()
    with pytest.raises(NotificationFinal) as final:
        await desk.revise(id)
    assert final.value.metadata == {"state": arrange.__name__.upper()}
    assert await desk.inbox() == before


async def test_what_has_expired_is_not_revised_before_its_timer_either(
    desk: Desk, clock: TurnedClock
) -> None:
    id = await expired_unnoticed(desk, clock)
    with pytest.raises(NotificationFinal) as final:
        await desk.revise(id)
    assert final.value.metadata == {"state": "EXPIRED"}


async def test_an_unknown_notification_is_not_revised(desk: Desk) -> None:
    with pytest.raises(NotificationNotFound):
        await desk.revise(bytes(16))


@pytest.mark.parametrize(
    ("mark", "renotify", "status", "counts"),
    [
        (None, False, Status.UNSEEN, Counts(1, 1, 1)),
        (Mark.READ, False, Status.READ, Counts(0, 0, 1)),
        (Mark.READ, True, Status.UNSEEN, Counts(1, 1, 1)),
        (Mark.ARCHIVED, False, Status.ARCHIVED_UNSEEN, Counts(0, 0, 1)),
        # It comes to notice again where it lies: an archive is not emptied by a sender.
        (Mark.ARCHIVED, True, Status.ARCHIVED_UNSEEN, Counts(0, 0, 1)),
    ],
)
async def test_a_revision_is_a_change_of_content(
    desk: Desk, mark: Mark | None, renotify: bool, status: Status, counts: Counts
) -> None:
    id = (await desk.send()).notification_id
    if mark is not None:
        await desk.mark(mark, ByIds((id,)))
    receipt = await desk.revise(id, "Anew", renotify=renotify)
    inbox = await desk.check_counts()
    assert receipt.recipient == "ada"
    assert receipt.position is not None
    assert (receipt.position.revision, receipt.position.counts) == (inbox.revision, inbox.counts)
    (entry,) = await desk.entries()
    assert entry.content is not None
    assert CODEC.content(entry.content).fallback_text == "Anew"
    assert (entry.revision, entry.content_revision) == (inbox.revision, inbox.revision)
    assert (entry.status, inbox.counts) == (status, counts)
    assert (entry.seen_time is None) is (status % 3 == 0)


async def test_what_waits_is_revised_without_a_position(desk: Desk, store: Store, clock: TurnedClock) -> None:
    id = await scheduled(desk, clock)
    assert (await desk.revise(id, "Anew")).position is None
    assert (await desk.inbox()).revision == 0
    clock.time += HOUR
    await desk.fire_due()
    (entry,) = await desk.entries()
    assert entry.content is not None
    assert CODEC.content(entry.content).fallback_text == "Anew"
    kinds = [event.kind for event in await store.readers.timeline("default", id, 10)]
    assert kinds == [EventKind.SCHEDULED, EventKind.REVISED, EventKind.STORED]
