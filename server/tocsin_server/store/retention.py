"""What removes rows by age. Rows of an inbox go only in revision order, and the floor tells every later resume."""

from collections.abc import Sequence

from tocsin_server.domain.commands import (
    ENTRIES_PER_TRANSACTION,
    ExpireEntries,
    PruneHistory,
    PruneInboxes,
    SweepReceipt,
)
from tocsin_server.domain.notification import EventKind, NotificationState
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import replace
from tocsin_server.store.deliveries import remove_deliveries
from tocsin_server.store.entries import EntryRow, drop_contents, entries_where, finish_entries, held_entries
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import Transaction

_NEVER_ENTERED = f"""
    tenant = ? AND recipient = ? AND revision = 0 AND state > {int(NotificationState.BATCHED)} AND change_time < ?
    LIMIT ?"""

_OLDEST = "tenant = ? AND recipient = ? AND revision > 0 ORDER BY revision LIMIT ?"

# Written in the order of time: of the first rows those that are old enough, and not a look at any of the others.
_PRUNE_REQUESTS = """
    DELETE FROM requests WHERE pk IN (
        SELECT pk FROM (SELECT pk, create_time FROM requests ORDER BY pk LIMIT :limit) AS oldest
        WHERE create_time < :before)"""

_PRUNE_EVENTS = """
    DELETE FROM events WHERE pk IN (
        SELECT pk FROM (SELECT pk, time FROM events ORDER BY pk LIMIT :limit) AS oldest WHERE time < :before)"""

# Asked twice: of a row that is just being acknowledged, only the outer condition is asked again.
_PRUNE_POSITIONS = """
    DELETE FROM consumer_positions WHERE update_time < :before AND (tenant, consumer, recipient, filter) IN (
        SELECT tenant, consumer, recipient, filter FROM consumer_positions WHERE update_time < :before LIMIT :limit)"""

_PRUNE_SLOTS = """
    DELETE FROM throttle_slots WHERE (tenant, recipient, due_time, notification_id, channel) IN (
        SELECT tenant, recipient, due_time, notification_id, channel FROM throttle_slots
        WHERE due_time < :before LIMIT :limit)"""


def expire_entries(transaction: Transaction, commands: Sequence[ExpireEntries]) -> list[SweepReceipt]:
    """Retention as a change that subscribers see: the body goes, the entry stays a while as expired."""
    return [SweepReceipt(_expire(transaction, command)) for command in commands]


def prune_inboxes(transaction: Transaction, commands: Sequence[PruneInboxes]) -> list[SweepReceipt]:
    """Removes old rows from the low end of each inbox and moves its floor."""
    receipts = []
    for command in commands:
        transaction.lock_inboxes(command.inboxes)
        left = ENTRIES_PER_TRANSACTION
        for inbox in command.inboxes:
            left -= _prune(transaction, *inbox, command.cutoff, left)
            if not left:
                break
        receipts.append(SweepReceipt(ENTRIES_PER_TRANSACTION - left, not left))
    return receipts


def prune_history(transaction: Transaction, commands: Sequence[PruneHistory]) -> list[SweepReceipt]:
    """Removes old request ids, events, positions and slots."""
    receipts = []
    for command in commands:
        counts = [
            transaction.connection.execute(statement, {"before": before, "limit": command.limit}).rowcount
            # In the order in which erasing a recipient does it.
            for statement, before in (
                (_PRUNE_EVENTS, command.events_before),
                (_PRUNE_POSITIONS, command.positions_before),
                (_PRUNE_REQUESTS, command.requests_before),
                (_PRUNE_SLOTS, command.slots_before),
            )
        ]
        receipts.append(SweepReceipt(sum(counts), max(counts) >= command.limit))
    return receipts


def remove_notifications(connection: Connection, tenant: str, entries: Sequence[EntryRow]) -> None:
    """Removes a tenant's notifications with all that hangs on them: what is left of one, nobody finds to erase it."""
    ids = [entry.id for entry in entries]
    drop_contents(connection, entries)
    connection.rows_in("DELETE FROM notifications WHERE pk {in_keys}", (), [entry.pk for entry in entries])
    connection.rows_in("DELETE FROM timers WHERE tenant = ? AND notification_id {in_keys}", (tenant,), ids)
    connection.rows_in("DELETE FROM events WHERE tenant = ? AND notification_id {in_keys}", (tenant,), ids)
    remove_deliveries(connection, tenant, [entry.id for entry in entries if entry.has_deliveries])


def _expire(transaction: Transaction, command: ExpireEntries) -> int:
    by_tenant: dict[str, list[bytes]] = {}
    for tenant, id in command.entries:
        by_tenant.setdefault(tenant, []).append(id)
    stored = [
        entry
        for tenant, ids in by_tenant.items()
        for entry in held_entries(transaction, tenant, ids).values()
        if entry.state == NotificationState.STORED
    ]
    finish_entries(transaction, stored, NotificationState.EXPIRED, EventKind.EXPIRED)
    return len(stored)


def _prune(transaction: Transaction, tenant: str, recipient: str, cutoff: Micros, limit: int) -> int:
    inbox = transaction.inbox(tenant, recipient)
    if inbox is None:
        return 0
    connection = transaction.connection
    never_entered = entries_where(connection, _NEVER_ENTERED, (tenant, recipient, cutoff, limit))
    old: list[EntryRow] = []
    for entry in entries_where(connection, _OLDEST, (tenant, recipient, limit - len(never_entered))):
        # What is shown has to expire first, or its subscribers would not hear of its end.
        if entry.change_time >= cutoff or entry.state == NotificationState.STORED:
            break
        old.append(entry)
    remove_notifications(connection, tenant, never_entered + old)
    if old:
        # What is gone counts nowhere.
        transaction.keep(replace(inbox, floor=old[-1].revision))
    return len(never_entered) + len(old)
