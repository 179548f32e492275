"""FireTimer: what happens at a time takes effect exactly once, in the transaction that deletes its row."""

from collections.abc import Sequence

from tocsin_server.domain.commands import FireTimer, ShownContent, Timer, TimerKind
from tocsin_server.domain.errors import DraftOutdated, TocsinError
from tocsin_server.domain.inbox import Mark, Status
from tocsin_server.domain.notification import Channel, Disposition, Event, EventKind, NotificationState
from tocsin_server.domain.sending import Plan
from tocsin_server.domain.value import replace
from tocsin_server.store.entries import EntryRow, drop_contents, entries_by_id, finish_entries, write_entries
from tocsin_server.store.marks import apply_mark
from tocsin_server.store.releases import kept_spec, release_deliveries, waiting_deliveries
from tocsin_server.store.sends import announce_entry, expire_time_of, release_later, send_out
from tocsin_server.store.settling import Settling, is_current
from tocsin_server.store.transaction import Transaction

# The embedded engine gives the key of a row that is gone to another: what was read of the one is not the other.
_SELECT = "SELECT pk, tenant, kind, due_time, recipient, notification_id FROM timers WHERE pk {in_keys}"

# Of what another replica is deleting, nothing is waited for: it takes effect there.
_DELETE = """
    DELETE FROM timers WHERE pk IN (SELECT pk FROM timers WHERE pk {in_keys} {skip_locked}) RETURNING pk"""

_SELECT_BYTES = """
    SELECT c.body, n.envelope, n.trace FROM notifications n JOIN contents c ON c.id = n.content_id WHERE n.pk = ?"""


def fire_timers(transaction: Transaction, commands: Sequence[FireTimer]) -> list[bool | TocsinError]:
    """Deletes the rows of all, then applies the effects of those that were there, in their order.

    A timer whose notification was not there to be drafted has no effect: it is written before its timer is seen, and
    an id never comes again.
    """
    transaction.lock_inboxes((command.timer.tenant, command.timer.recipient) for command in commands)
    outdated = {command.timer.id for command in commands if _is_outdated(transaction, command)}
    timers = [command.timer for command in commands if command.timer.id not in outdated]
    rows = transaction.connection.rows_in(_SELECT, (), [timer.id for timer in timers])
    there = {Timer(pk, tenant, TimerKind(kind), *rest) for pk, tenant, kind, *rest in rows}
    ids = [timer.id for timer in timers if timer in there]
    unfired = {id for (id,) in transaction.connection.rows_in(_DELETE, (), ids)}
    settling = Settling(transaction, (command.draft for command in commands if command.draft is not None))
    fired: list[bool | TocsinError] = []
    for command in commands:
        timer = command.timer
        if timer not in there or timer.id not in unfired:
            fired.append(DraftOutdated() if timer.id in outdated else False)
            continue
        # At once, so that a timer that is in this run twice takes effect only once.
        unfired.remove(timer.id)
        fired.append(True)
        # Read one by one: an earlier timer of the same run may have changed this very notification.
        found = entries_by_id(transaction.connection, timer.tenant, (timer.notification_id,))
        entry = found.get(timer.notification_id)
        if entry is not None:
            _EFFECTS[timer.kind](transaction, settling, entry, command)
    settling.write()
    return fired


def _is_outdated(transaction: Transaction, command: FireTimer) -> bool:
    if command.draft is None or command.any_profile:
        return False
    inbox = transaction.inbox(command.draft.tenant, command.draft.recipient)
    return inbox is not None and not is_current(command.draft, inbox)


def _deliver(transaction: Transaction, settling: Settling, entry: EntryRow, command: FireTimer) -> None:
    """What was kept for its deliver time meets all rules, now without a time of its own."""
    draft = command.draft
    if entry.state != NotificationState.SCHEDULED or draft is None:
        return
    if transaction.inbox(entry.tenant, entry.recipient) is None:
        return
    plan = settling.settle(draft, any_profile=True)
    transaction.usage.take_pending(entry.tenant, -1)
    if plan.disposition is not Disposition.STORED:
        _give_up(transaction, entry, plan)
        return
    if command.shown is not None and _is_revised(transaction, entry):
        command = replace(command, shown=None)
    shown, envelope, trace = _shown(transaction, entry, command)
    revision = plan.inbox.revision if plan.entered else 0
    stored = replace(
        entry,
        state=int(NotificationState.STORED),
        status=int(Status.UNSEEN) if plan.entered else None,
        revision=revision,
        content_revision=revision,
        change_time=transaction.now,
        has_deliveries=int(bool(plan.deliveries)),
    )
    write_entries(transaction.connection, (_with_content(transaction, stored, command),))
    transaction.keep(plan.inbox)
    transaction.add_event(
        entry.tenant, entry.id, Event(EventKind.STORED, transaction.now, revision, plan.decisions)
    )
    if plan.deliveries:
        send_out(transaction, draft, plan, shown)
    # Counted from its creation it would be kept too short: it enters the inbox only now.
    keep_until = transaction.now + transaction.retention
    expire_time = min(expire_time_of(draft, transaction.now) or keep_until, keep_until)
    transaction.add_timer(entry.tenant, TimerKind.EXPIRE, expire_time, entry.recipient, entry.id)
    if plan.entered:
        announce_entry(transaction, draft, plan, shown.content, envelope, trace)


def _is_revised(transaction: Transaction, entry: EntryRow) -> bool:
    """Whether it was revised after its template was rendered: what it was revised to is shown then."""
    spec = kept_spec(transaction.connection, entry.pk)
    return spec is None or spec.template is None


def _shown(
    transaction: Transaction, entry: EntryRow, command: FireTimer
) -> tuple[ShownContent, bytes, bytes]:
    """What is shown now, and the encoded fields that were kept."""
    body, envelope, trace = transaction.connection.execute(_SELECT_BYTES, (entry.pk,)).fetchone()
    return command.shown or ShownContent(body, command.bodies), envelope, trace


def _with_content(transaction: Transaction, entry: EntryRow, command: FireTimer) -> EntryRow:
    """The entry, with what is shown now in the place of what was kept."""
    if command.shown is None:
        return entry
    drop_contents(transaction.connection, (entry,))
    (content_id,) = transaction.add_contents((command.shown.content,))
    return replace(entry, content_id=content_id)


def _give_up(transaction: Transaction, entry: EntryRow, plan: Plan) -> None:
    """Its time had passed before it was due, or nothing lets it through any more: it never reaches the inbox."""
    expired = entry.expire_time is not None and entry.expire_time <= transaction.now
    ended = replace(
        entry,
        state=int(NotificationState.EXPIRED if expired else NotificationState.SUPPRESSED),
        content_id=None,
        change_time=transaction.now,
        final_time=transaction.now,
    )
    drop_contents(transaction.connection, (entry,))
    write_entries(transaction.connection, (ended,))
    kind = EventKind.EXPIRED if expired else EventKind.SUPPRESSED
    event = Event(kind, transaction.now, 0, () if expired else plan.decisions)
    transaction.add_event(entry.tenant, entry.id, event)


def _release(transaction: Transaction, settling: Settling, entry: EntryRow, command: FireTimer) -> None:
    """Deliveries that were deferred until now meet the rules again: they go out, wait longer or are given up."""
    draft = command.draft
    if entry.state != NotificationState.STORED or draft is None:
        return
    waiting = waiting_deliveries(transaction.connection, draft, command.until)
    if not waiting:
        return
    settling.give_back(draft, {Channel(number) for _, number, *_ in waiting}, command.until)
    plan = settling.settle(draft, any_profile=True)
    release_deliveries(transaction, draft, plan, waiting)
    release_later(transaction, draft, plan)


def _unsnooze(transaction: Transaction, settling: Settling, entry: EntryRow, command: FireTimer) -> None:
    """Only if it is still snoozed until this very time: it may have been snoozed again."""
    inbox = transaction.inbox(entry.tenant, entry.recipient)
    if inbox is not None and entry.snoozed_until == command.timer.due_time:
        apply_mark(transaction, inbox, (entry,), Mark.UNSNOOZED, None)


def _expire(transaction: Transaction, settling: Settling, entry: EntryRow, command: FireTimer) -> None:
    if entry.state == NotificationState.STORED:
        finish_entries(transaction, (entry,), NotificationState.EXPIRED, EventKind.EXPIRED)


_EFFECTS = {
    TimerKind.DELIVER: _deliver,
    TimerKind.UNSNOOZE: _unsnooze,
    TimerKind.EXPIRE: _expire,
    TimerKind.RELEASE: _release,
}
