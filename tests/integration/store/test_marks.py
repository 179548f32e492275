"""MarkEntries and RecordInteraction: what changes, what it is counted as, and that large marks go in chunks."""

from collections.abc import Callable

import pytest

from tests.support.desk import Desk
from tests.support.stores import START, TurnedClock
from tocsin_server.domain.commands import ENTRIES_PER_TRANSACTION, ByIds, ByThread, MarkReceipt, UpTo
from tocsin_server.domain.cursor import UNBORN, UNFILTERED, Cursor
from tocsin_server.domain.errors import (
    CursorExpired,
    IncarnationChanged,
    NotificationFinal,
    NotificationNotFound,
    RecipientNotFound,
)
from tocsin_server.domain.inbox import Counts, EntryView, InteractionKind, Mark, Status, marked
from tocsin_server.domain.notification import EventKind
from tocsin_server.domain.time import HOUR, MINUTE, Micros
from tocsin_server.store.store import Store

LATER = START + HOUR
Selection = ByIds | ByThread | UpTo
SELECTIONS: dict[str, Callable[[tuple[bytes, ...], UpTo], Selection]] = {
    "ids": lambda ids, up_to: ByIds(ids),
    "thread": lambda ids, up_to: ByThread("t"),
    "cursor": lambda ids, up_to: up_to,
}
ARRANGED: dict[Status, tuple[Mark, ...]] = {
    Status.UNSEEN: (),
    Status.SEEN: (Mark.SEEN,),
    Status.READ: (Mark.READ,),
    Status.SNOOZED_UNSEEN: (Mark.SNOOZED,),
    Status.SNOOZED_SEEN: (Mark.SEEN, Mark.SNOOZED),
    Status.SNOOZED_READ: (Mark.READ, Mark.SNOOZED),
    Status.ARCHIVED_UNSEEN: (Mark.ARCHIVED,),
    Status.ARCHIVED_SEEN: (Mark.SEEN, Mark.ARCHIVED),
    Status.ARCHIVED_READ: (Mark.READ, Mark.ARCHIVED),
}
"""The marks that bring a new entry to a status."""


async def arrange(desk: Desk, status: Status, thread: str = "") -> bytes:
    id = (await desk.send(thread=thread)).notification_id
    for mark in ARRANGED.get(status, ()):
        await desk.mark(mark, ByIds((id,)), snooze_until=LATER if mark is Mark.SNOOZED else None)
    if status is Status.GONE:
        await desk.cancel(id)
    assert (await desk.statuses())[id] is status
    return id


@pytest.mark.parametrize("by", ["ids", "thread", "cursor"])
@pytest.mark.parametrize("mark", Mark)
async def test_a_mark_changes_what_it_says_whatever_the_status(desk: Desk, mark: Mark, by: str) -> None:
    """One entry of each status; only those that the mark changes take a revision."""
    entries = {await arrange(desk, status, "t"): status for status in Status}
    before = {entry.id: entry for entry in await desk.entries()}
    start = await desk.inbox()
    until = LATER + MINUTE if mark is Mark.SNOOZED else None
    up_to = await desk.up_to(start.revision)
    selection = SELECTIONS[by](tuple(entries), up_to)

    receipt = await desk.mark(mark, selection, snooze_until=until)

    expected = {id: marked(status, mark) for id, status in entries.items()}
    assert await desk.statuses() == expected
    # A snooze to another time changes what is snoozed already.
    changed = {
        id
        for id, status in entries.items()
        if expected[id] is not status or (mark is Mark.SNOOZED and status is not Status.GONE)
    }
    assert receipt.changed_count == len(changed)
    after = {entry.id: entry for entry in await desk.entries()}
    assert {id for id in after if after[id] != before[id]} == changed
    assert all(after[id].content_revision == before[id].content_revision for id in after)
    assert [entry.revision for entry in await desk.changes(start.revision)] == list(
        range(start.revision + 1, start.revision + 1 + len(changed))
    )
    inbox = await desk.check_counts()
    assert receipt.position is not None
    assert (receipt.position.revision, receipt.position.counts) == (inbox.revision, inbox.counts)


async def test_times_go_with_the_status(desk: Desk, clock: TurnedClock) -> None:
    id = (await desk.send()).notification_id

    async def times(mark: Mark) -> tuple[int | None, ...]:
        clock.time += MINUTE
        until = LATER if mark is Mark.SNOOZED else None
        await desk.mark(mark, ByIds((id,)), snooze_until=until)
        (entry,) = await desk.entries()
        return tuple(
            time if time is None or time == LATER else (time - START) // MINUTE
            for time in (entry.seen_time, entry.read_time, entry.archived_time, entry.snoozed_until)
        )

    assert await times(Mark.SEEN) == (1, None, None, None)
    assert await times(Mark.READ) == (1, 2, None, None)
    assert await times(Mark.ARCHIVED) == (1, 2, 3, None)
    assert await times(Mark.SNOOZED) == (1, 2, None, LATER)
    assert await times(Mark.UNREAD) == (1, None, None, LATER)
    assert await times(Mark.UNSNOOZED) == (1, None, None, None)
    assert await times(Mark.UNARCHIVED) == (1, None, None, None)


async def test_only_entries_of_the_inbox_and_of_the_selection_are_marked(desk: Desk) -> None:
    mine = (await desk.send(thread="t")).notification_id
    other = (await desk.send(thread="u")).notification_id
    threadless = (await desk.send()).notification_id
    foreign = (await desk.send("bob", thread="t")).notification_id
    scheduled = (await desk.send(thread="t", deliver_time=LATER)).notification_id

    assert (await desk.mark(Mark.READ, ByThread("t"))).changed_count == 1
    assert (await desk.mark(Mark.READ, ByThread(""))).changed_count == 0
    assert (await desk.mark(Mark.SEEN, ByIds((foreign, scheduled, bytes(16))))).changed_count == 0
    assert (await desk.mark(Mark.ARCHIVED, await desk.up_to(2))).changed_count == 2
    assert await desk.statuses() == {
        mine: Status.ARCHIVED_READ, other: Status.ARCHIVED_UNSEEN, threadless: Status.UNSEEN
    }  # fmt: skip
    assert await desk.statuses("bob") == {foreign: Status.UNSEEN}


async def test_an_unknown_recipient_has_nothing_to_mark(desk: Desk) -> None:
    with pytest.raises(RecipientNotFound):
        await desk.mark(Mark.READ, ByThread("t"), "nobody")


async def finish(
    desk: Desk, receipt: MarkReceipt, mark: Mark, selection: Selection, until: Micros | None
) -> int:
    """Marks chunk by chunk; how many that were."""
    chunks = 1
    while receipt.more:
        assert chunks < 10, "it never ends"
        chunks += 1
        receipt = await desk.mark(mark, selection, changed_before=receipt.changed_count, snooze_until=until)
    assert receipt.changed_count == 2_500
    return chunks


@pytest.mark.parametrize("mark", [Mark.READ, Mark.SNOOZED])
@pytest.mark.parametrize("by", ["ids", "thread", "cursor"])
async def test_more_than_a_transaction_takes_is_marked_in_chunks(desk: Desk, mark: Mark, by: str) -> None:
    ids = await desk.send_many(2_500, thread="t")
    up_to = await desk.up_to(2_500)
    selection = SELECTIONS[by](tuple(ids), up_to)
    until = LATER if mark is Mark.SNOOZED else None

    first = await desk.mark(mark, selection, snooze_until=until)
    assert (first.changed_count, first.more) == (ENTRIES_PER_TRANSACTION, True)
    oldest = {entry.content_revision for entry in await desk.changes(2_500)}
    assert oldest == set(range(1, ENTRIES_PER_TRANSACTION + 1)), "oldest content first"
    assert await finish(desk, first, mark, selection, until) == 3
    assert (await desk.mark(mark, selection, snooze_until=until)).changed_count == 0
    inbox = await desk.check_counts()
    assert inbox.counts.unread == 0


async def test_what_comes_meanwhile_is_above_the_cursor(desk: Desk) -> None:
    await desk.send_many(1_200)
    up_to = await desk.up_to(1_200)
    first = await desk.mark(Mark.READ, up_to)
    new = (await desk.send()).notification_id
    second = await desk.mark(Mark.READ, up_to, changed_before=first.changed_count)
    assert (second.changed_count, second.more) == (1_200, False)
    assert [id for id, status in (await desk.statuses()).items() if status is Status.UNSEEN] == [new]


@pytest.mark.parametrize(
    ("kind", "status", "revisions"),
    [
        (InteractionKind.OPENED, Status.READ, 1),
        (InteractionKind.CLICKED, Status.READ, 1),
        (InteractionKind.DISMISSED, Status.SEEN, 1),
        (InteractionKind.CONVERTED, Status.UNSEEN, 1),
    ],
)
async def test_an_interaction_marks_and_is_noted(
    desk: Desk, store: Store, kind: InteractionKind, status: Status, revisions: int
) -> None:
    id = (await desk.send()).notification_id
    first = await desk.interact(id, kind)
    again = await desk.interact(id, kind)
    assert first.position.revision == again.position.revision == 1 + revisions
    (entry,) = await desk.entries()
    assert (entry.status, entry.interacted_time) == (status, START)
    events = [
        event for event in await store.readers.timeline("default", id, 10) if event.kind.name == kind.name
    ]
    assert [event.revision for event in events] == [2, 0], "the second changes nothing, and is noted too"
    await desk.check_counts()


async def test_an_interaction_keeps_the_shelf(desk: Desk) -> None:
    id = await arrange(desk, Status.SNOOZED_UNSEEN)
    await desk.interact(id, InteractionKind.OPENED)
    (entry,) = await desk.entries(view=EntryView.SNOOZED)
    assert (entry.status, entry.snoozed_until) == (Status.SNOOZED_READ, LATER)


async def test_what_is_gone_or_elsewhere_cannot_be_interacted_with(desk: Desk, clock: TurnedClock) -> None:
    gone = await arrange(desk, Status.GONE)
    foreign = (await desk.send("bob")).notification_id
    scheduled = (await desk.send(deliver_time=LATER)).notification_id
    expired = (await desk.send(expire_time=START + MINUTE)).notification_id
    with pytest.raises(NotificationFinal) as final:
        await desk.interact(gone, InteractionKind.OPENED)
    assert final.value.metadata == {"state": "RETRACTED"}
    with pytest.raises(NotificationNotFound):
        await desk.interact(foreign, InteractionKind.OPENED)
    with pytest.raises(NotificationNotFound):
        await desk.interact(bytes(16), InteractionKind.OPENED)
    with pytest.raises(NotificationNotFound) as hidden:
        await desk.interact(scheduled, InteractionKind.OPENED)
    assert "-" in hidden.value.metadata["notification_id"]
    # Past its time, though its timer has not fired yet.
    clock.time += MINUTE
    with pytest.raises(NotificationFinal) as late:
        await desk.interact(expired, InteractionKind.OPENED)
    assert late.value.metadata == {"state": "EXPIRED"}


async def test_every_mark_is_an_event_with_its_revision(desk: Desk, store: Store) -> None:
    id = (await desk.send()).notification_id
    for mark in Mark:
        await desk.mark(mark, ByIds((id,)), snooze_until=LATER if mark is Mark.SNOOZED else None)
    kinds = [(event.kind, event.revision) for event in await store.readers.timeline("default", id, 100)]
    assert kinds == [
        (EventKind.STORED, 1),
        (EventKind.SEEN, 2),
        (EventKind.READ, 3),
        (EventKind.UNREAD, 4),
        (EventKind.ARCHIVED, 5),
        (EventKind.UNARCHIVED, 6),
        (EventKind.SNOOZED, 7),
        (EventKind.UNSNOOZED, 8),
    ]
    assert (await desk.check_counts()).counts == Counts(1, 0, 1)


async def test_a_position_to_mark_up_to_must_be_one_to_resume_from(desk: Desk, clock: TurnedClock) -> None:
    await desk.send_many(3)
    good, first = await desk.up_to(3), await desk.up_to(0)
    inbox = await desk.inbox()
    ahead = UpTo(Cursor(inbox.incarnation, UNFILTERED, 4))
    foreign = UpTo(Cursor(b"foreign.", UNFILTERED, 3))
    for wrong in (ahead, foreign):
        with pytest.raises(IncarnationChanged):
            await desk.mark(Mark.READ, wrong)
    with pytest.raises(IncarnationChanged):
        await desk.mark(Mark.READ, good, "nobody")
    # From before there was an inbox: nothing can be as old.
    unborn = UpTo(Cursor(UNBORN, UNFILTERED, 0))
    assert (await desk.mark(Mark.READ, unborn)).changed_count == 0
    with pytest.raises(RecipientNotFound):
        await desk.mark(Mark.READ, unborn, "nobody")
    await desk.cancel(*(await desk.statuses()))
    clock.time += HOUR
    await desk.prune(clock.time)
    with pytest.raises(CursorExpired):
        await desk.mark(Mark.READ, first)
    # A chunk of what was begun in time is not refused.
    assert (await desk.mark(Mark.READ, first, changed_before=1_000)).changed_count == 1_000


async def test_a_position_of_an_erased_inbox_marks_nothing_in_the_next(desk: Desk) -> None:
    await desk.send_many(3)
    up_to = await desk.up_to(3)
    await desk.erase()
    await desk.send_many(3)
    # A later chunk of what was begun before does not either.
    for changed_before in (0, 1_000):
        with pytest.raises(IncarnationChanged):
            await desk.mark(Mark.READ, up_to, changed_before=changed_before)
    assert (await desk.inbox()).counts == Counts(3, 3, 3)
