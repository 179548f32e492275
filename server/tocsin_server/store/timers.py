"""FireTimer: what happens at a time takes effect exactly once, in the transaction that deletes its row."""

from collections.abc import Sequence

from tocsin_server.domain.commands import FireTimer, TimerKind
from tocsin_server.domain.inbox import InboxChange, Mark, Status
from tocsin_server.domain.notification import (
    Channel,
    Disposition,
    Event,
    EventKind,
    NotificationState,
    Priority,
)
from tocsin_server.domain.sending import Draft, settle
from tocsin_server.domain.value import replace
from tocsin_server.store.entries import EntryRow, drop_contents, entries_by_id, finish_entries, write_entries
from tocsin_server.store.marks import apply_mark
from tocsin_server.store.transaction import Transaction

# Of what another replica is deleting, nothing is waited for: it takes effect there.
_DELETE = """
    DELETE FROM timers WHERE pk IN (SELECT pk FROM timers WHERE pk {in_keys} {skip_locked}) RETURNING pk"""

_SELECT_BYTES = """
    SELECT c.body, n.envelope, n.trace FROM notifications n JOIN contents c ON c.id = n.content_id WHERE n.pk = ?"""


def fire_timers(transaction: Transaction, commands: Sequence[FireTimer]) -> list[bool]:
    """Deletes the rows of all, then applies the effects of those that were there, in their order."""
    transaction.lock_inboxes((command.timer.tenant, command.timer.recipient) for command in commands)
    ids = [command.timer.id for command in commands]
    unfired = {id for (id,) in transaction.connection.rows_in(_DELETE, (), ids)}
    fired: list[bool] = []
    for command in commands:
        timer = command.timer
        if timer.id not in unfired:
            fired.append(False)
            continue
        # At once, so that a timer that is in this run twice takes effect only once.
        unfired.remove(timer.id)
        fired.append(True)
        # Read one by one: an earlier timer of the same run may have changed this very notification.
        found = entries_by_id(transaction.connection, timer.tenant, (timer.notification_id,))
        entry = found.get(timer.notification_id)
        if entry is not None:
            _EFFECTS[timer.kind](transaction, entry, command)
    return fired


def _deliver(transaction: Transaction, entry: EntryRow, command: FireTimer) -> None:
    """A scheduled notification meets the same rules again, now without a time of its own."""
    if entry.state != NotificationState.SCHEDULED:
        return
    inbox = transaction.inbox(entry.tenant, entry.recipient)
    if inbox is None:
        return
    draft = Draft(
        entry.id,
        entry.tenant,
        entry.recipient,
        entry.category,
        Priority(entry.priority),
        (Channel.INBOX,),
        entry.thread,
        entry.create_time,
        None,
        entry.expire_time,
    )
    plan = settle(draft, inbox, transaction.now)
    transaction.take_pending(entry.tenant, -1)
    if plan.disposition is not Disposition.STORED:
        _expire_scheduled(transaction, entry)
        return
    body, envelope, trace = transaction.connection.execute(_SELECT_BYTES, (entry.pk,)).fetchone()
    revision = plan.inbox.revision
    stored = replace(
        entry,
        state=int(NotificationState.STORED),
        status=int(Status.UNSEEN),
        revision=revision,
        content_revision=revision,
        change_time=transaction.now,
    )
    write_entries(transaction.connection, (stored,))
    transaction.keep(plan.inbox)
    transaction.add_event(
        entry.tenant, entry.id, Event(EventKind.STORED, transaction.now, revision, plan.decisions)
    )
    # Counted from its creation it would be kept too short: it enters the inbox only now.
    keep_until = transaction.now + transaction.retention
    expire_time = min(entry.expire_time or keep_until, keep_until)
    transaction.add_timer(entry.tenant, TimerKind.EXPIRE, expire_time, entry.recipient, entry.id)
    transaction.changes.append(
        InboxChange(
            entry.tenant,
            entry.recipient,
            plan.inbox.incarnation,
            revision,
            plan.inbox.counts,
            entry.category,
            body,
            envelope,
            trace,
            entry.expire_time,
        )
    )


def _expire_scheduled(transaction: Transaction, entry: EntryRow) -> None:
    """Its time had passed before it was due: it never reaches the inbox."""
    expired = replace(
        entry,
        state=int(NotificationState.EXPIRED),
        content_id=None,
        change_time=transaction.now,
        final_time=transaction.now,
    )
    drop_contents(transaction.connection, (entry,))
    write_entries(transaction.connection, (expired,))
    transaction.add_event(entry.tenant, entry.id, Event(EventKind.EXPIRED, transaction.now))


def _unsnooze(transaction: Transaction, entry: EntryRow, command: FireTimer) -> None:
    """Only if it is still snoozed until this very time: it may have been snoozed again."""
    inbox = transaction.inbox(entry.tenant, entry.recipient)
    if inbox is not None and entry.snoozed_until == command.timer.due_time:
        apply_mark(transaction, inbox, (entry,), Mark.UNSNOOZED, None)


def _expire(transaction: Transaction, entry: EntryRow, command: FireTimer) -> None:
    if entry.state == NotificationState.STORED:
        finish_entries(transaction, (entry,), NotificationState.EXPIRED, EventKind.EXPIRED)


_EFFECTS = {TimerKind.DELIVER: _deliver, TimerKind.UNSNOOZE: _unsnooze, TimerKind.EXPIRE: _expire}
