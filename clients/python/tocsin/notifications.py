"""What became of what was sent, and changing it."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from tocsin.ids import new_request_id
from tocsin.specs import ContentLike, content_of
from tocsin.transport import Transport
from tocsin.v1.notification_pb2 import NotificationIds, NotificationState
from tocsin.v1.notification_service_pb2 import (
    CancelNotificationsRequest,
    CancelResult,
    GetNotificationRequest,
    GetNotificationResponse,
    ListNotificationsRequest,
    ListNotificationsResponse,
    NotificationStatus,
    ReviseNotificationRequest,
    ReviseNotificationResponse,
    ThreadSelection,
)
from tocsin.values import NotificationStateName, enum_value, timestamp

__all__ = ("Notifications",)


class Notifications:
    """`client.notifications`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.notifications

    async def get(self, notification_id: str) -> GetNotificationResponse:
        """A notification, where it stands, its timeline, and its deliveries on other channels than the inbox."""
        request = GetNotificationRequest(notification_id=notification_id)
        return await self._transport.call(self._stub.GetNotification, request)

    def all(
        self,
        *,
        recipient: str = "",
        category: str = "",
        states: Iterable[NotificationStateName | NotificationState.ValueType] = (),
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        page_size: int = 0,
    ) -> AsyncIterator[NotificationStatus]:
        """All notifications of the tenant that match every filter, newest first.

        Args:
            recipient: only this recipient's; empty: everyone's.
            category: only of this category; empty: any.
            states: only in one of these; empty: any.
            start_time: only accepted at or after this instant, with a time zone.
            end_time: only accepted before this instant, with a time zone.
            page_size: how many a call fetches; 0: the server's default of 50.
        """
        request = ListNotificationsRequest(
            recipient=recipient,
            category=category,
            states=[enum_value(NotificationState, state) for state in states],
            start_time=None if start_time is None else timestamp(start_time),
            end_time=None if end_time is None else timestamp(end_time),
            page_size=page_size,
        )

        async def fetch(token: str) -> ListNotificationsResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListNotifications, request)

        return self._transport.items(fetch, lambda page: iter(page.notifications))

    async def cancel(
        self, notification_ids: Iterable[str], *, request_id: str | None = None
    ) -> list[CancelResult]:
        """Drop what is still pending of up to 1,000 notifications, and retract what is in inboxes.

        Returns what was done with each, in their order.
        """
        request = CancelNotificationsRequest(
            request_id=request_id or new_request_id(), notifications=NotificationIds(ids=notification_ids)
        )
        return list((await self._transport.call(self._stub.CancelNotifications, request)).results)

    async def cancel_thread(
        self, recipient: str, thread: str, *, request_id: str | None = None
    ) -> list[CancelResult]:
        """The same for all of a recipient's thread that is not final yet, the latest 1,000; newest first."""
        request = CancelNotificationsRequest(
            request_id=request_id or new_request_id(),
            thread=ThreadSelection(recipient=recipient, thread=thread),
        )
        return list((await self._transport.call(self._stub.CancelNotifications, request)).results)

    async def revise(
        self,
        notification_id: str,
        content: ContentLike,
        *,
        renotify: bool = False,
        request_id: str | None = None,
    ) -> ReviseNotificationResponse:
        """Replace the content of a stored or scheduled notification.

        Args:
            notification_id: which.
            content: the new content.
            renotify: make the entry unseen and unread again.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = ReviseNotificationRequest(
            request_id=request_id or new_request_id(),
            notification_id=notification_id,
            content=content_of(content),
            renotify=renotify,
        )
        return await self._transport.call(self._stub.ReviseNotification, request)
