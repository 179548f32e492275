"""CancelNotifications and ReviseNotification: what senders do to what they have sent."""

from collections.abc import Sequence

from msgspec import msgpack

from tocsin_server.domain.bodies import overridden
from tocsin_server.domain.commands import (
    ENTRIES_PER_TRANSACTION,
    CancelNotifications,
    CancelOutcome,
    CancelReceipt,
    InboxPosition,
    ReviseNotification,
    ReviseReceipt,
)
from tocsin_server.domain.delivery import cancelled
from tocsin_server.domain.errors import NotificationFinal, NotificationNotFound, TocsinError
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.inbox import Attention, Status, shelf_of, status_of
from tocsin_server.domain.notification import Event, EventKind, NotificationState
from tocsin_server.domain.value import replace
from tocsin_server.store.deliveries import replace_bodies
from tocsin_server.store.entries import (
    EntryRow,
    drop_contents,
    end_deliveries,
    entries_where,
    finish_entries,
    held_entries,
    write_entries,
)
from tocsin_server.store.releases import kept_spec
from tocsin_server.store.transaction import Transaction

_BY_THREAD = f"""
    tenant = ? AND recipient = ? AND thread = ? AND thread <> ''
    AND (state = {int(NotificationState.SCHEDULED)}
        OR state = {int(NotificationState.STORED)} AND (expire_time IS NULL OR expire_time > ?))
    ORDER BY id DESC LIMIT {ENTRIES_PER_TRANSACTION}"""

_UPDATE_SPEC = "UPDATE notifications SET spec = ? WHERE pk = ?"


def cancel_notifications(
    transaction: Transaction, commands: Sequence[CancelNotifications]
) -> list[CancelReceipt | TocsinError]:
    """Applies each command in turn."""
    return [_cancel(transaction, command) for command in commands]


def revise_notifications(
    transaction: Transaction, commands: Sequence[ReviseNotification]
) -> list[ReviseReceipt | TocsinError]:
    """Applies each command in turn."""
    return [_revise(transaction, command) for command in commands]


def _cancel(transaction: Transaction, command: CancelNotifications) -> CancelReceipt:
    connection = transaction.connection
    if command.ids:
        found = held_entries(transaction, command.tenant, command.ids)
        ids = command.ids
    else:
        place = (command.tenant, command.recipient)
        # Whoever came to be while others were waited for has nothing that the sender could know of.
        known = transaction.inbox(*place) is not None
        values = (*place, command.thread, transaction.now)
        rows = entries_where(connection, _BY_THREAD, values) if known else []
        found = {row.id: row for row in rows}
        ids = tuple(found)
    states = {id: row.state_at(transaction.now) for id, row in found.items()}
    scheduled = [found[id] for id, state in states.items() if state is NotificationState.SCHEDULED]
    stored = [found[id] for id, state in states.items() if state is NotificationState.STORED]
    _cancel_scheduled(transaction, scheduled)
    finish_entries(transaction, stored, NotificationState.RETRACTED, EventKind.RETRACTED)
    return CancelReceipt(tuple((id, _outcome(states.get(id))) for id in ids))


def _cancel_scheduled(transaction: Transaction, rows: Sequence[EntryRow]) -> None:
    """Their timers stay: they will find nothing to do."""
    if not rows:
        return
    ended = [
        replace(
            row,
            state=int(NotificationState.CANCELLED),
            content_id=None,
            change_time=transaction.now,
            final_time=transaction.now,
        )
        for row in rows
    ]
    drop_contents(transaction.connection, rows)
    write_entries(transaction.connection, ended)
    end_deliveries(transaction, rows, cancelled)
    transaction.usage.take_pending(rows[0].tenant, -len(rows))
    for row in rows:
        transaction.add_event(row.tenant, row.id, Event(EventKind.CANCELLED, transaction.now))


def _outcome(before: NotificationState | None) -> CancelOutcome:
    match before:
        case None:
            return CancelOutcome.NOT_FOUND
        case NotificationState.SCHEDULED:
            return CancelOutcome.CANCELLED
        case NotificationState.STORED:
            return CancelOutcome.RETRACTED
        case _:
            return CancelOutcome.ALREADY_FINAL


def _revise(transaction: Transaction, command: ReviseNotification) -> ReviseReceipt | TocsinError:
    row = held_entries(transaction, command.tenant, (command.id,)).get(command.id)
    if row is None:
        return NotificationNotFound(notification_id=format_id(command.id))
    state = row.state_at(transaction.now)
    if state.final:
        return NotificationFinal(state=state.name)
    (content_id,) = transaction.add_contents((command.content,))
    drop_contents(transaction.connection, (row,))
    if row.has_deliveries:
        spec = kept_spec(transaction.connection, row.pk)
        bodies = overridden((), spec.overrides) if spec is not None else ()
        replace_bodies(transaction, row.tenant, row.id, bodies)
    after = replace(row, content_id=content_id, change_time=transaction.now)
    inbox = transaction.inbox(row.tenant, row.recipient)
    if row.status is None or inbox is None:
        write_entries(transaction.connection, (after,))
        if state is NotificationState.SCHEDULED:
            _show_as_revised(transaction, row)
        transaction.add_event(row.tenant, row.id, Event(EventKind.REVISED, transaction.now))
        return ReviseReceipt(row.recipient, None)
    before = Status(row.status)
    status = status_of(shelf_of(before), Attention.UNSEEN) if command.renotify else before
    inbox = replace(inbox, revision=inbox.revision + 1, counts=inbox.counts.moved(before, status))
    after = replace(after, status=int(status), revision=inbox.revision, content_revision=inbox.revision)
    if command.renotify:
        after = replace(after, seen_time=None, read_time=None)
    write_entries(transaction.connection, (after,))
    transaction.add_event(row.tenant, row.id, Event(EventKind.REVISED, transaction.now, inbox.revision))
    transaction.moved(inbox)
    return ReviseReceipt(row.recipient, InboxPosition(inbox.incarnation, inbox.revision, inbox.counts))


def _show_as_revised(transaction: Transaction, row: EntryRow) -> None:
    """When it is due, what it was revised to is shown, rather than its template once more."""
    spec = kept_spec(transaction.connection, row.pk)
    if spec is not None:
        packed = msgpack.encode(replace(spec, template=None))
        transaction.connection.execute(_UPDATE_SPEC, (packed, row.pk))
