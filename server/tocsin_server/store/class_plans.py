"""PlanClasses: what a broadcast is to the recipients of a class, decided once for all of them."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.broadcast import ClassMode, ClassPlan, settle_class
from tocsin_server.domain.commands import ClassDraft, PlanClasses
from tocsin_server.domain.errors import BroadcastNotFound
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.notification import Decision
from tocsin_server.store.broadcasts import BroadcastRow, locked_broadcast
from tocsin_server.store.sql import Blob, Insert, Select
from tocsin_server.store.transaction import Transaction

_DIGEST_BYTES = 16

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

_RETAIN = "UPDATE broadcasts SET retention = ? WHERE pk = ?"

_TRACE = "SELECT trace FROM broadcasts WHERE pk = ?"

_decode_decisions = msgpack.Decoder(tuple[Decision, ...]).decode


def plan_classes(transaction: Transaction, commands: Sequence[PlanClasses]) -> list[BroadcastNotFound | None]:
    """Settles what was drafted, and writes what differs from what is written."""
    return [_plan(transaction, command) for command in commands]


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
