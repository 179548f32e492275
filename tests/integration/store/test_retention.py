"""What removes rows: expiry by retention, pruning in revision order, history by age, and erasure."""

from typing import Any

import pytest

from tests.support.desk import Desk, key, receipt_of
from tests.support.stores import START, TurnedClock
from tocsin_server.domain.commands import (
    ENTRIES_PER_TRANSACTION,
    ByIds,
    Command,
    EraseRecipient,
    ExpireEntries,
    PruneHistory,
    PruneInboxes,
    RequestSpace,
)
from tocsin_server.domain.errors import RecipientNotFound
from tocsin_server.domain.inbox import Counts, InboxErased, InteractionKind, Mark, Status
from tocsin_server.domain.notification import EventKind, NotificationState
from tocsin_server.domain.time import DAY, HOUR, MINUTE, Micros
from tocsin_server.service.ports import Committed
from tocsin_server.store.store import Store


async def expire(desk: Desk, *ids: bytes) -> int:
    command = ExpireEntries(tenant="", entries=tuple(("default", id) for id in ids))
    return (await desk.submit(command)).count


# --- expiry -----------------------------------------------------------------------------------------------------------


async def test_retention_expires_an_entry_as_a_change(
    desk: Desk, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    first, second = await desk.send_many(2)
    clock.time += HOUR
    assert await expire(desk, first) == 1
    assert [change.revision for change in commits[-1].changes if not isinstance(change, InboxErased)] == [3]
    entry = {entry.id: entry for entry in await desk.entries()}[first]
    assert (entry.state, entry.status, entry.content) == (NotificationState.EXPIRED, Status.GONE, None)
    assert (entry.revision, entry.content_revision, entry.final_time) == (3, 1, clock.time)
    assert (await desk.check_counts()).counts == Counts(1, 1, 1)
    kinds = [event.kind for event in await store.readers.timeline("default", first, 9)]
    assert kinds == [EventKind.STORED, EventKind.EXPIRED]
    assert await expire(desk, first, first) == 0
    assert await expire(desk, second, second) == 1


async def test_what_is_not_stored_does_not_expire_by_retention(desk: Desk) -> None:
    waiting = (await desk.send(deliver_time=START + HOUR)).notification_id
    gone = (await desk.send()).notification_id
    await desk.cancel(gone)
    assert await expire(desk, waiting, gone, bytes(16)) == 0


async def test_what_can_expire_is_found_in_steps(desk: Desk, store: Store, clock: TurnedClock) -> None:
    old = await desk.send_many(3)
    await desk.cancel(old[1])
    clock.time += HOUR
    await desk.send()
    found, after = await store.readers.expirable(clock.time, 0, 2)
    assert [id for _, id in found] == [old[0]]
    assert after
    found, after = await store.readers.expirable(clock.time, after, 2)
    assert ([id for _, id in found], after) == ([old[2]], 0)


async def test_new_rows_come_after_all_that_ever_were(desk: Desk, store: Store, clock: TurnedClock) -> None:
    """Retention goes on where it was: what is new must not hide in places that it has passed."""
    await desk.send_many(3, "bob")
    _, after = await store.readers.expirable(START + 1, 0, 2)
    await desk.erase("bob")
    clock.time += HOUR
    new = (await desk.send()).notification_id
    found, _ = await store.readers.expirable(clock.time + 1, after, 9)
    assert found == [("default", new)]


# --- pruning ----------------------------------------------------------------------------------------------------------


async def gone(desk: Desk, count: int) -> list[bytes]:
    ids = await desk.send_many(count)
    for start in range(0, count, 1_000):
        await desk.cancel(*ids[start : start + 1_000])
    return ids


async def test_rows_go_in_revision_order_and_the_floor_follows(desk: Desk, clock: TurnedClock) -> None:
    """Entries 1 to 3 are gone with revisions 5 to 7, of which the last changed later; entry 4 is shown."""
    ids = await desk.send_many(3)
    kept = (await desk.send()).notification_id
    await desk.cancel(ids[0])
    await desk.cancel(ids[1])
    clock.time += HOUR
    await desk.cancel(ids[2])
    await desk.mark(Mark.SEEN, ByIds((kept,)))

    assert await desk.prune(START) == 0
    assert await desk.prune(START + 1) == 2
    assert (await desk.check_counts()).floor == 6
    assert [entry.id for entry in await desk.changes()] == [ids[2], kept]
    assert await desk.prune(clock.time + 1) == 1
    inbox = await desk.check_counts()
    assert (inbox.floor, inbox.revision, inbox.counts) == (7, 8, Counts(1, 0, 1))


async def test_what_is_still_shown_is_not_removed(desk: Desk, clock: TurnedClock) -> None:
    """However old its last change, an entry first expires, so that its subscribers hear of its end."""
    shown = (await desk.send()).notification_id
    (later,) = await gone(desk, 1)
    clock.time += DAY
    assert await desk.prune(clock.time) == 0
    assert (await desk.check_counts()).floor == 0
    await expire(desk, shown)
    assert await desk.prune(clock.time) == 1
    assert [entry.id for entry in await desk.entries()] == [shown]
    assert later != shown
    clock.time += 1
    assert await desk.prune(clock.time) == 1
    inbox = await desk.check_counts()
    assert inbox.floor == inbox.revision == 4


async def test_what_never_entered_goes_by_age_alone(desk: Desk, store: Store, clock: TurnedClock) -> None:
    await desk.send(expire_time=START)
    cancelled = (await desk.send(deliver_time=START + HOUR)).notification_id
    waiting = (await desk.send(deliver_time=START + 9 * DAY)).notification_id
    await desk.cancel(cancelled)
    clock.time += DAY
    assert await desk.prune(clock.time) == 2
    assert await store.readers.notification("default", cancelled) is None
    assert await store.readers.notification("default", waiting) is not None
    assert await desk.timer_count() == 1, "the timer of what was removed is removed with it"
    assert (await desk.check_counts()).floor == 0


async def test_much_is_pruned_in_several_transactions(desk: Desk, clock: TurnedClock) -> None:
    count = ENTRIES_PER_TRANSACTION + 200
    await gone(desk, count)
    await desk.send_many(300, "bob")
    clock.time += DAY
    await expire(desk, *(await desk.statuses("bob")))
    inboxes = (("default", "ada"), ("default", "bob"), ("default", "nobody"))
    command = PruneInboxes(tenant="", inboxes=inboxes, cutoff=clock.time + 1)
    first = await desk.submit(command)
    assert (first.count, first.more) == (ENTRIES_PER_TRANSACTION, True)
    assert (await desk.check_counts()).floor == count + ENTRIES_PER_TRANSACTION
    second = await desk.submit(command)
    assert (second.count, second.more) == (500, False)
    assert (await desk.check_counts()).floor == 2 * count
    assert (await desk.check_counts("bob")).floor == 600


async def test_what_can_be_pruned_is_found_in_steps(desk: Desk, store: Store, clock: TurnedClock) -> None:
    for name in ("ada", "bob", "cleo", "dan", "eve"):
        id = (await desk.send(name)).notification_id
        if name != "cleo":
            await desk.cancel(id)
    await desk.send("fay", expire_time=START)
    clock.time += HOUR
    (late,) = await desk.statuses("dan")
    assert late
    await desk.send("dan")
    found: list[str] = []
    after: tuple[str, str] | None = ("", "")
    while after is not None:
        page, after = await store.readers.prunable(clock.time, after, 2)
        found += [recipient for _, recipient in page]
    assert found == ["ada", "bob", "dan", "eve", "fay"]


# --- history ----------------------------------------------------------------------------------------------------------


async def prune_history(desk: Desk, before: Micros, limit: int = 2_000) -> tuple[int, bool]:
    command = PruneHistory(
        tenant="",
        requests_before=before,
        events_before=before,
        positions_before=before,
        slots_before=0,
        limit=limit,
    )
    receipt = await desk.submit(command)
    return receipt.count, receipt.more


async def test_history_goes_by_age(desk: Desk, store: Store, clock: TurnedClock) -> None:
    """Of each kind two that are old and one that is not."""
    ids = []
    for number in range(3):
        clock.time = START + number * HOUR
        command = desk.sending(request=key(RequestSpace.SEND, f"r{number}"))
        ids.append((await desk.submit(command)).notification_id)
        await desk.acknowledge(await desk.inbox(), 1, consumer=f"c{number}")
    assert await prune_history(desk, START + 2 * HOUR, limit=1) == (3, True)
    assert await prune_history(desk, START + 2 * HOUR) == (3, False)
    assert await prune_history(desk, START + 2 * HOUR) == (0, False)

    again = desk.sending(request=key(RequestSpace.SEND, "r0"))
    (answer,) = await store.writer.submit((again,))
    assert receipt_of(answer).notification_id != ids[0], "its request id is forgotten"
    again = desk.sending(request=key(RequestSpace.SEND, "r2"))
    (answer,) = await store.writer.submit((again,))
    assert receipt_of(answer).notification_id == ids[2]
    assert [len(await store.readers.timeline("default", id, 9)) for id in ids] == [0, 0, 1]
    positions = await store.recipients.consumer_positions("default", "ada")
    assert [position.consumer for position in positions] == ["c2"]


# --- erasure ----------------------------------------------------------------------------------------------------------


async def test_erasure_leaves_nothing(
    desk: Desk, store: Store, clock: TurnedClock, commits: list[Committed]
) -> None:
    entry = (await desk.send(expire_time=START + HOUR)).notification_id
    waiting = (await desk.send(deliver_time=START + HOUR)).notification_id
    await desk.acknowledge(await desk.inbox(), 1)
    bob = (await desk.send("bob")).notification_id
    before = await desk.inbox()

    receipt = await desk.erase()
    assert (receipt.erased_count, receipt.more) == (2, False)
    assert commits[-1].changes == (InboxErased("default", "ada", before.incarnation),)
    assert await store.readers.heads("default", ("ada",)) == {}
    assert await store.recipients.recipient("default", "ada") is None
    assert await store.recipients.consumer_positions("default", "ada") == []
    for id in (entry, waiting):
        assert await store.readers.notification("default", id) is None
        assert await store.readers.timeline("default", id, 9) == []
    assert await desk.timer_count() == 0
    assert await desk.statuses("bob") == {bob: Status.UNSEEN}
    with pytest.raises(RecipientNotFound):
        await desk.erase()

    # What is sent afterwards goes to another inbox.
    await desk.send()
    inbox = await desk.check_counts()
    assert inbox.incarnation != before.incarnation
    assert (inbox.revision, inbox.floor) == (1, 0)


async def test_erasure_leaves_nothing_of_what_was_pruned_before(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """Only by its notification is it known whose a step is, and steps tell what was answered."""
    id = (await desk.send()).notification_id
    await desk.interact(id, InteractionKind.CLICKED, action_id="approve")
    await desk.cancel(id)
    assert await desk.prune(clock.time + 1) == 1
    await desk.erase()
    assert await store.readers.timeline("default", id, 9) == []


async def test_a_large_inbox_is_erased_in_chunks(desk: Desk, clock: TurnedClock) -> None:
    """In between it is an inbox like any other, whose beginning is gone."""
    await desk.send_many(2 * ENTRIES_PER_TRANSACTION)
    first = await desk.submit(EraseRecipient(tenant="default", recipient="ada"))
    assert (first.erased_count, first.more) == (ENTRIES_PER_TRANSACTION, True)
    inbox = await desk.check_counts()
    assert (inbox.floor, inbox.counts.total) == (ENTRIES_PER_TRANSACTION, ENTRIES_PER_TRANSACTION)
    await desk.send()
    assert (await desk.check_counts()).revision == 2 * ENTRIES_PER_TRANSACTION + 1
    rest = await desk.submit(EraseRecipient(tenant="default", recipient="ada", erased_before=1_000))
    assert (rest.erased_count, rest.more) == (2_000, True)
    last = await desk.submit(EraseRecipient(tenant="default", recipient="ada", erased_before=2_000))
    assert (last.erased_count, last.more) == (2_001, False)
    # Two erase at once: the later one finds the rest gone, and that is what it asked for.
    late = await desk.submit(EraseRecipient(tenant="default", recipient="ada", erased_before=1_000))
    assert (late.erased_count, late.more) == (1_000, False)


async def test_erasure_and_a_send_in_one_transaction(desk: Desk, store: Store) -> None:
    await desk.send()
    before = await desk.inbox()
    erase = EraseRecipient(tenant="default", recipient="ada")
    commands: list[Command[Any]] = [erase, desk.sending(), erase, desk.sending()]
    answers = await store.writer.submit(commands)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    inbox = await desk.check_counts()
    assert (inbox.revision, inbox.counts) == (1, Counts(1, 1, 1))
    assert inbox.incarnation != before.incarnation


async def test_a_row_exactly_as_old_as_the_cutoff_stays(desk: Desk, clock: TurnedClock) -> None:
    await gone(desk, 1)
    clock.time += MINUTE
    assert await desk.prune(START) == 0
    assert await desk.prune(START + 1) == 1
