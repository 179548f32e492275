"""Short ways to say what a stream carries."""

from tocsin.v1.error_reason_pb2 import ErrorReason
from tocsin.v1.inbox_service_pb2 import (
    InboxEvent,
    Position,
    Progress,
    Reset,
    SubscribeResponse,
    Summary,
)
from tocsin.v1.notification_pb2 import Notification


def entry(recipient: str, revision: int, cursor: str = "") -> InboxEvent:
    notification = Notification(id=f"{recipient}-{revision}", recipient=recipient, revision=revision)
    return InboxEvent(recipient=recipient, cursor=cursor, notification=notification)


def summary(recipient: str, unread: int, cursor: str = "") -> InboxEvent:
    return InboxEvent(recipient=recipient, cursor=cursor, summary=Summary(unread=unread))


def reset(recipient: str, reason: str, cursor: str = "", oldest: str = "") -> InboxEvent:
    number = ErrorReason.Value(f"ERROR_REASON_{reason}")
    return InboxEvent(recipient=recipient, cursor=cursor, reset=Reset(reason=number, oldest_cursor=oldest))


def progress(**positions: str) -> Progress:
    return Progress(positions=[Position(recipient=key, cursor=cursor) for key, cursor in positions.items()])


def message(*events: InboxEvent, session_id: str = "", **positions: str) -> SubscribeResponse:
    """Events, and the progress after them."""
    return SubscribeResponse(session_id=session_id, events=events, progress=progress(**positions))
