"""Events: every step of a notification's life but live pushes."""

from collections.abc import Sequence
from sqlite3 import Connection

from msgspec import json, msgpack

from tocsin_server.domain.entry import TimelineEvent
from tocsin_server.domain.notification import Decision, Event, EventKind
from tocsin_server.domain.time import Micros

INSERT_EVENTS = "INSERT INTO events (tenant, notification_id, kind, time, revision, detail)"

_SELECT = """
    SELECT json_group_array(json_array(hex(notification_id), kind, time, revision, hex(detail))) FROM (
        SELECT * FROM events WHERE tenant = ? AND notification_id IN ({places}) ORDER BY pk DESC LIMIT ?)"""

_IDS_PER_QUERY = 1_000

_Detail = tuple[tuple[Decision, ...], str, dict[str, str]]
"""The parts of an event that few have: decisions, action id, inputs."""


def event_row(
    tenant: str, notification_id: bytes, event: Event
) -> tuple[str, bytes, int, Micros, int, bytes | None]:
    """An event as a row of INSERT_EVENTS."""
    detail = None
    if event.decisions or event.action_id or event.inputs:
        detail = msgpack.encode((event.decisions, event.action_id, event.inputs))
    return tenant, notification_id, int(event.kind), event.time, event.revision, detail


def read_events(
    connection: Connection, tenant: str, notification_ids: Sequence[bytes], limit: int = -1
) -> list[TimelineEvent]:
    """The latest `limit` events of the notifications, oldest first; -1: all of them."""
    found: list[TimelineEvent] = []
    for start in range(0, len(notification_ids), _IDS_PER_QUERY):
        chunk = notification_ids[start : start + _IDS_PER_QUERY]
        query = _SELECT.format(places=", ".join("?" * len(chunk)))
        (text,) = connection.execute(query, (tenant, *chunk, limit)).fetchone()
        found += [_event(*row) for row in reversed(json.decode(text))]
    return found


def _event(notification_id: str, kind: int, time: Micros, revision: int, detail: str) -> TimelineEvent:
    event = Event(EventKind(kind), time, revision)
    if detail:
        event = Event(EventKind(kind), time, revision, *msgpack.decode(bytes.fromhex(detail), type=_Detail))
    return TimelineEvent(bytes.fromhex(notification_id), event)
