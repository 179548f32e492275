"""The inbox of a recipient: entries, counts, marks, interactions."""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.inbox_service_pb2 import (
    EntryView,
    GetSummaryRequest,
    InteractionKind,
    ListEntriesRequest,
    ListEntriesResponse,
    Mark,
    MarkEntriesRequest,
    MarkEntriesResponse,
    RecipientSummary,
    RecordInteractionRequest,
    RecordInteractionResponse,
    Summary,
)
from tocsin.v1.notification_pb2 import Notification, NotificationIds
from tocsin.values import (
    EntryViewName,
    InteractionName,
    MarkName,
    duration,
    enum_value,
    timestamp,
)

__all__ = ("EntryList", "Inbox")


class EntryList:
    """Entries of an inbox, newest content first, as an async iterator over all pages.

    The first page is there already, and with it what belongs to the same snapshot. All entries, then a subscription
    from `cursor`, is the full state of an inbox.

    Attributes:
        summary: the counts.
        cursor: the inbox's position, for a subscription to all categories.
    """

    def __init__(self, transport: Transport, request: ListEntriesRequest, first: ListEntriesResponse) -> None:
        self._transport = transport
        self._request = request
        self._first = first
        self.summary: Summary = first.summary
        self.cursor: str = first.cursor

    def __aiter__(self) -> AsyncIterator[Notification]:
        return self._transport.items(self._page, lambda page: iter(page.entries))

    async def _page(self, token: str) -> ListEntriesResponse:
        if not token:
            return self._first
        request = ListEntriesRequest(page_token=token)
        request.MergeFrom(self._request)
        return await self._transport.call(self._transport.stubs.inbox.ListEntries, request)


class Inbox:
    """`client.inbox`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.inbox

    async def entries(
        self,
        recipient: str,
        *,
        view: EntryViewName | EntryView.ValueType = "inbox",
        categories: Iterable[str] = (),
        thread: str = "",
        page_size: int = 0,
    ) -> EntryList:
        """The entries of an inbox: the first page at once, the others while iterating.

            entries = await client.inbox.entries("ada", view="unread")
            async for entry in entries: ...

        Args:
            recipient: the recipient's key.
            view: which entries.
            categories: only of these; empty: all.
            thread: only of this one; empty: all.
            page_size: how many a call fetches; 0: the server's default of 50.
        """
        request = ListEntriesRequest(
            recipient=recipient,
            view=enum_value(EntryView, view),
            categories=categories,
            thread=thread,
            page_size=page_size,
        )
        first = await self._transport.call(self._stub.ListEntries, request)
        return EntryList(self._transport, request, first)

    async def summary(self, recipient: str, *, max_staleness: float | timedelta = 0) -> RecipientSummary:
        """Counts and position of one inbox; all zero for an unknown recipient. See `summaries`."""
        (summary,) = await self.summaries([recipient], max_staleness=max_staleness)
        return summary

    async def summaries(
        self, recipients: Iterable[str], *, max_staleness: float | timedelta = 0
    ) -> list[RecipientSummary]:
        """Counts and positions of up to 1,000 inboxes, in their order.

        Args:
            recipients: their keys.
            max_staleness: how old the counts may be, in seconds if a number; 0: exact. A little is much cheaper.
        """
        request = GetSummaryRequest(recipients=recipients, max_staleness=duration(max_staleness))
        return list((await self._transport.call(self._stub.GetSummary, request)).summaries)

    async def mark(
        self,
        recipient: str,
        mark: MarkName | Mark.ValueType,
        *,
        ids: Iterable[str] | None = None,
        thread: str | None = None,
        up_to_cursor: str | None = None,
        snooze_until: datetime | None = None,
        request_id: str | None = None,
    ) -> MarkEntriesResponse:
        """Mark entries of an inbox: those with these ids, those of a thread, or those up to a cursor.

        Args:
            recipient: the recipient's key.
            mark: how.
            ids: up to 1,000 notification ids. One of the three, and only one, says which entries.
            thread: all of this thread.
            up_to_cursor: everything whose content is not newer than this cursor of the inbox.
            snooze_until: for "snoozed": until when, with a time zone.
            request_id: makes the call safe to repeat by the caller; made anew when absent.

        Raises:
            ValueError: not exactly one of ids, thread and up_to_cursor, or an instant without a zone.
        """
        if (ids is not None) + (thread is not None) + (up_to_cursor is not None) != 1:
            raise ValueError("give one of ids, thread and up_to_cursor")
        request = MarkEntriesRequest(
            request_id=request_id or new_request_id(),
            recipient=recipient,
            mark=enum_value(Mark, mark),
            snooze_until=None if snooze_until is None else timestamp(snooze_until),
        )
        if ids is not None:
            request.notifications.CopyFrom(NotificationIds(ids=ids))
        elif thread is not None:
            request.thread = thread
        elif up_to_cursor is not None:
            request.up_to_cursor = up_to_cursor
        return await self._transport.call(self._stub.MarkEntries, request)

    async def interact(
        self,
        recipient: str,
        notification_id: str,
        kind: InteractionName | InteractionKind.ValueType,
        *,
        action_id: str = "",
        inputs: Mapping[str, str] | None = None,
        request_id: str | None = None,
    ) -> RecordInteractionResponse:
        """Record what a recipient did with an entry.

        Args:
            recipient: the recipient's key.
            notification_id: the entry.
            kind: what was done.
            action_id: for "clicked": the action chosen.
            inputs: for "clicked": the values filled in, by the inputs' names.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = RecordInteractionRequest(
            request_id=request_id or new_request_id(),
            recipient=recipient,
            notification_id=notification_id,
            kind=enum_value(InteractionKind, kind),
            action_id=action_id,
            inputs=inputs,
        )
        return await self._transport.call(self._stub.RecordInteraction, request)
