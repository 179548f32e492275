"""NotificationService but for sending: requests, and answers that embed notifications already encoded."""

from collections.abc import Callable

from tocsin.v1 import notification_pb2
from tocsin.v1 import notification_service_pb2 as pb
from tocsin_server.domain.commands import Answer, CancelReceipt
from tocsin_server.domain.entry import NotificationFilter, StoredEntry
from tocsin_server.domain.ids import format_id, parse_id
from tocsin_server.domain.notification import NotificationState
from tocsin_server.rpc.convert.deliveries import delivery_message
from tocsin_server.rpc.convert.notification import timeline_messages
from tocsin_server.rpc.convert.times import micros, timestamp
from tocsin_server.service.notifications import NotificationDetails, PositionResult
from tocsin_server.service.paging import Page

Encode = Callable[[StoredEntry], bytes]
"""A Notification, with or without what its reader may see."""


def filter_from(request: pb.ListNotificationsRequest) -> NotificationFilter:
    """Which notifications are to be listed."""
    return NotificationFilter(
        request.recipient,
        request.category,
        tuple(map(NotificationState, request.states)),
        micros(request.start_time) if request.HasField("start_time") else None,
        micros(request.end_time) if request.HasField("end_time") else None,
    )


def details_message(details: NotificationDetails, encode: Encode) -> pb.GetNotificationResponse:
    """A notification and its timeline."""
    status = status_message(details.entry, encode)
    return pb.GetNotificationResponse(
        notification=status.notification,
        state=status.state,
        deliver_time=status.deliver_time if status.HasField("deliver_time") else None,
        timeline=timeline_messages(details.timeline),
        deliveries=map(delivery_message, details.deliveries),
    )


def page_message(page: Page[StoredEntry], encode: Encode) -> pb.ListNotificationsResponse:
    """A page of notifications."""
    return pb.ListNotificationsResponse(
        notifications=(status_message(entry, encode) for entry in page.items),
        next_page_token=page.next_page_token,
    )


def status_message(entry: StoredEntry, encode: Encode) -> pb.NotificationStatus:
    """A notification and where it stands."""
    waits = entry.state == NotificationState.SCHEDULED
    return pb.NotificationStatus(
        notification=notification_pb2.Notification.FromString(encode(entry)),
        state=notification_pb2.NotificationState.ValueType(entry.state),
        deliver_time=timestamp(entry.deliver_time) if waits else None,
    )


def cancel_message(answer: Answer[CancelReceipt]) -> pb.CancelNotificationsResponse:
    """What became of each notification."""
    return pb.CancelNotificationsResponse(
        results=(
            pb.CancelResult(notification_id=format_id(id), outcome=pb.CancelOutcome.ValueType(outcome))
            for id, outcome in answer.receipt.results
        ),
        replayed=answer.replayed,
    )


def ids_from(message: notification_pb2.NotificationIds) -> tuple[bytes, ...]:
    """Checked ids."""
    return tuple(map(parse_id, message.ids))


def revise_message(result: PositionResult) -> pb.ReviseNotificationResponse:
    """Where the inbox stands after a revision."""
    return pb.ReviseNotificationResponse(cursor=result.cursor, replayed=result.replayed)
