"""Notifications as rows that change: loaded, evolved as values, written back in one statement."""

from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import Any

from tocsin_server.domain.inbox import Inbox, Status
from tocsin_server.domain.notification import Event, EventKind, NotificationState
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, field_names, replace
from tocsin_server.store.statements import insert_rows
from tocsin_server.store.transaction import Transaction


class EntryRow(Value, frozen=True):
    """What a command can see and change of a notification. The order of fields is that of the columns read."""

    pk: int
    tenant: str
    id: bytes
    recipient: str
    category: str
    priority: int
    thread: str
    create_time: Micros
    expire_time: Micros | None
    deliver_time: Micros | None
    state: int
    status: int | None
    revision: int
    content_revision: int
    content_id: int | None
    change_time: Micros
    seen_time: Micros | None
    read_time: Micros | None
    archived_time: Micros | None
    snoozed_until: Micros | None
    final_time: Micros | None
    interacted_time: Micros | None

    def state_at(self, now: Micros) -> NotificationState:
        """The state as it shows: past its time an entry has expired, even before its timer has made it so."""
        expired = self.expire_time is not None and self.expire_time <= now
        return (
            NotificationState.EXPIRED
            if expired and self.state == NotificationState.STORED
            else NotificationState(self.state)
        )


_COLUMNS = field_names(EntryRow)
_MUTABLE = _COLUMNS[_COLUMNS.index("state") :]

SELECT_ENTRIES = f"SELECT {', '.join(_COLUMNS)} FROM notifications"

# The rows go through a temporary table, which costs one more step and no disk. With `UPDATE … FROM` SQLite would look
# through all notifications for those that have changed; this way it looks up those that have.
_CREATE_CHANGED = f"CREATE TEMP TABLE IF NOT EXISTS changed (pk INTEGER PRIMARY KEY, {', '.join(_MUTABLE)})"
_UPDATE_CHANGED = f"""
    UPDATE notifications SET ({", ".join(_MUTABLE)}) = (
        SELECT {", ".join(_MUTABLE)} FROM temp.changed WHERE changed.pk = notifications.pk)
    WHERE pk IN (SELECT pk FROM temp.changed)"""


def entries_by_id(connection: Connection, tenant: str, ids: Sequence[bytes]) -> dict[bytes, EntryRow]:
    """Those of the ids that exist."""
    found: dict[bytes, EntryRow] = {}
    for start in range(0, len(ids), 1000):
        chunk = ids[start : start + 1000]
        places = ", ".join("?" * len(chunk))
        rows = connection.execute(f"{SELECT_ENTRIES} WHERE tenant = ? AND id IN ({places})", (tenant, *chunk))
        found.update((row[2], EntryRow(*row)) for row in rows)
    return found


def entries_where(connection: Connection, condition: str, parameters: Iterable[Any]) -> list[EntryRow]:
    """Entries by a condition, which may end in ORDER BY and LIMIT."""
    return [
        EntryRow(*row) for row in connection.execute(f"{SELECT_ENTRIES} WHERE {condition}", tuple(parameters))
    ]


def write_entries(connection: Connection, entries: Sequence[EntryRow]) -> None:
    """Writes back what can change of entries that were read in this transaction."""
    if not entries:
        return
    connection.execute(_CREATE_CHANGED)
    rows = [(entry.pk, *(getattr(entry, column) for column in _MUTABLE)) for entry in entries]
    insert_rows(connection, "INSERT INTO temp.changed", rows)
    connection.execute(_UPDATE_CHANGED)
    connection.execute("DELETE FROM temp.changed")


def drop_contents(connection: Connection, entries: Sequence[EntryRow]) -> None:
    """Removes the contents of entries that do not show them any more."""
    ids = [(entry.content_id,) for entry in entries if entry.content_id is not None]
    connection.executemany("DELETE FROM contents WHERE id = ?", ids)


def finish_entries(
    transaction: Transaction, entries: Sequence[EntryRow], state: NotificationState, kind: EventKind
) -> None:
    """Retracts or expires stored entries: content dropped, a new revision, an event each, counts and hints."""
    inboxes: dict[tuple[str, str], Inbox] = {}
    finished: list[EntryRow] = []
    transaction.lock_inboxes((entry.tenant, entry.recipient) for entry in entries)
    for entry in entries:
        inbox = transaction.inbox(entry.tenant, entry.recipient)
        if inbox is None or entry.status is None:
            continue
        counts = inbox.counts.moved(Status(entry.status), Status.GONE)
        inbox = replace(inbox, revision=inbox.revision + 1, counts=counts)
        transaction.keep(inbox)
        inboxes[entry.tenant, entry.recipient] = inbox
        finished.append(
            replace(
                entry,
                state=int(state),
                status=int(Status.GONE),
                revision=inbox.revision,
                content_id=None,
                change_time=transaction.now,
                final_time=transaction.now,
                snoozed_until=None,
            )
        )
        transaction.add_event(entry.tenant, entry.id, Event(kind, transaction.now, inbox.revision))
    drop_contents(transaction.connection, entries)
    write_entries(transaction.connection, finished)
    for inbox in inboxes.values():
        transaction.moved(inbox)
