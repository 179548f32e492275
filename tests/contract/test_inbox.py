"""The durable inbox: listing, counting, marking, interacting, acknowledging."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.contract.conftest import Refusal, Tocsin, reason, refused, titles
from tests.support.waiting import eventually
from tocsin.v1 import inbox_service_pb2 as pb
from tocsin.v1 import notification_pb2
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1.notification_pb2 import NotificationIds
from tocsin_server.domain.time import HOUR
from tocsin_server.rpc.convert.times import timestamp

UNKNOWN = "0199a5ed-4f7c-7c76-8c1e-db5fe6a021bf"


async def summaries(tocsin: Tocsin, *recipients: str, **fields: Any) -> list[pb.RecipientSummary]:
    response = await tocsin.inbox.GetSummary(pb.GetSummaryRequest(recipients=recipients, **fields))
    return list(response.summaries)


async def interact(
    tocsin: Tocsin, id: str, kind: pb.InteractionKind.ValueType, recipient: str = "ada", **fields: Any
) -> pb.RecordInteractionResponse:
    request = pb.RecordInteractionRequest(notification_id=id, recipient=recipient, kind=kind, **fields)
    return await tocsin.inbox.RecordInteraction(request)


async def acknowledge(tocsin: Tocsin, *positions: tuple[str, str]) -> list[pb.AcknowledgeResult]:
    request = pb.AcknowledgeRequest(
        consumer="phone",
        positions=[pb.Position(recipient=recipient, cursor=cursor) for recipient, cursor in positions],
    )
    return list((await tocsin.inbox.Acknowledge(request)).results)


# --- listing and counting ---------------------------------------------------------------------------------------------


async def test_pages_hang_together(tocsin: Tocsin) -> None:
    for n in range(5):
        await tocsin.send(title=str(n))
    first = await tocsin.entries(page_size=2)
    # What comes between two pages is in none of them.
    await tocsin.send(title="new")
    second = await tocsin.entries(page_size=2, page_token=first.next_page_token)
    third = await tocsin.entries(page_size=2, page_token=second.next_page_token)
    assert [titles(page.entries) for page in (first, second, third)] == [["4", "3"], ["2", "1"], ["0"]]
    assert first.cursor
    assert first.summary == pb.Summary(unread=5, unseen=5, total=5)
    for page in (second, third):
        assert page.cursor == ""
        assert not page.HasField("summary")


async def test_the_page_size_has_a_default_and_a_maximum(tocsin: Tocsin) -> None:
    items = [notifications.SendItem(notification=_spec(str(n))) for n in range(60)]
    await tocsin.notifications.SendBatch(notifications.SendBatchRequest(items=items))
    assert len((await tocsin.entries()).entries) == 50
    assert len((await tocsin.entries(page_size=1_000_000)).entries) == 60
    assert (await refused(tocsin.entries(page_size=-1))).fields == ["page_size"]


def _spec(title: str) -> notification_pb2.NotificationSpec:
    content = notification_pb2.Content(simple=notification_pb2.SimpleContent(title=title))
    return notification_pb2.NotificationSpec(recipient="ada", category="orders", content=content)


async def test_an_inbox_that_never_was_is_not_found(tocsin: Tocsin) -> None:
    refusal = await refused(tocsin.entries("nobody"))
    assert refusal == Refusal("NOT_FOUND", "RECIPIENT_NOT_FOUND", {"recipient": "nobody"}, [])


async def test_a_view_is_a_part_of_the_inbox(tocsin: Tocsin) -> None:
    for title in ("unseen", "seen", "read", "archived", "snoozed"):
        await tocsin.send(title=title, thread=title)
    retracted = await tocsin.send(title="retracted")
    soon = timestamp(tocsin.clock.now() + HOUR)
    await tocsin.mark(pb.MARK_SEEN, thread="seen")
    await tocsin.mark(pb.MARK_READ, thread="read")
    await tocsin.mark(pb.MARK_ARCHIVED, thread="archived")
    await tocsin.mark(pb.MARK_SNOOZED, thread="snoozed", snooze_until=soon)
    await tocsin.notifications.CancelNotifications(
        notifications.CancelNotificationsRequest(
            notifications=NotificationIds(ids=[retracted.notification_id])
        )
    )
    views = {
        pb.ENTRY_VIEW_UNSPECIFIED: ["read", "seen", "unseen"],
        pb.ENTRY_VIEW_INBOX: ["read", "seen", "unseen"],
        pb.ENTRY_VIEW_UNREAD: ["seen", "unseen"],
        pb.ENTRY_VIEW_UNSEEN: ["unseen"],
        pb.ENTRY_VIEW_ARCHIVED: ["archived"],
        pb.ENTRY_VIEW_SNOOZED: ["snoozed"],
        pb.ENTRY_VIEW_ALL: ["", "snoozed", "archived", "read", "seen", "unseen"],
    }
    assert {view: await tocsin.titles(view=view) for view in views} == views
    assert (await tocsin.entries()).summary == pb.Summary(unread=2, unseen=1, total=5)


async def test_categories_and_threads_narrow_a_list(tocsin: Tocsin) -> None:
    await tocsin.send(title="1", category="orders", thread="x")
    await tocsin.send(title="2", category="billing", thread="x")
    await tocsin.send(title="3", category="social")
    assert await tocsin.titles(categories=["orders", "billing"]) == ["2", "1"]
    assert await tocsin.titles(thread="x") == ["2", "1"]
    assert await tocsin.titles(categories=["billing"], thread="x") == ["2"]
    # Counts and cursor are the inbox's all the same.
    page = await tocsin.entries(categories=["social"])
    assert page.summary.total == 3
    assert page.cursor == (await tocsin.entries()).cursor


async def test_many_inboxes_are_counted_at_once(tocsin: Tocsin) -> None:
    await tocsin.send("ada")
    sent = await tocsin.send("ada")
    await tocsin.send("bob")
    await tocsin.mark(pb.MARK_READ, "bob", up_to_cursor=(await tocsin.entries("bob")).cursor)
    ada, nobody, bob = await summaries(tocsin, "ada", "nobody", "bob", max_staleness=Duration(seconds=5))
    assert ada == pb.RecipientSummary(
        recipient="ada", summary=pb.Summary(unread=2, unseen=2, total=2), cursor=sent.cursor
    )
    assert nobody == pb.RecipientSummary(recipient="nobody", summary=pb.Summary())
    assert bob.summary == pb.Summary(total=1)


# --- marking ----------------------------------------------------------------------------------------------------------

MARKS = [
    # mark, then the flags and counts of an entry that was unseen, and of one that was read
    (pb.MARK_SEEN, {"seen"}, (1, 0, 1), {"seen", "read"}, (0, 0, 1)),
    (pb.MARK_READ, {"seen", "read"}, (0, 0, 1), {"seen", "read"}, (0, 0, 1)),
    (pb.MARK_UNREAD, set(), (1, 1, 1), {"seen"}, (1, 0, 1)),
    (pb.MARK_ARCHIVED, {"archived"}, (0, 0, 1), {"seen", "read", "archived"}, (0, 0, 1)),
    (pb.MARK_UNARCHIVED, set(), (1, 1, 1), {"seen", "read"}, (0, 0, 1)),
    (pb.MARK_SNOOZED, {"snoozed"}, (0, 0, 1), {"seen", "read", "snoozed"}, (0, 0, 1)),
    (pb.MARK_UNSNOOZED, set(), (1, 1, 1), {"seen", "read"}, (0, 0, 1)),
]


def flags(state: notification_pb2.EntryState) -> set[str]:
    """The flags that are set; each has its time."""
    found = {field.name for field, _ in state.ListFields()}
    flags = {"seen", "read", "archived"} & found
    assert {f"{flag}_time" for flag in flags} == {"seen_time", "read_time", "archived_time"} & found
    return flags | ({"snoozed"} if "snoozed_until" in found else set())


@pytest.mark.parametrize(("mark", "of_unseen", "unseen_counts", "of_read", "read_counts"), MARKS)
async def test_a_mark_does_what_it_says(
    tocsin: Tocsin,
    mark: int,
    of_unseen: set[str],
    unseen_counts: tuple[int, int, int],
    of_read: set[str],
    read_counts: tuple[int, int, int],
) -> None:
    until = {"snooze_until": timestamp(tocsin.clock.now() + HOUR)} if mark == pb.MARK_SNOOZED else {}
    for recipient, first, expected, counts in (
        ("unseen", None, of_unseen, unseen_counts),
        ("read", pb.MARK_READ, of_read, read_counts),
    ):
        await tocsin.send(recipient, thread="x")
        if first:
            await tocsin.mark(first, recipient, thread="x")
        response = await tocsin.mark(mark, recipient, thread="x", **until)
        page = await tocsin.entries(recipient, view=pb.ENTRY_VIEW_ALL)
        assert flags(page.entries[0].state) == expected
        unread, unseen, total = counts
        assert response.summary == pb.Summary(unread=unread, unseen=unseen, total=total)
        assert response.summary == page.summary
        assert response.cursor == page.cursor
        # The same again changes nothing, unless it is how long to sleep.
        anew = await tocsin.mark(mark, recipient, thread="x", **until)
        assert anew.changed_count == 0
        assert anew.cursor == page.cursor


async def test_marking_by_ids_leaves_out_what_is_not_there(tocsin: Tocsin) -> None:
    ours = (await tocsin.send()).notification_id
    theirs = (await tocsin.send("bob")).notification_id
    selection = NotificationIds(ids=[ours, theirs, UNKNOWN])
    assert (await tocsin.mark(pb.MARK_READ, notifications=selection)).changed_count == 1
    assert (await summaries(tocsin, "bob"))[0].summary.unread == 1


async def test_everything_up_to_what_was_on_the_screen(tocsin: Tocsin) -> None:
    await tocsin.send(title="1")
    await tocsin.send(title="2", thread="x")
    on_screen = (await tocsin.entries()).cursor
    await tocsin.send(title="3")
    # A mark is no new content: it stays within what was on the screen.
    await tocsin.mark(pb.MARK_SEEN, thread="x")
    response = await tocsin.mark(pb.MARK_READ, up_to_cursor=on_screen)
    assert response.changed_count == 2
    assert await tocsin.titles(view=pb.ENTRY_VIEW_UNREAD) == ["3"]


async def test_what_was_revised_since_stays_unread(tocsin: Tocsin) -> None:
    id = (await tocsin.send(title="old")).notification_id
    on_screen = (await tocsin.entries()).cursor
    await tocsin.notifications.ReviseNotification(
        notifications.ReviseNotificationRequest(notification_id=id, content=_spec("new").content)
    )
    assert (await tocsin.mark(pb.MARK_READ, up_to_cursor=on_screen)).changed_count == 0


async def test_more_than_a_transaction_holds_is_marked_too(tocsin: Tocsin) -> None:
    for _ in range(3):
        items = [notifications.SendItem(notification=_spec("t"))] * 900
        await tocsin.notifications.SendBatch(notifications.SendBatchRequest(items=items))
    cursor = (await tocsin.entries()).cursor
    response = await tocsin.mark(pb.MARK_READ, up_to_cursor=cursor, request_id="m")
    assert response.changed_count == 2_700
    assert response.summary == pb.Summary(total=2_700)
    again = await tocsin.mark(pb.MARK_READ, up_to_cursor=cursor, request_id="m")
    assert (again.replayed, again.changed_count) == (True, 2_700)


async def test_a_snoozed_entry_wakes_up(tocsin: Tocsin) -> None:
    await tocsin.send(title="later", thread="x")
    until = timestamp(tocsin.clock.now() + HOUR)
    await tocsin.mark(pb.MARK_SNOOZED, thread="x", snooze_until=until)
    assert await tocsin.titles() == []
    tocsin.turn_clock(HOUR)
    assert await eventually(tocsin.titles, "the entry") == ["later"]
    assert (await summaries(tocsin, "ada"))[0].summary == pb.Summary(unread=1, unseen=1, total=1)


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [("nonsense", "CURSOR_INVALID"), ("of another", "CURSOR_MISMATCH")],
)
async def test_a_cursor_must_be_the_inboxs_own(tocsin: Tocsin, cursor: str, expected: str) -> None:
    await tocsin.send("ada")
    other = (await tocsin.send("bob")).cursor
    given = other if cursor == "of another" else cursor
    assert await reason(tocsin.mark(pb.MARK_READ, up_to_cursor=given)) == expected


async def test_a_replayed_mark_is_one_mark(tocsin: Tocsin) -> None:
    await tocsin.send(thread="x")
    first = await tocsin.mark(pb.MARK_READ, thread="x", request_id="m")
    again = await tocsin.mark(pb.MARK_READ, thread="x", request_id="m")
    assert (first.changed_count, again.changed_count, again.replayed) == (1, 1, True)
    assert await reason(tocsin.mark(pb.MARK_UNREAD, thread="x", request_id="m")) == "REQUEST_ID_REUSED"


# --- interacting ------------------------------------------------------------------------------------------------------


async def interactive(tocsin: Tocsin) -> str:
    content = notification_pb2.Content(
        interactive=notification_pb2.InteractiveContent(
            title="Dinner?",
            actions=[notification_pb2.Action(id="yes", label="Yes", post_back="1")],
            inputs=[
                notification_pb2.Input(
                    name="size", kind=notification_pb2.INPUT_KIND_CHOICE, choices=["S", "M"], required=True
                ),
                notification_pb2.Input(name="stars", kind=notification_pb2.INPUT_KIND_RATING),
                notification_pb2.Input(name="day", kind=notification_pb2.INPUT_KIND_DATE),
            ],
        )
    )
    return (await tocsin.send(content=content)).notification_id


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (pb.INTERACTION_KIND_OPENED, {}, {"seen", "read"}),
        (pb.INTERACTION_KIND_CLICKED, {"action_id": "yes", "inputs": {"size": "M"}}, {"seen", "read"}),
        (pb.INTERACTION_KIND_DISMISSED, {}, {"seen"}),
        (pb.INTERACTION_KIND_CONVERTED, {}, set()),
    ],
)
async def test_an_interaction_marks_the_entry(
    tocsin: Tocsin, kind: pb.InteractionKind.ValueType, fields: dict[str, Any], expected: set[str]
) -> None:
    id = await interactive(tocsin)
    response = await interact(tocsin, id, kind, request_id="i", **fields)
    page = await tocsin.entries()
    assert response.cursor == page.cursor
    assert flags(page.entries[0].state) == expected
    assert page.entries[0].state.interacted
    assert page.entries[0].state.HasField("interacted_time")
    assert (await interact(tocsin, id, kind, request_id="i", **fields)).replayed


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"action_id": "no", "inputs": {"size": "M"}}, "ACTION_NOT_FOUND"),
        ({"inputs": {"size": "M"}}, "ACTION_NOT_FOUND"),
        ({"action_id": "yes"}, "INVALID_FIELD"),
        ({"action_id": "yes", "inputs": {"size": "XL"}}, "INVALID_FIELD"),
        ({"action_id": "yes", "inputs": {"size": "M", "colour": "red"}}, "INVALID_FIELD"),
        ({"action_id": "yes", "inputs": {"size": "M", "stars": "6"}}, "INVALID_FIELD"),
        ({"action_id": "yes", "inputs": {"size": "M", "day": "tomorrow"}}, "INVALID_FIELD"),
    ],
)
async def test_a_click_must_fit_the_content(tocsin: Tocsin, fields: dict[str, Any], expected: str) -> None:
    id = await interactive(tocsin)
    assert await reason(interact(tocsin, id, pb.INTERACTION_KIND_CLICKED, **fields)) == expected


async def test_only_what_is_there_can_be_interacted_with(tocsin: Tocsin) -> None:
    id = await interactive(tocsin)
    assert await reason(interact(tocsin, UNKNOWN, pb.INTERACTION_KIND_OPENED)) == "NOTIFICATION_NOT_FOUND"
    by_other = interact(tocsin, id, pb.INTERACTION_KIND_OPENED, recipient="bob")
    assert await reason(by_other) == "NOTIFICATION_NOT_FOUND"
    await tocsin.notifications.CancelNotifications(
        notifications.CancelNotificationsRequest(notifications=NotificationIds(ids=[id]))
    )
    assert await reason(interact(tocsin, id, pb.INTERACTION_KIND_OPENED)) == "NOTIFICATION_FINAL"


# --- acknowledging ----------------------------------------------------------------------------------------------------


async def test_positions_are_answered_one_by_one_and_the_highest_wins(tocsin: Tocsin) -> None:
    first = (await tocsin.send("ada")).cursor
    second = (await tocsin.send("ada")).cursor
    bob = (await tocsin.send("bob")).cursor
    results = await acknowledge(tocsin, ("ada", second), ("bob", "nonsense"), ("bob", first), ("bob", bob))
    assert [result.recipient for result in results] == ["ada", "bob", "bob", "bob"]
    assert [result.HasField("error") for result in results] == [False, True, True, False]
    assert results[0].cursor == second
    assert [Refusal.of(result.error).reason for result in results[1:3]] == [
        "CURSOR_INVALID",
        "CURSOR_MISMATCH",
    ]
    assert (await acknowledge(tocsin, ("ada", first)))[0].cursor == second
