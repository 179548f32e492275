"""Events: every step of a notification's life but live pushes."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import msgpack

from tocsin_server.domain.entry import TimelineEvent
from tocsin_server.domain.notification import Channel, Decision, Event, EventKind
from tocsin_server.domain.time import Micros
from tocsin_server.store.sql import NO_LIMIT, Blob, Connection, Insert, Select

INSERT_EVENTS = Insert("events", ("tenant", "notification_id", "kind", "time", "revision", "detail"))

_SELECT = Select(
    (Blob("notification_id"), "kind", "time", "revision", Blob("detail", nullable=True), "pk"),
    """FROM (
        SELECT * FROM events WHERE tenant = ? AND notification_id {in_keys} ORDER BY pk DESC LIMIT ?) AS latest""",
)


class _Detail(NamedTuple):
    """The parts of an event that few have. What an earlier version wrote has less of them."""

    decisions: tuple[Decision, ...]
    action_id: str
    inputs: dict[str, str]
    channel: Channel | None = None
    detail: str = ""


def event_row(
    tenant: str, notification_id: bytes, event: Event
) -> tuple[str, bytes, int, Micros, int, bytes | None]:
    """An event as a row of INSERT_EVENTS."""
    detail = None
    if event.decisions or event.action_id or event.inputs or event.channel:
        detail = msgpack.encode(
            _Detail(event.decisions, event.action_id, event.inputs, event.channel, event.detail)
        )
    return tenant, notification_id, int(event.kind), event.time, event.revision, detail


def read_events(
    connection: Connection, tenant: str, notification_ids: Sequence[bytes], limit: int = NO_LIMIT
) -> list[TimelineEvent]:
    """The latest `limit` events of the notifications, oldest first."""
    rows = connection.select_in(_SELECT, (tenant,), notification_ids, (limit,))
    return [_event(*row) for row in sorted(rows, key=lambda row: row[-1])]


def _event(
    notification_id: bytes, kind: int, time: Micros, revision: int, detail: bytes | None, _pk: int
) -> TimelineEvent:
    event = Event(EventKind(kind), time, revision)
    if detail:
        event = Event(EventKind(kind), time, revision, *msgpack.decode(detail, type=_Detail))
    return TimelineEvent(notification_id, event)
