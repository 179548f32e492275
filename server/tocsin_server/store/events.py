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


_SELECT_ENTERED = Select(
    (Blob("n.id"), "n.create_time", "n.content_revision", Blob("b.decisions")),
    """FROM notifications AS n JOIN broadcast_classes AS b ON b.pk = n.broadcast_class_pk
    WHERE n.tenant = ? AND n.id {in_keys}""",
)

_decode_decisions = msgpack.Decoder(tuple[Decision, ...]).decode


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
    """The latest `limit` events of the notifications, oldest first.

    That an entry of a broadcast was stored, and why so, is said once for its class.
    """
    rows = connection.select_in(_SELECT, (tenant,), notification_ids, (limit,))
    events = [_event(*row) for row in sorted(rows, key=lambda row: row[-1])]
    if len(events) >= limit:
        return events
    revised = {each.notification_id for each in events if each.event.kind is EventKind.REVISED}
    entered = connection.select_in(_SELECT_ENTERED, (tenant,), notification_ids)
    return [_entered(*row, revised=row[0] in revised) for row in entered] + events


def _event(
    notification_id: bytes, kind: int, time: Micros, revision: int, detail: bytes | None, _pk: int
) -> TimelineEvent:
    event = Event(EventKind(kind), time, revision)
    if detail:
        event = Event(EventKind(kind), time, revision, *msgpack.decode(detail, type=_Detail))
    return TimelineEvent(notification_id, event)


def _entered(
    notification_id: bytes, time: int, content_revision: int, decisions: bytes, *, revised: bool
) -> TimelineEvent:
    # Once it is revised, the revision that it entered with is not known any more.
    revision = 0 if revised else content_revision
    return TimelineEvent(
        notification_id, Event(EventKind.STORED, time, revision, _decode_decisions(decisions))
    )
