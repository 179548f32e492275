"""From the contract's messages to what the oracle records, and the inboxes that it judges by."""

import sys

import grpc

from tests.support.calls import ask
from tests.support.oracle import Ack, Counts, Entry, Inbox
from tocsin.v1 import inbox_service_pb2 as inbox_pb
from tocsin.v1 import notification_pb2 as notification_pb
from tocsin.v1 import notification_service_pb2 as sending_pb
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub

# The attribute that carries the request id of a notification, so that whoever receives it can say which one it was.
REQUEST_ID = "request_id"
PAGE_SIZE = 20


def entry_of(notification: notification_pb.Notification) -> Entry:
    """An entry as it was received or listed."""
    state = notification.state
    flags = ("seen", "read", "archived", "retracted", "expired", "interacted")
    held = {flag for flag in flags if getattr(state, flag)}
    if state.HasField("snoozed_until"):
        held.add("snoozed")
    return Entry(
        recipient=notification.recipient,
        revision=notification.revision,
        id=notification.id,
        state=frozenset(held),
        request_id=notification.attributes.get(REQUEST_ID, ""),
    )


def counts_of(summary: inbox_pb.Summary) -> Counts:
    """Counts as they were received."""
    return Counts(summary.unread, summary.unseen, summary.total)


def ack_of(result: sending_pb.SendResult) -> Ack:
    """The answer to one notification."""
    return Ack(
        notification_id=result.notification_id,
        disposition=notification_pb.Disposition.Name(result.disposition).removeprefix("DISPOSITION_"),
        cursor=result.cursor,
        reasons=tuple(decision.text for decision in result.decisions),
    )


async def read_inbox(
    channel: grpc.aio.Channel,
    recipient: str,
    *,
    history: bool = False,
    pruned: bool = False,
) -> Inbox:
    """An inbox, all pages of it, and its counts from everywhere.

    `history`: ask also which entry took which revision, at one call an entry. `pruned`: retention may have removed the
    beginning.
    """
    stub = InboxServiceStub(channel)
    entries: list[Entry] = []
    counts = {}
    request = inbox_pb.ListEntriesRequest(
        recipient=recipient, view=inbox_pb.ENTRY_VIEW_ALL, page_size=PAGE_SIZE
    )
    while True:
        try:
            page = await ask(stub.ListEntries, request)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return Inbox(recipient, ())
            raise
        entries += map(entry_of, page.entries)
        if not request.page_token:
            counts["ListEntries"] = counts_of(page.summary)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    summaries = await ask(stub.GetSummary, inbox_pb.GetSummaryRequest(recipients=[recipient]))
    counts["GetSummary"] = counts_of(summaries.summaries[0].summary)
    lowest = min((entry.revision for entry in entries), default=sys.maxsize)
    return Inbox(
        recipient,
        entries=tuple(entries),
        floor=lowest - 1 if pruned else 0,
        counts=counts,
        history=await read_history(channel, entries) if history else {},
    )


async def read_history(channel: grpc.aio.Channel, entries: list[Entry]) -> dict[int, str]:
    """Which entry took which revision, by the entries' timelines."""
    stub = NotificationServiceStub(channel)
    taken: dict[int, str] = {}
    for entry in entries:
        request = sending_pb.GetNotificationRequest(notification_id=entry.id)
        reply = await ask(stub.GetNotification, request)
        for revision in {event.revision for event in reply.timeline if event.revision}:
            other = taken.setdefault(revision, entry.id)
            assert other == entry.id, f"revision {revision} was taken by {other} and by {entry.id}"
    return taken
