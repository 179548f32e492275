"""InboxService: positions, marks, summaries, and pages of entries that are encoded already."""

from collections.abc import Callable, Iterable

from tocsin.v1 import inbox_service_pb2 as pb
from tocsin_server.domain.commands import ByIds, ByThread
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.inbox import Counts, EntryView
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.rpc.convert.notifications import ids_from
from tocsin_server.rpc.convert.times import micros
from tocsin_server.rpc.errors import error_status
from tocsin_server.rpc.wire import delimited, tag
from tocsin_server.service.inboxes import (
    AcknowledgeResult,
    EntriesResult,
    MarkResult,
    RecipientSummary,
    UpToCursor,
)
from tocsin_server.service.notifications import PositionResult
from tocsin_server.service.placing import Start
from tocsin_server.service.session import SessionOptions

_DEFAULT_HEARTBEAT_INTERVAL = 30 * SECOND


def options_from(
    message: pb.SubscribeRequest | pb.AttachStart, *, max_in_flight: int, max_recipients: int
) -> SessionOptions:
    """How a session is to be."""
    return SessionOptions(
        consumer=message.consumer,
        start=Start(message.start or pb.START_NOW),
        categories=tuple(message.categories),
        heartbeat_interval=_heartbeat_interval(message),
        max_in_flight=max_in_flight,
        max_recipients=max_recipients,
    )


def _heartbeat_interval(message: pb.SubscribeRequest | pb.AttachStart) -> Micros:
    given = message.HasField("heartbeat_interval")
    return micros(message.heartbeat_interval) if given else _DEFAULT_HEARTBEAT_INTERVAL


def positions_from(messages: Iterable[pb.Position]) -> list[tuple[str, str]]:
    """Recipients and cursors, empty where there is none."""
    return [(message.recipient, message.cursor) for message in messages]


def view_from(view: pb.EntryView.ValueType) -> EntryView:
    """Which entries; INBOX when it is not said."""
    return EntryView(view or pb.ENTRY_VIEW_INBOX)


def selection_from(message: pb.MarkEntriesRequest) -> ByIds | ByThread | UpToCursor:
    """Which entries are to be marked."""
    match message.WhichOneof("selection"):
        case "notifications":
            return ByIds(ids_from(message.notifications))
        case "thread":
            return ByThread(message.thread)
        case _:
            return UpToCursor(message.up_to_cursor)


class EntryPages:
    """Encodes pages of entries by joining what is encoded."""

    def __init__(self) -> None:
        self._entries = tag(pb.ListEntriesResponse.DESCRIPTOR, "entries")

    def encode(self, result: EntriesResult, encode: Callable[[StoredEntry], bytes]) -> bytes:
        """A ListEntriesResponse."""
        entries = b"".join([delimited(self._entries, encode(entry)) for entry in result.entries])
        rest = pb.ListEntriesResponse(
            next_page_token=result.next_page_token,
            cursor=result.cursor,
            summary=None if result.counts is None else summary_message(result.counts),
        )
        return entries + rest.SerializeToString()


def summary_message(counts: Counts) -> pb.Summary:
    """Counts of an inbox."""
    return pb.Summary(unread=counts.unread, unseen=counts.unseen, total=counts.total)


def summaries_message(summaries: Iterable[RecipientSummary]) -> pb.GetSummaryResponse:
    """Counts of several inboxes."""
    return pb.GetSummaryResponse(
        summaries=(
            pb.RecipientSummary(
                recipient=summary.recipient, summary=summary_message(summary.counts), cursor=summary.cursor
            )
            for summary in summaries
        )
    )


def mark_message(result: MarkResult) -> pb.MarkEntriesResponse:
    """What a mark did."""
    return pb.MarkEntriesResponse(
        changed_count=result.changed_count,
        cursor=result.cursor,
        summary=summary_message(result.counts),
        replayed=result.replayed,
    )


def interaction_message(result: PositionResult) -> pb.RecordInteractionResponse:
    """Where the inbox stands after an interaction."""
    return pb.RecordInteractionResponse(cursor=result.cursor, replayed=result.replayed)


def acknowledge_message(results: Iterable[AcknowledgeResult]) -> pb.AcknowledgeResponse:
    """What became of each position."""
    return pb.AcknowledgeResponse(
        results=(
            pb.AcknowledgeResult(
                recipient=result.recipient,
                cursor=result.cursor,
                error=None if result.error is None else error_status(result.error),
            )
            for result in results
        )
    )
