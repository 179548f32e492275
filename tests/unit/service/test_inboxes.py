"""What recipients, and those who act for them, do with an inbox."""

import pytest

from tests.support.contents import sent
from tests.support.desk import CODEC, Desk
from tests.support.stores import START, TurnedClock
from tests.support.streams import ANYONE, Exchange
from tocsin_server.domain.access import Principal
from tocsin_server.domain.commands import ByIds, ByThread, RenewIncarnation, ShownContent, StoreNotification
from tocsin_server.domain.content import Action, Content, Input, InputKind, InteractiveContent, SimpleContent
from tocsin_server.domain.errors import (
    ActionNotFound,
    CursorExpired,
    CursorInvalid,
    CursorMismatch,
    IncarnationChanged,
    InvalidFields,
    NotificationFinal,
    NotificationNotFound,
    PageTokenInvalid,
    RecipientNotAllowed,
    RecipientNotFound,
    RequestIdReused,
    TocsinError,
)
from tocsin_server.domain.inbox import Counts, EntryView, InteractionKind, Mark
from tocsin_server.domain.time import HOUR, MINUTE
from tocsin_server.domain.value import replace
from tocsin_server.service.inboxes import Inboxes, MarkResult, UpToCursor, check_click
from tocsin_server.service.notifications import PositionResult
from tocsin_server.service.paging import PageTokens

FORM = InteractiveContent(
    "Approve?",
    actions=(Action("approve", "Approve", post_back="y"), Action("deny", "Deny", post_back="n")),
    inputs=(
        Input("size", "Size", InputKind.CHOICE, ("S", "M"), required=True),
        Input("stars", "Stars", InputKind.RATING),
        Input("why", "Why", InputKind.TEXT),
    ),
)
NOBODY_ELSE = Principal("default", "key", ANYONE.scopes, recipients=("ada",))


class Reader:
    """A recipient's side, by one who may do everything or is `by` somebody."""

    def __init__(self, streams: Exchange) -> None:
        store = streams.store
        self.inboxes = Inboxes(
            store.writer,
            store.readers,
            store.readers,
            CODEC,
            streams.cursors,
            PageTokens(store.facts.cursor_key),
        )

    async def mark(
        self,
        mark: Mark,
        selection: ByIds | ByThread | UpToCursor,
        *,
        id: str = "",
        until: int | None = None,
        recipient: str = "ada",
        by: Principal = ANYONE,
    ) -> MarkResult:
        return await self.inboxes.mark(by, id, recipient, mark, selection, until)

    async def click(
        self, notification: bytes, action: str, *, id: str = "", recipient: str = "ada", **inputs: str
    ) -> PositionResult:
        return await self.inboxes.interact(
            ANYONE, id, recipient, notification, InteractionKind.CLICKED, action, inputs
        )

    async def list(
        self, size: int, token: str = "", view: EntryView = EntryView.ALL, **filters: str
    ) -> object:
        thread, categories = filters.get("thread", ""), tuple(filters.get("categories", "").split())
        return await self.inboxes.entries(ANYONE, "ada", view, categories, thread, size, token)


@pytest.fixture
def reader(streams: Exchange) -> Reader:
    return Reader(streams)


def form(desk: Desk) -> StoreNotification:
    """The command that sends it."""
    return replace(desk.sending(), shown=ShownContent(sent(Content(FORM)).shown))


# --- listing and counting ---------------------------------------------------------------------------------------------


async def test_all_pages_and_then_the_stream_are_the_full_state(
    reader: Reader, streams: Exchange, desk: Desk
) -> None:
    ids = await desk.send_many(5)
    first = await reader.inboxes.entries(ANYONE, "ada", EntryView.ALL, (), "", 2, "")
    # Between the pages one that was listed and one that was not are changed, and one comes.
    await desk.mark(Mark.READ, ByIds((ids[4],)))
    await desk.revise(ids[0], "Anew")
    new = (await desk.send()).notification_id
    known = {entry.id: entry.revision for entry in first.entries}
    token = first.next_page_token
    while token:
        page = await reader.inboxes.entries(ANYONE, "ada", EntryView.ALL, (), "", 2, token)
        assert (page.cursor, page.counts) == ("", None)
        known |= {entry.id: entry.revision for entry in page.entries}
        token = page.next_page_token
    assert first.counts == Counts(5, 5, 5)
    assert first.cursor == await streams.token(5)
    assert new not in known
    follower = await streams.live(("ada", first.cursor))
    await follower.has(6, 7, 8)
    for event in follower.events:
        if event.HasField("notification"):
            known[bytes.fromhex(event.notification.id.replace("-", ""))] = event.notification.revision
    assert known == {entry.id: entry.revision for entry in await desk.entries()}


async def test_pages_are_filtered(reader: Reader, desk: Desk) -> None:
    for number in range(6):
        await desk.send(category=("a", "b")[number % 2], thread=("t", "")[number % 3 > 0])
    first = await reader.inboxes.entries(ANYONE, "ada", EntryView.INBOX, ("a",), "", 2, "")
    assert [entry.content_revision for entry in first.entries] == [5, 3]
    second = await reader.inboxes.entries(
        ANYONE, "ada", EntryView.INBOX, ("a",), "", 2, first.next_page_token
    )
    assert ([entry.content_revision for entry in second.entries], second.next_page_token) == ([1], "")
    threads = await reader.inboxes.entries(ANYONE, "ada", EntryView.INBOX, (), "t", 9, "")
    assert [entry.content_revision for entry in threads.entries] == [4, 1]
    with pytest.raises(PageTokenInvalid):
        await reader.inboxes.entries(ANYONE, "ada", EntryView.INBOX, ("b",), "", 2, first.next_page_token)


async def test_an_unknown_recipient(reader: Reader) -> None:
    with pytest.raises(RecipientNotFound):
        await reader.inboxes.entries(ANYONE, "nobody", EntryView.ALL, (), "", 0, "")


async def test_summaries_come_in_the_order_asked_for(reader: Reader, streams: Exchange, desk: Desk) -> None:
    for name, count in (("ada", 2), ("bob", 1)):
        await desk.send_many(count, name)
    found = await reader.inboxes.summaries(ANYONE, ("bob", "nobody", "ada"), 0)
    assert [(each.recipient, each.counts.unread) for each in found] == [("bob", 1), ("nobody", 0), ("ada", 2)]
    assert (found[0].cursor, found[2].cursor) == (await streams.token(1, "bob"), await streams.token(2))
    with pytest.raises(RecipientNotAllowed):
        await reader.inboxes.summaries(NOBODY_ELSE, ("ada", "bob"), 0)


# --- marks ------------------------------------------------------------------------------------------------------------


async def test_a_mark_up_to_a_cursor_spares_what_is_newer(
    reader: Reader, streams: Exchange, desk: Desk
) -> None:
    ids = await desk.send_many(3)
    cursor = await streams.token(3)
    await desk.revise(ids[0])
    await desk.send()
    marked = await reader.mark(Mark.READ, UpToCursor(cursor))
    assert (marked.changed_count, marked.counts, marked.replayed) == (2, Counts(2, 2, 4), False)
    assert marked.cursor == await streams.token(7)
    assert [entry.content_revision for entry in await desk.entries(view=EntryView.UNREAD)] == [5, 4]


async def test_a_cursor_of_a_filtered_stream_will_do(reader: Reader, streams: Exchange, desk: Desk) -> None:
    await desk.send_many(2)
    follower = await streams.live("ada", categories=("orders",))
    await follower.until(lambda f: f.cursors, "a cursor")
    assert (await reader.mark(Mark.SEEN, UpToCursor(follower.cursors["ada"]))).changed_count == 2


async def test_a_mark_in_chunks_is_one_mark(reader: Reader, streams: Exchange, desk: Desk) -> None:
    await desk.send_many(2_300)
    cursor = await streams.token(2_300)
    marked = await reader.mark(Mark.READ, UpToCursor(cursor), id="r")
    assert (marked.changed_count, marked.counts) == (2_300, Counts(0, 0, 2_300))
    again = await reader.mark(Mark.READ, UpToCursor(cursor), id="r")
    assert again == MarkResult(2_300, marked.cursor, marked.counts, replayed=True)
    snoozed = await reader.mark(Mark.SNOOZED, UpToCursor(cursor), until=START + HOUR)
    assert snoozed.changed_count == 2_300


@pytest.mark.parametrize("trouble", ["erased", "expired"])
async def test_a_repeat_is_answered_though_its_cursor_is_no_good_any_more(
    reader: Reader, streams: Exchange, desk: Desk, turned_clock: TurnedClock, trouble: str
) -> None:
    """The first answer was lost, and its caller asks again; a new request would be refused."""
    ids = await desk.send_many(3)
    selection = UpToCursor(await streams.token(2))
    first = await reader.mark(Mark.READ, selection, id="r")
    if trouble == "erased":
        # As after a restore: the inbox is another one, and request ids are what they were.
        inbox = await desk.inbox()
        await desk.submit(
            RenewIncarnation(tenant="default", recipient="ada", incarnation=inbox.incarnation, revision=99)
        )
    else:
        await desk.cancel(*ids)
        await desk.prune(turned_clock.time + 1)
    again = await reader.mark(Mark.READ, selection, id="r")
    assert again == MarkResult(first.changed_count, first.cursor, first.counts, replayed=True)
    with pytest.raises(IncarnationChanged if trouble == "erased" else CursorExpired):
        await reader.mark(Mark.READ, selection, id="another")


async def test_what_failed_is_not_remembered(reader: Reader, desk: Desk) -> None:
    with pytest.raises(RecipientNotFound):
        await reader.mark(Mark.READ, ByThread("t"), id="r")
    await desk.send(thread="t")
    marked = await reader.mark(Mark.READ, ByThread("t"), id="r")
    assert (marked.changed_count, marked.replayed) == (1, False)
    with pytest.raises(RequestIdReused):
        await reader.mark(Mark.SEEN, ByThread("t"), id="r")


async def test_cursors_that_are_no_good(reader: Reader, streams: Exchange, desk: Desk) -> None:
    await desk.send("bob")
    await desk.send()
    for cursor, error in (("nonsense", CursorInvalid), (await streams.token(1, "bob"), CursorMismatch)):
        with pytest.raises(error):
            await reader.mark(Mark.READ, UpToCursor(cursor))
    with pytest.raises(RecipientNotAllowed):
        await reader.mark(Mark.READ, ByThread("t"), recipient="bob", by=NOBODY_ELSE)


# --- interactions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "inputs", "broken"),
    [
        ("approve", {"size": "S"}, []),
        ("approve", {"size": "S", "stars": "5", "why": ""}, []),  # empty is as good as absent
        ("deny", {"size": "XL"}, ["inputs[size]"]),
        ("deny", {}, ["inputs[size]"]),  # required, whatever the action
        ("approve", {"size": "S", "stars": "6"}, ["inputs[stars]"]),
        ("approve", {"size": "S", "stars": "٣"}, ["inputs[stars]"]),
        ("approve", {"colour": "red", "size": ""}, ["inputs[colour]", "inputs[size]"]),  # all of them
    ],
)
def test_what_a_click_must_bring(action: str, inputs: dict[str, str], broken: list[str]) -> None:
    if not broken:
        check_click(Content(FORM), action, inputs)
        return
    with pytest.raises(InvalidFields) as refused:
        check_click(Content(FORM), action, inputs)
    assert [violation.field for violation in refused.value.violations] == broken


def test_what_offers_nothing_cannot_be_clicked() -> None:
    with pytest.raises(ActionNotFound):
        check_click(Content(SimpleContent("Hello")), "approve", {})
    with pytest.raises(ActionNotFound) as refused:
        check_click(Content(FORM), "other", {"size": "S"})
    assert refused.value.metadata == {"action_id": "other"}


async def test_a_click_is_recorded(reader: Reader, streams: Exchange, desk: Desk) -> None:
    id = (await desk.submit(form(desk))).notification_id
    clicked = await reader.click(id, "approve", size="M")
    assert clicked == PositionResult(await streams.token(2), replayed=False)
    event = (await streams.store.readers.timeline("default", id, 9))[-1]
    assert (event.kind.name, event.action_id, event.inputs) == ("CLICKED", "approve", {"size": "M"})
    assert (await desk.check_counts()).counts == Counts(0, 0, 1)


async def test_a_bad_click_changes_nothing(reader: Reader, desk: Desk) -> None:
    id = (await desk.submit(form(desk))).notification_id
    with pytest.raises(ActionNotFound):
        await reader.click(id, "other", id="r")
    with pytest.raises(InvalidFields):
        await reader.click(id, "approve", size="XL")
    with pytest.raises(NotificationNotFound):
        await reader.click(bytes(16), "approve")
    with pytest.raises(NotificationNotFound):
        await reader.click(id, "approve", recipient="bob", size="M")
    assert (await desk.inbox()).revision == 1
    # What was refused is not remembered.
    assert not (await reader.click(id, "approve", id="r", size="M")).replayed


@pytest.mark.parametrize("after", ["revised", "retracted", "expired"])
async def test_a_click_repeated_after_its_consequences_is_answered(
    reader: Reader, desk: Desk, turned_clock: TurnedClock, after: str
) -> None:
    """The sender hears of the click and takes the buttons away, or all of it; then the recipient's repeat comes."""
    command = form(desk)
    drafted = replace(command.draft, expire_time=START + MINUTE)
    id = (await desk.submit(replace(command, draft=drafted))).notification_id
    first = await reader.click(id, "approve", id="r", size="M")
    match after:
        case "revised":
            await desk.revise(id, "Approved by you")
        case "retracted":
            await desk.cancel(id)
        case _:
            turned_clock.time += MINUTE
    again = await reader.click(id, "approve", id="r", size="M")
    assert again == PositionResult(first.cursor, replayed=True)
    with pytest.raises(RequestIdReused):
        await reader.click(id, "deny", id="r", size="M")
    with pytest.raises(ActionNotFound if after == "revised" else NotificationFinal):
        await reader.click(id, "approve", id="new", size="M")


# --- acknowledging ----------------------------------------------------------------------------------------------------


async def test_positions_are_acknowledged_each_on_its_own(
    reader: Reader, streams: Exchange, desk: Desk
) -> None:
    for name in ("ada", "bob"):
        await desk.send_many(3, name)
    old = await streams.token(3, "bob")
    await desk.erase("bob")
    await desk.send_many(3, "bob")
    positions = [
        ("ada", await streams.token(2)),
        ("bob", old),
        ("bob", "nonsense"),
        ("bob", await streams.token(1)),
        ("bob", await streams.token(1, "bob")),
        ("ada", await streams.token(1)),
    ]
    results = await reader.inboxes.acknowledge(ANYONE, "app", positions)
    assert [(each.recipient, type(each.error)) for each in results] == [
        ("ada", type(None)),
        ("bob", IncarnationChanged),
        ("bob", CursorInvalid),
        ("bob", CursorMismatch),
        ("bob", type(None)),
        ("ada", type(None)),
    ]
    assert [each.cursor for each in results] == [
        await streams.token(2), "", "", "", await streams.token(1, "bob"), await streams.token(2),
    ]  # fmt: skip
    (refused,) = await reader.inboxes.acknowledge(NOBODY_ELSE, "app", [("bob", old)])
    assert isinstance(refused.error, RecipientNotAllowed)


async def test_nothing_good_is_answered_all_the_same(reader: Reader) -> None:
    (result,) = await reader.inboxes.acknowledge(ANYONE, "app", [("ada", "nonsense")])
    assert isinstance(result.error, TocsinError)
