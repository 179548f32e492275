"""Broadcasts as rows: created, planned, stopped, pruned, and what is read of them."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.audience import Audience, FilterAudience, TopicAudience
from tocsin_server.domain.broadcast import (
    MAX_UNFINISHED,
    Broadcast,
    BroadcastState,
    ClassMode,
    ClassPlan,
    Progress,
    settle_class,
)
from tocsin_server.domain.commands import (
    ClassDraft,
    CreateBroadcast,
    FinishBroadcast,
    PlanClasses,
    PruneBroadcasts,
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
from tocsin_server.domain.notification import Decision, NotificationSpec
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

LOCKED = Select(COLUMNS, "FROM broadcasts WHERE tenant = ? AND id {in_keys}", locking="FOR UPDATE")

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

_RETAIN = "UPDATE broadcasts SET retention = ? WHERE pk = ?"

_REST = "UPDATE broadcasts SET wake_time = NULL WHERE tenant = ? AND id = ?"

_CURRENT = Select(
    ("pk", "class_id", "mode", Blob("decisions"), Blob("content_digest", nullable=True), Blob("envelope")),
    "FROM broadcast_classes WHERE broadcast_pk = ? AND current = 1 AND class_id {in_keys}",
)

_CONTENTS = Select(
    (Blob("content_digest"), "content_id"),
    "FROM broadcast_classes WHERE tenant = ? AND broadcast_pk = ? AND content_digest {in_keys}",
)

_RENEW = "UPDATE broadcast_classes SET valid_until = ? WHERE pk = ?"

_REPLACE = "UPDATE broadcast_classes SET current = 0 WHERE pk {in_keys}"

_INSERT_CLASSES = Insert(
    "broadcast_classes",
    (
        "tenant",
        "broadcast_pk",
        "class_id",
        "current",
        "valid_until",
        "mode",
        "decisions",
        "category",
        "priority",
        "thread",
        "expire_time",
        "content_id",
        "content_digest",
        "envelope",
        "trace",
        "recipient_count",
    ),
)

_TRACE = "SELECT trace FROM broadcasts WHERE pk = ?"

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

_DIGEST_BYTES = 16

_decode_audience = msgpack.Decoder(Audience).decode
_decode_spec = msgpack.Decoder(NotificationSpec).decode
_decode_progress = msgpack.Decoder(Progress).decode
_decode_decisions = msgpack.Decoder(tuple[Decision, ...]).decode


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
    rows = transaction.connection.select_in(LOCKED, (tenant,), (id,))
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


def rest_broadcasts(transaction: Transaction, commands: Sequence[RestBroadcast]) -> list[None]:
    """Lets each rest."""
    for command in commands:
        transaction.connection.execute(_REST, (command.tenant, command.id))
    return [None] * len(commands)


def plan_classes(transaction: Transaction, commands: Sequence[PlanClasses]) -> list[BroadcastNotFound | None]:
    """Settles what was drafted, and writes what differs from what is written."""
    return [_plan(transaction, command) for command in commands]


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


def _plan(transaction: Transaction, command: PlanClasses) -> BroadcastNotFound | None:
    row = locked_broadcast(transaction, command.tenant, command.id)
    if row is None:
        return BroadcastNotFound(broadcast_id=format_id(command.id))
    connection = transaction.connection
    ids = [each.class_id for each in command.drafts]
    current = {
        class_id: (pk, mode, _decode_decisions(decisions), digest, envelope)
        for pk, class_id, mode, decisions, digest, envelope in connection.select_in(_CURRENT, (row.pk,), ids)
    }
    (trace,) = connection.execute(_TRACE, (row.pk,)).fetchone()
    contents = _Contents(transaction, row)
    replaced, added = [], []
    for each in command.drafts:
        planned = settle_class(each.draft, transaction.now, personal=each.personal)
        digest = contents.digest(each.content) if planned.mode is ClassMode.SHARED else None
        said = (int(planned.mode), planned.plan.decisions, digest, each.envelope)
        before = current.get(each.class_id)
        if before is not None and before[1:] == said:
            connection.execute(_RENEW, (planned.valid_until, before[0]))
            continue
        if before is not None:
            replaced.append(before[0])
        content_id = None if digest is None else contents.id(digest, each.content)
        added.append(_class_row(row, each, planned, content_id, digest, bytes(trace)))
        if each.draft.retention != row.retention:
            connection.execute(_RETAIN, (each.draft.retention, row.pk))
    connection.rows_in(_REPLACE, (), replaced)
    connection.insert(_INSERT_CLASSES, added)
    return None


def _class_row(
    row: BroadcastRow,
    each: ClassDraft,
    planned: ClassPlan,
    content_id: int | None,
    digest: bytes | None,
    trace: bytes,
) -> tuple[Any, ...]:
    draft = each.draft
    return (
        row.tenant,
        row.pk,
        each.class_id,
        1,
        planned.valid_until,
        int(planned.mode),
        msgpack.encode(planned.plan.decisions),
        draft.category,
        int(draft.priority),
        draft.thread,
        draft.expire_time,
        content_id,
        digest,
        each.envelope,
        trace,
        0,
    )


class _Contents:
    """The contents of a broadcast, each stored once however many classes show it."""

    def __init__(self, transaction: Transaction, row: BroadcastRow) -> None:
        self._transaction = transaction
        self._row = row
        self._ids: dict[bytes, int] = {}

    def digest(self, content: bytes) -> bytes:
        """What it is known by."""
        return blake2b(content, digest_size=_DIGEST_BYTES).digest()

    def id(self, digest: bytes, content: bytes) -> int:
        """The id of a content, which is stored if need be."""
        if digest not in self._ids:
            place = (self._row.tenant, self._row.pk)
            found = self._transaction.connection.select_in(_CONTENTS, place, (digest,))
            self._ids[digest] = found[0][1] if found else self._transaction.add_shared_content(content)
        return self._ids[digest]


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
