"""MarkEntries and RecordInteraction: what recipients do to their entries, in O(changed)."""

from collections.abc import Sequence

from tocsin_server.domain.commands import (
    ENTRIES_PER_TRANSACTION,
    ByIds,
    ByThread,
    InboxPosition,
    InteractionReceipt,
    MarkEntries,
    MarkReceipt,
    RecordInteraction,
    TimerKind,
    UpTo,
)
from tocsin_server.domain.cursor import check_resumable
from tocsin_server.domain.errors import (
    CursorExpired,
    CursorOutOfRange,
    NotificationFinal,
    NotificationNotFound,
    RecipientNotFound,
    TocsinError,
)
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.inbox import (
    EVENT_OF_INTERACTION,
    EVENT_OF_MARK,
    MARK_OF_INTERACTION,
    Attention,
    Inbox,
    Mark,
    Shelf,
    Status,
    attention_of,
    marked,
    shelf_of,
    statuses_changed_by,
)
from tocsin_server.domain.notification import Event
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import replace
from tocsin_server.store.entries import SELECT_ENTRIES, EntryRow, entries_by_id, entries_where, write_entries
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import Transaction


def mark_entries(
    transaction: Transaction, commands: Sequence[MarkEntries]
) -> list[MarkReceipt | TocsinError]:
    """Applies each command in turn."""
    transaction.lock_inboxes((command.tenant, command.recipient) for command in commands)
    return [_mark(transaction, command) for command in commands]


def record_interactions(
    transaction: Transaction, commands: Sequence[RecordInteraction]
) -> list[InteractionReceipt | TocsinError]:
    """Applies each command in turn."""
    transaction.lock_inboxes((command.tenant, command.recipient) for command in commands)
    return [_interact(transaction, command) for command in commands]


def marked_entry(entry: EntryRow, mark: Mark, now: Micros, snooze_until: Micros | None) -> EntryRow:
    """The entry after a mark; the very same object where the mark changes nothing."""
    if entry.status is None:
        return entry
    before = Status(entry.status)
    after = marked(before, mark)
    if after is before and not (mark is Mark.SNOOZED and entry.snoozed_until != snooze_until):
        return entry
    if after is Status.GONE:
        return entry
    attention, shelf = attention_of(after), shelf_of(after)
    return replace(
        entry,
        status=int(after),
        seen_time=(entry.seen_time or now) if attention >= Attention.SEEN else None,
        read_time=(entry.read_time or now) if attention is Attention.READ else None,
        archived_time=(entry.archived_time or now) if shelf is Shelf.ARCHIVED else None,
        snoozed_until=(snooze_until or entry.snoozed_until) if shelf is Shelf.SNOOZED else None,
    )


def apply_mark(
    transaction: Transaction,
    inbox: Inbox,
    entries: Sequence[EntryRow],
    mark: Mark,
    snooze_until: Micros | None,
) -> tuple[Inbox, int]:
    """Marks entries of one inbox and writes what changed; the inbox afterwards and how many changed."""
    changed: list[EntryRow] = []
    for entry in entries:
        after = marked_entry(entry, mark, transaction.now, snooze_until)
        if after is entry:
            continue
        inbox = _next_revision(inbox, entry, after)
        changed.append(replace(after, revision=inbox.revision, change_time=transaction.now))
        event = Event(EVENT_OF_MARK[mark], transaction.now, inbox.revision)
        transaction.add_event(entry.tenant, entry.id, event)
        if mark is Mark.SNOOZED and snooze_until is not None:
            transaction.add_timer(entry.tenant, TimerKind.UNSNOOZE, snooze_until, entry.recipient, entry.id)
    if changed:
        write_entries(transaction.connection, changed)
        transaction.moved(inbox)
    return inbox, len(changed)


def _mark(transaction: Transaction, command: MarkEntries) -> MarkReceipt | TocsinError:
    inbox = transaction.inbox(command.tenant, command.recipient)
    if isinstance(command.selection, UpTo):
        position = command.selection.position
        try:
            # Any filter will do: what matters is what the recipient can have seen.
            check_resumable(position, inbox, position.filter)
        except CursorOutOfRange as error:
            # Retention may pass the position while its chunks are marked.
            if not (isinstance(error, CursorExpired) and command.changed_before):
                return error
    if inbox is None:
        return RecipientNotFound(recipient=command.recipient)
    entries = _selected(transaction.connection, command)
    more = len(entries) > ENTRIES_PER_TRANSACTION
    entries = entries[:ENTRIES_PER_TRANSACTION]
    inbox, count = apply_mark(transaction, inbox, entries, command.mark, command.snooze_until)
    after = InboxPosition(inbox.incarnation, inbox.revision, inbox.counts)
    return MarkReceipt(command.changed_before + count, after, more)


def _selected(connection: Connection, command: MarkEntries) -> list[EntryRow]:
    """The entries that the command may change, oldest content first, one more than a transaction takes."""
    match command.selection:
        case ByIds(ids):
            found = entries_by_id(connection, command.tenant, ids)
            mine = [entry for entry in found.values() if entry.recipient == command.recipient]
            # Without what is marked already, or the chunk after the first thousand would be the same thousand again.
            unmarked = [
                entry
                for entry in mine
                if marked_entry(entry, command.mark, 0, command.snooze_until) is not entry
            ]
            return sorted(unmarked, key=lambda entry: entry.content_revision)
        case ByThread(thread):
            statuses = ", ".join(str(int(status)) for status in statuses_changed_by(command.mark))
            condition = (
                f"tenant = ? AND recipient = ? AND thread = ? AND thread <> '' AND status IN ({statuses})"
                " AND (snoozed_until IS NULL OR snoozed_until <> ?) ORDER BY content_revision LIMIT ?"
            )
            return entries_where(
                connection,
                condition,
                (
                    command.tenant,
                    command.recipient,
                    thread,
                    command.snooze_until or -1,
                    ENTRIES_PER_TRANSACTION + 1,
                ),
            )
        case UpTo(position):
            return _up_to(connection, command, position.revision)


def _up_to(connection: Connection, command: MarkEntries, content_revision: int) -> list[EntryRow]:
    """Merges one bounded index range a status: what is already marked is never looked at."""
    ranges = " UNION ALL ".join(
        f"""SELECT * FROM (
            {SELECT_ENTRIES} WHERE tenant = :tenant AND recipient = :recipient AND status = {int(status)}
            AND content_revision <= :content_revision
            AND (snoozed_until IS NULL OR snoozed_until <> :snooze_until)
            ORDER BY content_revision LIMIT :limit) AS of_status"""
        for status in statuses_changed_by(command.mark)
    )
    parameters = {
        "tenant": command.tenant,
        "recipient": command.recipient,
        "content_revision": content_revision,
        "snooze_until": command.snooze_until or -1,
        "limit": ENTRIES_PER_TRANSACTION + 1,
    }
    rows = connection.execute(f"{ranges} ORDER BY content_revision LIMIT :limit", parameters)
    return [EntryRow(*row) for row in rows]


def _interact(transaction: Transaction, command: RecordInteraction) -> InteractionReceipt | TocsinError:
    inbox = transaction.inbox(command.tenant, command.recipient)
    found = entries_by_id(transaction.connection, command.tenant, (command.notification_id,))
    entry = found.get(command.notification_id)
    if inbox is None or entry is None or entry.recipient != command.recipient or entry.status is None:
        return NotificationNotFound(notification_id=format_id(command.notification_id))
    state = entry.state_at(transaction.now)
    if state.final:
        return NotificationFinal(state=state.name)
    mark = MARK_OF_INTERACTION[command.kind]
    after = entry if mark is None else marked_entry(entry, mark, transaction.now, None)
    if after.interacted_time is None:
        after = replace(after, interacted_time=transaction.now)
    if after is not entry:
        inbox = _next_revision(inbox, entry, after)
        after = replace(after, revision=inbox.revision, change_time=transaction.now)
        write_entries(transaction.connection, (after,))
        transaction.moved(inbox)
    event = Event(
        EVENT_OF_INTERACTION[command.kind],
        transaction.now,
        inbox.revision if after is not entry else 0,
        (),
        command.action_id,
        command.inputs,
    )
    transaction.add_event(command.tenant, command.notification_id, event)
    return InteractionReceipt(InboxPosition(inbox.incarnation, inbox.revision, inbox.counts))


def _next_revision(inbox: Inbox, before: EntryRow, after: EntryRow) -> Inbox:
    counts = inbox.counts.moved(_status(before), _status(after))
    return replace(inbox, revision=inbox.revision + 1, counts=counts)


def _status(entry: EntryRow) -> Status | None:
    return None if entry.status is None else Status(entry.status)
