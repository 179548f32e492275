"""Notifications as rows that change: loaded, evolved as values, written back in one statement."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tocsin_server.domain.delivery import Delivery, cancelled, expired
from tocsin_server.domain.inbox import Inbox, Status
from tocsin_server.domain.notification import Event, EventKind, NotificationState
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, field_names, replace
from tocsin_server.store.deliveries import close_deliveries
from tocsin_server.store.sql import Connection, Update
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
    has_deliveries: int
    """1: it was given some, at some time."""

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

_SELECT_BY_ID = f"{SELECT_ENTRIES} WHERE tenant = ? AND id {{in_keys}}"

_UPDATE = Update("notifications", "pk", _MUTABLE)


def entries_by_id(connection: Connection, tenant: str, ids: Sequence[bytes]) -> dict[bytes, EntryRow]:
    """Those of the ids that exist."""
    rows = connection.rows_in(_SELECT_BY_ID, (tenant,), ids)
    return {row[2]: EntryRow(*row) for row in rows}


def held_entries(transaction: Transaction, tenant: str, ids: Sequence[bytes]) -> dict[bytes, EntryRow]:
    """Those of the ids that exist and whose inboxes are locked.

    What was committed after the locks were taken came later than the command: it may be changing this moment.
    """
    found = entries_by_id(transaction.connection, tenant, ids)
    return {id: entry for id, entry in found.items() if transaction.holds(tenant, entry.recipient)}


def entries_where(connection: Connection, condition: str, parameters: Iterable[Any]) -> list[EntryRow]:
    """Entries by a condition, which may end in ORDER BY and LIMIT."""
    return [
        EntryRow(*row) for row in connection.execute(f"{SELECT_ENTRIES} WHERE {condition}", tuple(parameters))
    ]


def write_entries(connection: Connection, entries: Sequence[EntryRow]) -> None:
    """Writes back what can change of entries that were read in this transaction."""
    rows = [(entry.pk, *(getattr(entry, column) for column in _MUTABLE)) for entry in entries]
    connection.update(_UPDATE, rows)


def drop_contents(connection: Connection, entries: Sequence[EntryRow]) -> None:
    """Removes the contents of entries that do not show them any more, but for what a broadcast's entries share."""
    ids = [entry.content_id for entry in entries if entry.content_id is not None and entry.content_id > 0]
    connection.rows_in("DELETE FROM contents WHERE id {in_keys}", (), ids)


def end_deliveries(
    transaction: Transaction, entries: Sequence[EntryRow], close: Callable[[Delivery, Micros], Delivery]
) -> None:
    """Closes the open deliveries of entries that come to their end. Costs nothing where there never were any."""
    by_tenant: dict[str, list[bytes]] = {}
    for entry in entries:
        if entry.has_deliveries:
            by_tenant.setdefault(entry.tenant, []).append(entry.id)
    for tenant, ids in by_tenant.items():
        close_deliveries(transaction, tenant, ids, close)


def finish_entries(
    transaction: Transaction, entries: Sequence[EntryRow], state: NotificationState, kind: EventKind
) -> None:
    """Retracts or expires stored entries: content dropped, a new revision, an event each, counts and hints."""
    inboxes: dict[tuple[str, str], Inbox] = {}
    finished: list[EntryRow] = []
    transaction.lock_inboxes((entry.tenant, entry.recipient) for entry in entries)
    for entry in entries:
        inbox = transaction.inbox(entry.tenant, entry.recipient)
        if inbox is None:
            continue
        ended = replace(
            entry,
            state=int(state),
            content_id=None,
            change_time=transaction.now,
            final_time=transaction.now,
            snoozed_until=None,
        )
        # What went out on other channels only is not in the inbox, and takes no revision there.
        if entry.status is not None:
            counts = inbox.counts.moved(Status(entry.status), Status.GONE)
            inbox = replace(inbox, revision=inbox.revision + 1, counts=counts)
            transaction.keep(inbox)
            inboxes[entry.tenant, entry.recipient] = inbox
            ended = replace(ended, status=int(Status.GONE), revision=inbox.revision)
        finished.append(ended)
        transaction.add_event(entry.tenant, entry.id, Event(kind, transaction.now, ended.revision))
    drop_contents(transaction.connection, entries)
    write_entries(transaction.connection, finished)
    end_deliveries(transaction, entries, cancelled if state is NotificationState.RETRACTED else expired)
    for inbox in inboxes.values():
        transaction.moved(inbox)
