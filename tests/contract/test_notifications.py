"""What became of what was sent: reading, listing, cancelling, revising."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.contract.conftest import Refusal, Tocsin, reason, refused, titles
from tests.support.waiting import eventually
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as service
from tocsin_server.domain.time import HOUR, SECOND
from tocsin_server.rpc.convert.times import micros, timestamp

UNKNOWN = "0199a5ed-4f7c-7c76-8c1e-db5fe6a021bf"
LATER = Duration(seconds=3600)


async def got(tocsin: Tocsin, id: str) -> service.GetNotificationResponse:
    return await tocsin.notifications.GetNotification(service.GetNotificationRequest(notification_id=id))


async def listed(tocsin: Tocsin, **fields: Any) -> service.ListNotificationsResponse:
    return await tocsin.notifications.ListNotifications(service.ListNotificationsRequest(**fields))


async def shown(tocsin: Tocsin, **fields: Any) -> list[str]:
    return titles([status.notification for status in (await listed(tocsin, **fields)).notifications])


async def cancel(
    tocsin: Tocsin, request_id: str = "", **selection: Any
) -> service.CancelNotificationsResponse:
    return await tocsin.notifications.CancelNotifications(
        service.CancelNotificationsRequest(request_id=request_id, **selection)
    )


def ids(*ids: str) -> dict[str, Any]:
    return {"notifications": pb.NotificationIds(ids=ids)}


async def revise(tocsin: Tocsin, id: str, title: str, **fields: Any) -> service.ReviseNotificationResponse:
    content = pb.Content(simple=pb.SimpleContent(title=title))
    return await tocsin.notifications.ReviseNotification(
        service.ReviseNotificationRequest(notification_id=id, content=content, **fields)
    )


# --- reading ----------------------------------------------------------------------------------------------------------


async def test_a_notification_is_shown_with_what_happened_to_it(tocsin: Tocsin) -> None:
    approve = pb.Action(id="approve", label="Approve", post_back="yes")
    why = pb.Input(name="why", kind=pb.INPUT_KIND_TEXT)
    content = pb.Content(interactive=pb.InteractiveContent(title="Approve?", actions=[approve], inputs=[why]))
    sent = await tocsin.send(content=content)
    selection = pb.NotificationIds(ids=[sent.notification_id])
    await tocsin.mark(inbox.MARK_SEEN, notifications=selection)
    await tocsin.inbox.RecordInteraction(
        inbox.RecordInteractionRequest(
            recipient="ada",
            notification_id=sent.notification_id,
            kind=inbox.INTERACTION_KIND_CLICKED,
            action_id="approve",
            inputs={"why": "because"},
        )
    )
    found = await got(tocsin, sent.notification_id)
    assert found.state == pb.NOTIFICATION_STATE_STORED
    assert not found.HasField("deliver_time")
    assert found.notification.content.interactive == content.interactive
    assert found.notification.state.read
    assert found.notification.state.interacted
    assert [event.kind for event in found.timeline] == [
        service.TIMELINE_EVENT_KIND_STORED,
        service.TIMELINE_EVENT_KIND_SEEN,
        service.TIMELINE_EVENT_KIND_CLICKED,
    ]
    clicked = found.timeline[-1]
    assert (clicked.action_id, dict(clicked.inputs)) == ("approve", {"why": "because"})
    revisions = [event.revision for event in found.timeline]
    assert revisions == sorted(revisions)
    assert revisions[-1] == found.notification.revision


async def test_what_waits_says_until_when(tocsin: Tocsin) -> None:
    sent = await tocsin.send(deliver_delay=LATER)
    found = await got(tocsin, sent.notification_id)
    assert found.state == pb.NOTIFICATION_STATE_SCHEDULED
    assert found.notification.revision == 0
    assert abs(micros(found.deliver_time) - tocsin.clock.now() - HOUR) < 10 * SECOND
    assert [event.kind for event in found.timeline] == [service.TIMELINE_EVENT_KIND_SCHEDULED]


async def test_what_does_not_exist_is_not_found(tocsin: Tocsin) -> None:
    refusal = await refused(got(tocsin, UNKNOWN))
    assert refusal == Refusal("NOT_FOUND", "NOTIFICATION_NOT_FOUND", {"notification_id": UNKNOWN}, [])


async def test_notifications_are_listed_newest_first(tocsin: Tocsin) -> None:
    for n in range(5):
        await tocsin.send(f"user-{n}", str(n))
    first = await listed(tocsin, page_size=2)
    second = await listed(tocsin, page_size=2, page_token=first.next_page_token)
    third = await listed(tocsin, page_size=2, page_token=second.next_page_token)
    pages = [
        titles([status.notification for status in page.notifications]) for page in (first, second, third)
    ]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]
    assert third.next_page_token == ""


async def test_filters_are_joined(tocsin: Tocsin) -> None:
    await tocsin.send("ada", "1", category="orders")
    middle = tocsin.clock.now()
    await tocsin.send("ada", "2", category="billing")
    await tocsin.send("bob", "3", category="orders")
    await tocsin.send("ada", "4", category="orders", deliver_delay=LATER)
    assert await shown(tocsin, recipient="ada") == ["4", "2", "1"]
    assert await shown(tocsin, category="orders") == ["4", "3", "1"]
    assert await shown(tocsin, recipient="ada", category="orders") == ["4", "1"]
    assert await shown(tocsin, states=[pb.NOTIFICATION_STATE_SCHEDULED]) == ["4"]
    assert await shown(tocsin, start_time=timestamp(middle)) == ["4", "3", "2"]
    assert await shown(tocsin, end_time=timestamp(middle)) == ["1"]
    assert await shown(tocsin, recipient="nobody") == []


async def test_a_page_token_belongs_to_its_filters(tocsin: Tocsin) -> None:
    await tocsin.send()
    await tocsin.send()
    token = (await listed(tocsin, page_size=1)).next_page_token
    assert (
        await reason(listed(tocsin, page_size=1, page_token=token, recipient="ada")) == "PAGE_TOKEN_INVALID"
    )
    assert await reason(tocsin.entries(page_token=token)) == "PAGE_TOKEN_INVALID"
    assert await reason(listed(tocsin, page_token="x" * 17)) == "PAGE_TOKEN_INVALID"
    # The size may change from page to page.
    assert len((await listed(tocsin, page_size=5, page_token=token)).notifications) == 1


# --- cancelling -------------------------------------------------------------------------------------------------------


async def test_cancelling_says_what_could_still_be_done(tocsin: Tocsin) -> None:
    stored = (await tocsin.send(title="stored")).notification_id
    waits = (await tocsin.send(title="waits", deliver_delay=LATER)).notification_id
    past = timestamp(tocsin.clock.now() - HOUR)
    final = (await tocsin.send(title="final", expire_time=past)).notification_id
    response = await cancel(tocsin, "c1", **ids(stored, waits, final, UNKNOWN))
    assert [(result.notification_id, result.outcome) for result in response.results] == [
        (stored, service.CANCEL_OUTCOME_RETRACTED),
        (waits, service.CANCEL_OUTCOME_CANCELLED),
        (final, service.CANCEL_OUTCOME_ALREADY_FINAL),
        (UNKNOWN, service.CANCEL_OUTCOME_NOT_FOUND),
    ]
    again = await cancel(tocsin, "c1", **ids(stored, waits, final, UNKNOWN))
    assert again.replayed
    assert list(again.results) == list(response.results)
    anew = await cancel(tocsin, "c2", **ids(stored))
    assert anew.results[0].outcome == service.CANCEL_OUTCOME_ALREADY_FINAL


async def test_what_is_retracted_leaves_the_inbox(tocsin: Tocsin) -> None:
    id = (await tocsin.send()).notification_id
    await cancel(tocsin, **ids(id))
    page = await tocsin.entries()
    assert not page.entries
    assert page.summary == inbox.Summary()
    (entry,) = (await tocsin.entries(view=inbox.ENTRY_VIEW_ALL)).entries
    assert entry.state.retracted
    assert entry.state.HasField("retracted_time")
    assert entry.revision == 2
    assert not entry.HasField("content")
    assert (await got(tocsin, id)).state == pb.NOTIFICATION_STATE_RETRACTED


async def test_what_is_cancelled_never_comes(tocsin: Tocsin) -> None:
    id = (await tocsin.send(deliver_delay=LATER)).notification_id
    await cancel(tocsin, **ids(id))
    await tocsin.send(title="marker", deliver_delay=LATER)
    tocsin.turn_clock(2 * HOUR)
    assert await eventually(tocsin.titles, "the marker") == ["marker"]
    assert (await got(tocsin, id)).state == pb.NOTIFICATION_STATE_CANCELLED


async def test_a_thread_is_cancelled_as_a_whole(tocsin: Tocsin) -> None:
    for title in ("1", "2"):
        await tocsin.send(title=title, thread="x")
    await tocsin.send(title="waits", thread="x", deliver_delay=LATER)
    await tocsin.send(title="other", thread="y")
    await tocsin.send("bob", "bob's", thread="x")
    response = await cancel(tocsin, thread=service.ThreadSelection(recipient="ada", thread="x"))
    assert [result.outcome for result in response.results] == [
        service.CANCEL_OUTCOME_CANCELLED,
        service.CANCEL_OUTCOME_RETRACTED,
        service.CANCEL_OUTCOME_RETRACTED,
    ]
    assert await tocsin.titles() == ["other"]
    assert await tocsin.titles("bob") == ["bob's"]


async def test_a_selection_is_needed(tocsin: Tocsin) -> None:
    assert (await refused(cancel(tocsin))).fields == ["selection"]
    assert (await refused(cancel(tocsin, **ids()))).fields == ["notifications.ids"]
    assert (await refused(cancel(tocsin, **ids(UNKNOWN, UNKNOWN)))).fields == ["notifications.ids"]


# --- revising ---------------------------------------------------------------------------------------------------------


async def test_a_revision_takes_the_place_of_the_content(tocsin: Tocsin) -> None:
    id = (await tocsin.send(title="old")).notification_id
    await tocsin.send(title="other")
    await tocsin.mark(inbox.MARK_READ, notifications=pb.NotificationIds(ids=[id]))
    response = await revise(tocsin, id, "new", request_id="v1")
    page = await tocsin.entries()
    # It counts as the newest content, and stays read.
    assert titles(page.entries) == ["new", "other"]
    assert page.entries[0].content.fallback_text == "new"
    assert page.entries[0].state.read
    assert page.summary == inbox.Summary(unread=1, unseen=1, total=2)
    assert response.cursor == page.cursor
    again = await revise(tocsin, id, "new", request_id="v1")
    assert again.replayed
    assert again.cursor == response.cursor


async def test_a_revision_may_ask_for_attention(tocsin: Tocsin) -> None:
    id = (await tocsin.send()).notification_id
    await tocsin.mark(inbox.MARK_READ, notifications=pb.NotificationIds(ids=[id]))
    await revise(tocsin, id, "new", renotify=True)
    page = await tocsin.entries()
    assert page.summary == inbox.Summary(unread=1, unseen=1, total=1)
    assert not page.entries[0].state.seen


async def test_what_waits_is_revised_before_it_comes(tocsin: Tocsin) -> None:
    id = (await tocsin.send(title="old", deliver_delay=LATER)).notification_id
    assert (await revise(tocsin, id, "new")).cursor == ""
    tocsin.turn_clock(2 * HOUR)
    assert await eventually(tocsin.titles, "the notification") == ["new"]


async def test_what_is_over_is_not_revised(tocsin: Tocsin) -> None:
    id = (await tocsin.send()).notification_id
    await cancel(tocsin, **ids(id))
    refusal = await refused(revise(tocsin, id, "new"))
    assert refusal == Refusal("FAILED_PRECONDITION", "NOTIFICATION_FINAL", {"state": "RETRACTED"}, [])
    assert await reason(revise(tocsin, UNKNOWN, "new")) == "NOTIFICATION_NOT_FOUND"


async def test_a_revision_keeps_the_rules_of_content(tocsin: Tocsin) -> None:
    id = (await tocsin.send()).notification_id
    assert (await refused(revise(tocsin, id, "x" * 257))).fields == ["content.simple.title"]


@pytest.mark.parametrize("call", [cancel, revise])
async def test_a_request_id_is_not_used_twice(tocsin: Tocsin, call: Any) -> None:
    first, second = [(await tocsin.send()).notification_id for _ in range(2)]

    async def done(id: str) -> object:
        return await (
            cancel(tocsin, "r", **ids(id)) if call is cancel else revise(tocsin, id, "n", request_id="r")
        )

    await done(first)
    assert await reason(done(second)) == "REQUEST_ID_REUSED"
