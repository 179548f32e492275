"""What readers find: changes in order and in bounded pages, entries by content, notifications by id."""

import pytest

from tests.support.desk import CODEC, Desk
from tests.support.stores import START, TurnedClock
from tocsin_server.domain.commands import ByIds
from tocsin_server.domain.entry import EntryFilter, NotificationFilter, StoredEntry, Wanted
from tocsin_server.domain.inbox import STATUSES_OF_VIEW, EntryView, Mark, Status
from tocsin_server.domain.notification import NotificationState
from tocsin_server.domain.time import HOUR, MINUTE
from tocsin_server.store.store import Store


def text(entry: StoredEntry) -> str:
    assert entry.content is not None
    return CODEC.content(entry.content).fallback_text


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_changes_come_in_revision_order_in_their_latest_state(desk: Desk) -> None:
    ids = await desk.send_many(4)
    await desk.mark(Mark.READ, ByIds((ids[2],)))
    await desk.revise(ids[0], "Anew")
    changes = await desk.changes()
    assert [(entry.revision, entry.id) for entry in changes] == [
        (2, ids[1]), (4, ids[3]), (5, ids[2]), (6, ids[0]),
    ]  # fmt: skip
    assert [entry.revision for entry in await desk.changes(4)] == [5, 6]
    assert await desk.changes(6) == []
    assert text(changes[-1]) == "Anew"


async def test_up_to_a_revision_only_what_is_unread(desk: Desk) -> None:
    ids = await desk.send_many(5)
    await desk.mark(Mark.READ, ByIds((ids[0],)))
    await desk.mark(Mark.SEEN, ByIds((ids[1],)))
    await desk.mark(Mark.ARCHIVED, ByIds((ids[2],)))
    await desk.cancel(ids[3])
    head = (await desk.inbox()).revision
    assert [entry.id for entry in await desk.changes(unread_up_to=head)] == [ids[4], ids[1]]
    await desk.mark(Mark.READ, ByIds((ids[4],)))
    assert [entry.id for entry in await desk.changes(unread_up_to=head)] == [ids[1], ids[4]]


@pytest.mark.parametrize("count", [511, 512, 513, 1_100])
async def test_pages_of_changes_leave_nothing_out(desk: Desk, count: int) -> None:
    await desk.send_many(count)
    assert [entry.revision for entry in await desk.changes()] == list(range(1, count + 1))


async def test_recipients_are_read_in_their_order_until_the_page_is_full(desk: Desk, store: Store) -> None:
    for name in ("ada", "bob", "cleo"):
        await desk.send_many(3, name)
    size = len((await desk.changes())[0].content or b"") + len((await desk.changes())[0].envelope)
    wanted = [Wanted(name, 0) for name in ("cleo", "nobody", "ada", "bob")]

    async def read(max_bytes: int) -> tuple[list[tuple[str, int]], int]:
        page = await store.readers.changes("default", wanted, max_bytes)
        reached = {each.recipient for each in wanted[: page.complete + 1]} - {"nobody"}
        assert set(page.heads) == reached
        return [(entry.recipient, entry.revision) for entry in page.entries], page.complete

    everything = [(name, revision) for name in ("cleo", "ada", "bob") for revision in (1, 2, 3)]
    assert await read(1 << 20) == (everything, 4)
    assert await read(1) == (everything[:1], 0), "never less than one change"
    found, complete = await read(4 * size)
    # As many as fit, give or take one; a recipient counts as complete only if nothing of its was left out.
    assert found == everything[: len(found)]
    assert 3 <= len(found) <= 5
    assert complete == 2


async def test_what_has_expired_does_not_hide_what_is_behind_it(desk: Desk, clock: TurnedClock) -> None:
    """Past their time, before their timers have fired, large entries count for a page as what they show: nothing."""
    for number in range(3):
        await desk.send(text="x" * (500 << 10), expire_time=START + MINUTE)
        await desk.send(text=f"live {number}")
    clock.time += MINUTE
    changes = await desk.changes()
    assert [entry.revision for entry in changes] == [1, 2, 3, 4, 5, 6]
    assert [entry.content is None for entry in changes] == [True, False] * 3


async def test_what_is_past_its_time_shows_as_expired(desk: Desk, store: Store, clock: TurnedClock) -> None:
    id = (await desk.send(expire_time=START + MINUTE)).notification_id
    clock.time += MINUTE
    single = await store.readers.notification("default", id)
    for entry in (*await desk.changes(), *await desk.entries(), single):
        assert entry is not None
        assert (entry.state, entry.status, entry.content) == (NotificationState.EXPIRED, Status.GONE, None)
        assert entry.final_time == START + MINUTE


async def test_tenants_are_apart(desk: Desk, store: Store) -> None:
    id = (await desk.send()).notification_id
    assert await store.readers.heads("other", ("ada",)) == {}
    assert (await store.readers.changes("other", (Wanted("ada", 0),), 99)).entries == []
    assert await store.readers.notification("other", id) is None
    assert await store.readers.timeline("other", id, 9) == []
    assert await store.readers.notifications("other", NotificationFilter(), None, 9) == []


async def test_heads_of_very_many(desk: Desk, store: Store) -> None:
    for name in ("ada", "zoe"):
        await desk.send(name)
    names = ["ada", *(f"r{number}" for number in range(3_000)), "zoe"]
    assert set(await store.readers.heads("default", names)) == {"ada", "zoe"}
    assert await store.readers.heads("default", ()) == {}


async def test_heads_of_many_tenants(desk: Desk, store: Store) -> None:
    for name in ("ada", "zoe"):
        await desk.send(name)
    asked = [("default", "ada"), *((f"t{number}", "ada") for number in range(3_000)), ("default", "zoe")]
    found = await store.readers.heads_of(asked)
    assert found == {
        ("default", name): inbox
        for name, inbox in (await store.readers.heads("default", ("ada", "zoe"))).items()
    }
    assert await store.readers.heads_of(()) == {}


# --- entries ----------------------------------------------------------------------------------------------------------


async def test_each_view_lists_its_statuses_by_falling_content(desk: Desk) -> None:
    ids = await desk.send_many(6)
    unseen, seen, read, archived, snoozed, gone = ids
    await desk.mark(Mark.SEEN, ByIds((seen,)))
    await desk.mark(Mark.READ, ByIds((read,)))
    await desk.mark(Mark.ARCHIVED, ByIds((archived,)))
    await desk.mark(Mark.SNOOZED, ByIds((snoozed,)), snooze_until=START + HOUR)
    await desk.cancel(gone)
    await desk.revise(unseen)
    views = {
        EntryView.INBOX: [unseen, read, seen],
        EntryView.UNREAD: [unseen, seen],
        EntryView.UNSEEN: [unseen],
        EntryView.ARCHIVED: [archived],
        EntryView.SNOOZED: [snoozed],
        EntryView.ALL: [unseen, gone, snoozed, archived, read, seen],
    }
    assert {view: [entry.id for entry in await desk.entries(view=view)] for view in EntryView} == views


async def test_pages_of_entries_meet(desk: Desk, store: Store) -> None:
    ids = await desk.send_many(7)
    await desk.mark(Mark.READ, ByIds(tuple(ids[::2])))
    filter = EntryFilter(tuple(map(int, STATUSES_OF_VIEW[EntryView.INBOX])))
    found: list[bytes] = []
    before: int | None = None
    for size in (3, 3, 1):
        page = await store.readers.entries("default", "ada", filter, before, 3)
        assert page.more is (size == 3)
        assert len(page.entries) == size
        found += [entry.id for entry in page.entries]
        before = page.entries[-1].content_revision
    assert found == ids[::-1]


async def test_entries_are_filtered_by_category_and_thread(desk: Desk, store: Store) -> None:
    made = {
        (category, thread): (await desk.send(category=category, thread=thread)).notification_id
        for category in ("a", "b", "c")
        for thread in ("", "t", "u")
    }
    statuses = tuple(map(int, STATUSES_OF_VIEW[EntryView.INBOX]))

    async def listed(categories: tuple[str, ...], thread: str) -> set[bytes]:
        page = await store.readers.entries(
            "default", "ada", EntryFilter(statuses, categories, thread), None, 99
        )
        return {entry.id for entry in page.entries}

    assert await listed((), "") == set(made.values())
    assert await listed(("a", "c"), "") == {id for (category, _), id in made.items() if category != "b"}
    assert await listed((), "t") == {id for (_, thread), id in made.items() if thread == "t"}
    assert await listed(("b",), "u") == {made["b", "u"]}


async def test_an_inbox_that_does_not_exist(store: Store) -> None:
    page = await store.readers.entries("default", "nobody", EntryFilter((0,)), None, 9)
    assert (page.entries, page.inbox, page.more) == ([], None, False)


# --- notifications ----------------------------------------------------------------------------------------------------


async def test_notifications_are_filtered_and_paged_by_falling_id(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    made: list[tuple[bytes, int, str, str]] = []
    for number in range(12):
        clock.time = START + number
        name, category = ("ada", "bob")[number % 2], ("x", "y", "z")[number % 3]
        id = (await desk.send(name, category=category)).notification_id
        made.append((id, clock.time, name, category))
    await desk.cancel(made[4][0], made[7][0])
    made.reverse()

    async def listed(**filters: object) -> list[bytes]:
        found: list[bytes] = []
        before: bytes | None = None
        while page := await store.readers.notifications("default", NotificationFilter(**filters), before, 5):  # type: ignore[arg-type]
            assert len(page) <= 5
            found += [entry.id for entry in page]
            before = found[-1]
        return found

    assert await listed() == [id for id, *_ in made]
    assert await listed(recipient="ada") == [id for id, _, name, _ in made if name == "ada"]
    assert await listed(recipient="ada", category="x") == [
        id for id, _, name, category in made if (name, category) == ("ada", "x")
    ]
    assert await listed(states=(NotificationState.RETRACTED,)) == [made[4][0], made[7][0]]
    # To the microsecond: from the start, and before the end.
    assert await listed(start_time=START + 3, end_time=START + 8) == [
        id for id, time, *_ in made if START + 3 <= time < START + 8
    ]
