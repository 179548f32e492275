"""Broadcasts as rows: created, stopped, pruned, and what is read of them."""

from collections.abc import Sequence
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.audience import Audience, FilterAudience, TopicAudience
from tocsin_server.domain.broadcast import MAX_UNFINISHED, Broadcast, BroadcastState, Progress
from tocsin_server.domain.commands import (
    CreateBroadcast,
    FinishBroadcast,
    PruneBroadcasts,
    ReplanBroadcast,
    RestBroadcast,
    SweepReceipt,
)
from tocsin_server.domain.errors import (
    BroadcastFinal,
    BroadcastNotFound,
    QuotaExceeded,
    TocsinError,
    TopicNotFound,
)
from tocsin_server.domain.ids import format_id, lowest_id_at
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.store.sql import Blob, Insert, Select
from tocsin_server.store.topics import held_topic
from tocsin_server.store.transaction import Transaction

COLUMNS = (
    "pk",
    "tenant",
    Blob("id"),
    Blob("audience"),
    Blob("spec"),
    "state",
    Blob("progress"),
    "create_time",
    "start_time",
    "finish_time",
    "failure",
    "topic_id",
    "filter",
    "position",
    "retention",
)

_LOCKED = Select(COLUMNS, "FROM broadcasts WHERE tenant = ? AND id {in_keys}", locking="FOR UPDATE")

_COUNT_UNFINISHED = "SELECT count(*) FROM broadcasts WHERE tenant = ? AND finish_time IS NULL"

_INSERT = Insert(
    "broadcasts",
    (
        "tenant",
        "id",
        "audience",
        "topic_id",
        "filter",
        "spec",
        "content",
        "trace",
        "state",
        "progress",
        "position",
        "create_time",
        "start_time",
        "wake_time",
        "failure",
    ),
)

_FINISH = "UPDATE broadcasts SET state = ?, finish_time = ?, wake_time = ?, failure = ? WHERE pk = ?"

_REST = "UPDATE broadcasts SET wake_time = NULL WHERE tenant = ? AND id = ?"

_REPLAN = "UPDATE broadcast_classes SET valid_until = 0 WHERE tenant = ? AND broadcast_pk = ? AND current = 1"

_PRUNABLE = """
    SELECT pk, tenant, start_time, finish_time FROM broadcasts
    WHERE finish_time < ? ORDER BY finish_time LIMIT 100"""

_HAS_ENTRIES = """
    SELECT 1 FROM notifications WHERE tenant = :tenant AND id BETWEEN :first AND :last
    AND broadcast_class_pk IN (SELECT pk FROM broadcast_classes WHERE tenant = :tenant AND broadcast_pk = :pk)
    LIMIT 1"""

_PRUNE = (
    "DELETE FROM broadcast_classes WHERE tenant = :tenant AND broadcast_pk = :pk RETURNING content_id",
    "DELETE FROM broadcast_exceptions WHERE broadcast_pk = :pk",
    "DELETE FROM broadcasts WHERE pk = :pk",
)

_decode_audience = msgpack.Decoder(Audience).decode
_decode_spec = msgpack.Decoder(NotificationSpec).decode
_decode_progress = msgpack.Decoder(Progress).decode


class BroadcastRow(Broadcast, frozen=True, kw_only=True):
    """A broadcast with what only its being carried out needs."""

    pk: int
    topic_id: int | None
    filter: str | None
    position: str
    """The last recipient that had its turn."""
    retention: Micros | None
    """How long its category keeps entries."""


def broadcast_row(row: Sequence[Any]) -> BroadcastRow:
    """A row of COLUMNS as a value."""
    pk, tenant, id, audience, spec, state, progress, *times, topic_id, filter, position, retention = row
    create_time, start_time, finish_time, failure = times
    return BroadcastRow(
        id,
        tenant,
        _decode_audience(audience),
        _decode_spec(spec),
        BroadcastState(state),
        _decode_progress(progress),
        create_time,
        start_time,
        finish_time,
        failure,
        pk=pk,
        topic_id=topic_id,
        filter=filter,
        position=position,
        retention=retention,
    )


def plain(row: BroadcastRow) -> Broadcast:
    """What others see of it."""
    return Broadcast(
        row.id,
        row.tenant,
        row.audience,
        row.spec,
        row.state,
        row.progress,
        row.create_time,
        row.start_time,
        row.finish_time,
        row.failure,
    )


def locked_broadcast(transaction: Transaction, tenant: str, id: bytes) -> BroadcastRow | None:
    """A broadcast that nobody else changes before the transaction ends."""
    rows = transaction.connection.select_in(_LOCKED, (tenant,), (id,))
    return broadcast_row(rows[0]) if rows else None


def wake_after(row: BroadcastRow, now: Micros) -> Micros | None:
    """When the entries of a broadcast that has finished now expire; None: by their retention, one by one."""
    keep_until = None if row.retention is None else now + row.retention
    times = [time for time in (row.spec.expire_time, keep_until) if time is not None]
    return min(times, default=None)


def create_broadcasts(
    transaction: Transaction, commands: Sequence[CreateBroadcast]
) -> list[Broadcast | TocsinError]:
    """Creates each."""
    return [_create(transaction, command) for command in commands]


def finish_broadcasts(
    transaction: Transaction, commands: Sequence[FinishBroadcast]
) -> list[Broadcast | TocsinError]:
    """Stops each."""
    return [_finish(transaction, command) for command in commands]


def replan_broadcasts(transaction: Transaction, commands: Sequence[ReplanBroadcast]) -> list[None]:
    """Has each plan its classes anew."""
    for command in commands:
        row = locked_broadcast(transaction, command.tenant, command.id)
        if row is not None:
            transaction.connection.execute(_REPLAN, (row.tenant, row.pk))
    return [None] * len(commands)


def rest_broadcasts(transaction: Transaction, commands: Sequence[RestBroadcast]) -> list[None]:
    """Lets each rest."""
    for command in commands:
        transaction.connection.execute(_REST, (command.tenant, command.id))
    return [None] * len(commands)


def prune_broadcasts(transaction: Transaction, commands: Sequence[PruneBroadcasts]) -> list[SweepReceipt]:
    """Removes a broadcast for each command."""
    return [_prune(transaction, command) for command in commands]


def _create(transaction: Transaction, command: CreateBroadcast) -> Broadcast | TocsinError:
    connection, tenant, now = transaction.connection, command.tenant, transaction.now
    topic_id = filter = None
    match command.audience:
        case TopicAudience(topic):
            topic_id = held_topic(connection, tenant, topic)
            if topic_id is None:
                return TopicNotFound(topic=topic)
        case FilterAudience(text):
            filter = text
    (unfinished,) = connection.execute(_COUNT_UNFINISHED, (tenant,)).fetchone()
    if unfinished >= MAX_UNFINISHED:
        return QuotaExceeded(quota="unfinished_broadcasts", limit=MAX_UNFINISHED)
    broadcast = Broadcast(
        command.id,
        tenant,
        command.audience,
        command.spec,
        BroadcastState.PENDING,
        Progress(),
        now,
        max(command.start_time or now, now),
    )
    row = (
        tenant,
        command.id,
        msgpack.encode(command.audience),
        topic_id,
        filter,
        msgpack.encode(command.spec),
        command.content,
        command.trace,
        int(broadcast.state),
        msgpack.encode(broadcast.progress),
        "",
        now,
        broadcast.start_time,
        broadcast.start_time,
        "",
    )
    connection.insert(_INSERT, [row])
    transaction.broadcasts_changed = True
    return broadcast


def _finish(transaction: Transaction, command: FinishBroadcast) -> Broadcast | TocsinError:
    row = locked_broadcast(transaction, command.tenant, command.id)
    if row is None:
        return BroadcastNotFound(broadcast_id=format_id(command.id))
    if row.state.final:
        return BroadcastFinal(state=row.state.name)
    now = transaction.now
    values = (int(command.state), now, wake_after(row, now), command.failure, row.pk)
    transaction.connection.execute(_FINISH, values)
    transaction.broadcasts_changed = True
    return Broadcast(
        *(row.id, row.tenant, row.audience, row.spec, command.state, row.progress),
        *(row.create_time, row.start_time, now, command.failure),
    )


def _prune(transaction: Transaction, command: PruneBroadcasts) -> SweepReceipt:
    connection = transaction.connection
    for pk, tenant, start_time, finish_time in connection.execute(_PRUNABLE, (command.cutoff,)).fetchall():
        entries = {
            "tenant": tenant,
            "pk": pk,
            "first": lowest_id_at(start_time),
            "last": lowest_id_at(finish_time + SECOND),
        }
        if connection.execute(_HAS_ENTRIES, entries).fetchone():
            continue
        place = {"tenant": tenant, "pk": pk}
        contents = connection.execute(_PRUNE[0], place).fetchall()
        connection.rows_in(
            "DELETE FROM contents WHERE id {in_keys}", (), sorted({id for (id,) in contents if id})
        )
        for statement in _PRUNE[1:]:
            connection.execute(statement, place)
        return SweepReceipt(1, more=True)
    return SweepReceipt(0)
