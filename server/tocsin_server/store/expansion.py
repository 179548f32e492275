"""ExpandBroadcast: SQL makes entries of what was decided once a class, for the next recipients in the order of keys.

No work is done in Python for a recipient, unless it is personal or somebody hears of its inbox.
"""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import msgpack

from tocsin_server.domain.broadcast import BroadcastState, ClassMode, Progress
from tocsin_server.domain.commands import ChunkReceipt, ExpandBroadcast, SendReceipt
from tocsin_server.domain.errors import BroadcastNotFound, TocsinError
from tocsin_server.domain.ids import format_id, time_part
from tocsin_server.domain.inbox import BroadcastChunk, BroadcastEntry, Counts, Status
from tocsin_server.domain.notification import Decision, Disposition, NotificationState
from tocsin_server.domain.value import replace
from tocsin_server.store.audience import LAST_KEY, Condition, audience_of
from tocsin_server.store.broadcasts import COLUMNS, BroadcastRow, broadcast_row, wake_after
from tocsin_server.store.sends import store_notifications
from tocsin_server.store.sql import Blob, Connection, Select
from tocsin_server.store.transaction import Overtaken, Transaction

ENTRIES_PER_MESSAGE = 250
"""Of a chunk that replicas tell each other: what one decodes at a go, in about a millisecond."""

_UNLOCKED = Select(
    COLUMNS, "FROM broadcasts WHERE tenant = ? AND id {in_keys}", locking="FOR UPDATE SKIP LOCKED"
)

_EXISTS = "SELECT state FROM broadcasts WHERE tenant = ? AND id = ?"

_ADVANCE = """
    UPDATE broadcasts SET state = ?, progress = ?, position = ?, finish_time = ?, wake_time = ? WHERE pk = ?"""

_COUNT_CLASS = "UPDATE broadcast_classes SET recipient_count = recipient_count + ? WHERE pk = ?"

_SELECT_SHARED = Select(
    (
        "b.pk",
        "b.category",
        Blob("c.body"),
        Blob("b.envelope"),
        Blob("b.trace"),
        "b.expire_time",
    ),
    "FROM broadcast_classes AS b JOIN contents AS c ON c.id = b.content_id WHERE b.pk {in_keys}",
)

# Whomever a filter leaves out costs time too, so the end of a chunk is where so many have been asked about.
_HORIZON = """
    SELECT recipient FROM recipients WHERE tenant = :tenant AND recipient > :after
    ORDER BY recipient LIMIT 1 OFFSET :others"""

_CLASS = "b.broadcast_pk = :pk AND b.class_id = r.class_id AND b.current = 1"

_IS_SHARED = (
    f"EXISTS (SELECT 1 FROM broadcast_classes AS b WHERE {_CLASS} AND b.mode = {int(ClassMode.SHARED)})"
)

_COUNTED = "revision = revision + 1, unread = unread + 1, unseen = unseen + 1, total = total + 1"
"""As `Counts.moved` does it for an entry that is UNSEEN."""

_ENTRY_COLUMNS = """tenant, id, recipient, category, priority, thread, state, status, revision, content_revision,
    content_id, envelope, trace, create_time, change_time, expire_time, has_deliveries, broadcast_class_pk"""


class _Texts(NamedTuple):
    """The statements of an audience."""

    lock: str
    """Locks the inboxes of the next ones; how many they are, and the last of them."""
    classes: str
    """Of the next ones: class, how many, the last of them, and the current plan: row, mode, decisions."""
    personal: str
    """Those of the next ones that are personal."""
    counted: str
    """Counts the entries, and has an entry of each where the engine writes one transaction after the other."""
    enter: str
    """Makes the entries."""
    heard: str
    """What became of the inboxes."""


@lru_cache(256)
def _texts(audience: str, row_locks: bool) -> _Texts:
    random = "substring(uuid_send(gen_random_uuid()) FROM 1 FOR 6)" if row_locks else "randomblob(6)"
    id = f":head || r.id_part || {random}"
    values = f"""r.tenant, {id if row_locks else f"CAST({id} AS BLOB)"}, r.recipient, b.category, b.priority, b.thread,
        {int(NotificationState.STORED)}, {int(Status.UNSEEN)}, i.revision, i.revision,
        b.content_id, :empty, :empty, :now, :now, b.expire_time, 0, b.pk"""
    counted = f"SELECT r.recipient {audience} AND {_IS_SHARED}"
    entries = f"""INSERT INTO notifications ({_ENTRY_COLUMNS}) SELECT {values} FROM ({{rows}}) AS r
        CROSS JOIN {{inboxes}} AS i CROSS JOIN broadcast_classes AS b
        WHERE {{joined}} {_CLASS} AND b.mode = {int(ClassMode.SHARED)} ORDER BY r.recipient"""
    rows = f"SELECT r.tenant, r.recipient, r.id_part, r.class_id {audience}"
    updated = f"UPDATE inboxes SET {_COUNTED} WHERE tenant = :tenant AND recipient IN ({counted})"
    if row_locks:
        # At once, so that both see the same recipients.
        enter = f"""WITH counted AS ({updated} RETURNING recipient, incarnation, revision, unread, unseen, total),
            entered AS ({entries.format(rows=rows, inboxes="counted", joined="i.recipient = r.recipient AND")}
                RETURNING recipient, id, broadcast_class_pk)"""
        heard = """ SELECT e.recipient, c.incarnation, c.revision, c.unread, c.unseen, c.total, e.id,
            e.broadcast_class_pk FROM entered AS e JOIN counted AS c ON c.recipient = e.recipient"""
        count, enter, heard = "", f"{enter} SELECT count(*) FROM entered", f"{enter}{heard}"
    else:
        joined = "i.tenant = r.tenant AND i.recipient = r.recipient AND"
        count, enter = updated, entries.format(rows=rows, inboxes="inboxes", joined=joined)
        heard = ""
    return _Texts(
        # By their keys: a plan that is made for any limit at all would rather sort all there are.
        f"""SELECT count(*), max(recipient) FROM (
            SELECT i.recipient FROM inboxes AS i WHERE i.tenant = :tenant AND i.recipient = ANY(ARRAY(
                SELECT r.recipient {audience} ORDER BY r.recipient LIMIT :limit))
            ORDER BY i.recipient FOR UPDATE) AS locked""",
        f"""SELECT r.class_id, count(*), max(r.recipient), b.pk, b.mode, b.decisions FROM (
                SELECT r.recipient, r.class_id {audience} ORDER BY r.recipient LIMIT :limit) AS r
            LEFT JOIN broadcast_classes AS b ON {_CLASS} AND b.valid_until > :now
            GROUP BY r.class_id, b.pk, b.mode, b.decisions""",
        f"""SELECT r.recipient {audience} AND EXISTS (
            SELECT 1 FROM broadcast_classes AS b WHERE {_CLASS} AND b.mode = {int(ClassMode.PERSONAL)})
            ORDER BY r.recipient""",
        count,
        enter,
        heard,
    )


# Those of the chunk alone have ids of this time, or, where time stands still, recipients of this range.
_HEARD = Select(
    (
        "n.recipient",
        Blob("i.incarnation"),
        "i.revision",
        "i.unread",
        "i.unseen",
        "i.total",
        Blob("n.id"),
        "n.broadcast_class_pk",
    ),
    """FROM notifications AS n JOIN inboxes AS i ON i.tenant = n.tenant AND i.recipient = n.recipient
    WHERE n.tenant = :tenant AND n.id BETWEEN :head AND :last_id AND n.recipient > :after AND n.recipient <= :upto
    AND n.broadcast_class_pk IS NOT NULL AND n.revision = i.revision""",
)

_decode_decisions = msgpack.Decoder(tuple[Decision, ...]).decode


class _OfClass(NamedTuple):
    """The next recipients of one class."""

    class_id: int
    size: int
    last: str
    pk: int | None
    """None: nothing is decided that holds now."""
    mode: int
    decisions: bytes


def expand_broadcasts(
    transaction: Transaction, commands: Sequence[ExpandBroadcast]
) -> list[ChunkReceipt | TocsinError]:
    """Expands a chunk for each command."""
    return [_expand(transaction, command) for command in commands]


def _expand(transaction: Transaction, command: ExpandBroadcast) -> ChunkReceipt | TocsinError:
    started = time.perf_counter()
    connection = transaction.connection
    rows = connection.select_in(_UNLOCKED, (command.tenant,), (command.id,))
    if not rows:
        # Another replica is at it.
        known = connection.execute(_EXISTS, (command.tenant, command.id)).fetchone()
        return ChunkReceipt(BroadcastState(known[0])) if known else _unknown(command)
    row = broadcast_row(rows[0])
    if row.state.final:
        return ChunkReceipt(row.state)
    chunk = _Chunk(transaction, row, command)
    asked = chunk.take()
    if asked is not None:
        return asked
    taken = chunk.write()
    return ChunkReceipt(chunk.state, taken, chunk.seen, int((time.perf_counter() - started) * 1_000_000))


def _unknown(command: ExpandBroadcast) -> BroadcastNotFound:
    return BroadcastNotFound(broadcast_id=format_id(command.id))


class _Chunk:
    """The next recipients of a broadcast: `take` says who they are, `write` what becomes of them."""

    def __init__(self, transaction: Transaction, row: BroadcastRow, command: ExpandBroadcast) -> None:
        self._transaction = transaction
        self._connection: Connection = transaction.connection
        self._row = row
        self._command = command
        audience = audience_of(
            self._connection, row.pk, row.tenant, row.topic_id, row.filter, row.create_time
        )
        self._texts = _texts(audience.sql, self._connection.row_locks)
        self._values = self._parameters(audience)
        self._classes: list[_OfClass] = []
        self._personal: frozenset[str] = frozenset()
        self._bounded = command.upto is not None
        """Whether there may be others behind those that could be taken."""
        self._horizon: str | None = None
        """Up to whom all have been asked about, where there is a filter and others are behind."""
        self.state = BroadcastState.RUNNING

    def take(self) -> ChunkReceipt | None:
        """Takes the next ones; what is asked for before they can have their turn. Raises Overtaken."""
        if self._row.filter is not None and not self._bounded:
            self._look_ahead()
        locked = self._lock() if self._connection.row_locks else None
        found = self._connection.execute(self._texts.classes, self._values).fetchall()
        self._classes = [_OfClass(*each) for each in found]
        if locked is not None and self._taken > locked:
            # Where one of those that were next is gone by now, the one behind them is next, and is not locked.
            raise Overtaken
        unplanned = tuple(each.class_id for each in self._classes if each.pk is None)
        if unplanned:
            return ChunkReceipt(self.state, unplanned=unplanned)
        if not self._classes:
            return None
        self._values["upto"] = max(each.last for each in self._classes)
        if not any(each.mode == ClassMode.PERSONAL for each in self._classes):
            return None
        found = self._connection.execute(self._texts.personal, self._values).fetchall()
        personal = tuple(recipient for (recipient,) in found)
        drafted = {each.draft.recipient for each in self._command.personal} | set(self._command.undrawn)
        if drafted.issuperset(personal):
            self._personal = frozenset(personal)
            return None
        return ChunkReceipt(self.state, personal=personal, upto=self._values["upto"])

    def write(self) -> int:
        """Has all of them have their turn; how many they were. Raises Overtaken."""
        row, now = self._row, self._transaction.now
        taken = self._taken
        progress = row.progress
        if self._command.targeted is not None and not progress.targeted:
            progress = replace(progress, targeted=self._command.targeted)
        if any(each.mode == ClassMode.SHARED for each in self._classes):
            self._enter()
        for each in self._classes:
            self._connection.execute(_COUNT_CLASS, (each.size, each.pk))
            if each.mode != ClassMode.PERSONAL:
                suppressed = each.mode == ClassMode.SUPPRESSED
                disposition = Disposition.SUPPRESSED if suppressed else Disposition.STORED
                progress = progress.after(disposition, _decode_decisions(each.decisions), each.size)
        if self._personal:
            progress = self._write_personal(progress)
        position = self._horizon or (self._values["upto"] if self._classes else row.position)
        finish_time = wake_time = None
        if taken < self._command.limit and not self._bounded:
            self.state, finish_time, wake_time = BroadcastState.COMPLETED, now, wake_after(row, now)
            progress = replace(progress, targeted=progress.targeted or progress.processed)
        else:
            wake_time = row.start_time
        self._connection.execute(
            _ADVANCE,
            (int(self.state), msgpack.encode(progress), position, finish_time, wake_time, row.pk),
        )
        return taken

    @property
    def seen(self) -> int:
        """How many were gone through."""
        return self._taken if self._horizon is None else self._command.limit

    @property
    def _taken(self) -> int:
        return sum(each.size for each in self._classes)

    def _look_ahead(self) -> None:
        """Sets an end to how many a filter is asked about."""
        found = self._connection.execute(_HORIZON, self._values).fetchone()
        if found is not None:
            self._horizon = self._values["upto"] = found[0]
            self._bounded = True

    def _lock(self) -> int:
        """Locks the next ones, who are what they are from here on, but may cease to be meant; how many they are."""
        count, last = self._connection.execute(self._texts.lock, self._values).fetchone()
        if count == self._command.limit:
            self._values["upto"] = last
            self._bounded = True
        return int(count)

    def _write_personal(self, progress: Progress) -> Progress:
        commands = [each for each in self._command.personal if each.draft.recipient in self._personal]
        for receipt in store_notifications(self._transaction, commands):
            if isinstance(receipt, SendReceipt):
                progress = progress.after(receipt.disposition, receipt.decisions, 1)
            else:
                progress = replace(progress, processed=progress.processed + 1, failed=progress.failed + 1)
        undrawn = len(self._personal.intersection(self._command.undrawn))
        return replace(progress, processed=progress.processed + undrawn, failed=progress.failed + undrawn)

    def _enter(self) -> None:
        """Makes the entries of all that share one, and tells those who hear of them. Raises Overtaken."""
        heard = self._transaction.heard()
        deaf = heard is not None and not heard
        if self._connection.row_locks:
            text = self._texts.enter if deaf else self._texts.heard
            found: list[Any] = self._connection.execute(text, self._values).fetchall()
            entered = found[0][0] if deaf else len(found)
            if entered != sum(each.size for each in self._classes if each.mode == ClassMode.SHARED):
                # Somebody has come to be, or is meant no longer, since they were counted.
                raise Overtaken
        else:
            self._connection.execute(self._texts.counted, self._values)
            self._connection.execute(self._texts.enter, self._values)
            found = [] if deaf else self._connection.select(_HEARD, self._values)
        if not deaf:
            tenant = self._row.tenant
            self._tell([each for each in found if heard is None or (tenant, each[0]) in heard])

    def _tell(self, entered: Sequence[Sequence[Any]]) -> None:
        by_class: dict[int, list[BroadcastEntry]] = {}
        for recipient, incarnation, revision, unread, unseen, total, id, class_pk in entered:
            entry = BroadcastEntry(recipient, incarnation, revision, Counts(unread, unseen, total), id)
            by_class.setdefault(class_pk, []).append(entry)
        rows = self._connection.select_in(_SELECT_SHARED, (), list(by_class))
        for pk, category, content, envelope, trace, expire_time in rows:
            entries = by_class[pk]
            for start in range(0, len(entries), ENTRIES_PER_MESSAGE):
                part = tuple(entries[start : start + ENTRIES_PER_MESSAGE])
                self._transaction.chunks.append(
                    BroadcastChunk(self._row.tenant, category, content, envelope, trace, expire_time, part)
                )

    def _parameters(self, audience: Condition) -> dict[str, Any]:
        row, now = self._row, self._transaction.now
        head = time_part(now)
        chosen: Mapping[str, Any] = {
            "after": row.position,
            "upto": LAST_KEY if self._command.upto is None else self._command.upto,
            "limit": self._command.limit,
            "others": self._command.limit - 1,
            "now": now,
            "head": head,
            "last_id": head + b"\xff" * 8,
            "empty": b"",
        }
        return audience.values | dict(chosen)
