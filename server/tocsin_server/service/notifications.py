"""What became of what was sent: reading, cancelling and revising notifications."""

from dataclasses import dataclass

from tocsin_server.domain.access import Principal
from tocsin_server.domain.commands import (
    Answer,
    CancelNotifications,
    CancelReceipt,
    RequestSpace,
    ReviseNotification,
)
from tocsin_server.domain.delivery import Delivery
from tocsin_server.domain.entry import NotificationFilter, StoredEntry
from tocsin_server.domain.errors import MessageTooLarge, NotificationNotFound, TocsinError
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.notification import Event
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.paging import Page, PageTokens, effective_page_size, fitting
from tocsin_server.service.ports import Codec, DeliveryReader, NotificationReader, Writer
from tocsin_server.service.sending import SentContent
from tocsin_server.service.submitting import answered, request_key

TIMELINE_MAX_EVENTS = 1_000
MAX_DELIVERIES = 1_000


@dataclass(frozen=True, slots=True)
class NotificationDetails:
    """A notification and what happened to it, oldest first."""

    entry: StoredEntry
    timeline: list[Event]
    deliveries: list[Delivery]
    """In the order in which they were planned."""


@dataclass(frozen=True, slots=True)
class PositionResult:
    """Where the inbox stands after a change; the cursor is empty where there is no entry."""

    cursor: str
    replayed: bool


class Notifications:
    """Reads and changes notifications for their senders."""

    def __init__(
        self,
        writer: Writer,
        reader: NotificationReader,
        deliveries: DeliveryReader,
        codec: Codec,
        cursors: Cursors,
        page_tokens: PageTokens,
        max_content_bytes: int,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._deliveries = deliveries
        self._codec = codec
        self._cursors = cursors
        self._page_tokens = page_tokens
        self._max_content_bytes = max_content_bytes

    async def get(self, principal: Principal, id: bytes) -> NotificationDetails:
        """One notification, whatever its state. Raises NotificationNotFound."""
        entry = await self._visible(principal, id)
        # Before the timeline, which then tells of all that has become of them.
        deliveries = await self._deliveries.deliveries(principal.tenant, id, MAX_DELIVERIES)
        timeline = await self._reader.timeline(principal.tenant, id, TIMELINE_MAX_EVENTS)
        return NotificationDetails(entry, timeline, deliveries)

    async def list(
        self, principal: Principal, filter: NotificationFilter, page_size: int, page_token: str
    ) -> Page[StoredEntry]:
        """Newest first, without what the caller may not see. Raises PageTokenInvalid."""
        if filter.recipient:
            principal.require_recipient(filter.recipient)
        if filter.category:
            principal.require_category(filter.category)
        size = effective_page_size(page_size)
        asked = (principal.tenant, filter)
        position = self._page_tokens.open("notifications", asked, page_token)
        before = None if position is None else bytes.fromhex(position)
        found = await self._reader.notifications(principal.tenant, filter, before, size + 1)
        page = fitting(found[:size])
        token = (
            self._page_tokens.seal("notifications", asked, page[-1].id.hex())
            if len(found) > len(page)
            else ""
        )
        return Page([entry for entry in page if _may_see(principal, entry)], token)

    async def cancel(
        self,
        principal: Principal,
        request_id: str,
        ids: tuple[bytes, ...],
        recipient: str,
        thread: str,
        *,
        deadline: float | None = None,
    ) -> Answer[CancelReceipt]:
        """Cancels by ids, or the latest of one recipient's thread. What the caller may not see is not found."""
        if recipient:
            principal.require_recipient(recipient)
        if principal.recipients or principal.categories:
            for id in ids:
                await self._visible(principal, id)
        key = request_key(self._codec, RequestSpace.CANCEL, request_id, (ids, recipient, thread))
        command = CancelNotifications(
            tenant=principal.tenant, request=key, ids=ids, recipient=recipient, thread=thread
        )
        return await answered(self._writer, command, deadline)

    async def revise(
        self,
        principal: Principal,
        request_id: str,
        id: bytes,
        content: SentContent,
        renotify: bool,
        *,
        deadline: float | None = None,
    ) -> PositionResult:
        """Replaces the content in place. Raises NotificationNotFound, NotificationFinal."""
        if principal.recipients or principal.categories:
            await self._visible(principal, id)
        if len(content.shown) > self._max_content_bytes:
            raise MessageTooLarge("The content is larger than allowed.", limit=self._max_content_bytes)
        key = request_key(self._codec, RequestSpace.REVISE, request_id, (id, content.sent, renotify))
        command = ReviseNotification(
            tenant=principal.tenant, request=key, id=id, content=content.shown, renotify=renotify
        )
        answer = await answered(self._writer, command, deadline)
        recipient, position = answer.receipt.recipient, answer.receipt.position
        if position is None:
            return PositionResult("", answer.replayed)
        cursor = self._cursors.token(principal.tenant, recipient, position.incarnation, position.revision)
        return PositionResult(cursor, answer.replayed)

    async def _visible(self, principal: Principal, id: bytes) -> StoredEntry:
        """A notification that the caller may know of."""
        entry = await self._reader.notification(principal.tenant, id)
        if entry is None or not _may_see(principal, entry):
            raise NotificationNotFound(notification_id=format_id(id))
        return entry


def _may_see(principal: Principal, entry: StoredEntry) -> bool:
    try:
        principal.require_recipient(entry.recipient)
        principal.require_category(entry.category)
    except TocsinError:
        return False
    return True
