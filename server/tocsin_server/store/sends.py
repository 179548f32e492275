"""StoreNotification: settles drafts under their recipients' locks and writes the plans, set-based."""

from collections.abc import Sequence
from typing import Any

from tocsin_server.domain.commands import SendReceipt, StoreNotification, TimerKind
from tocsin_server.domain.errors import QuotaExceeded, TocsinError
from tocsin_server.domain.inbox import InboxChange, Status
from tocsin_server.domain.notification import Disposition, Event, EventKind, NotificationState
from tocsin_server.domain.sending import Plan, settle
from tocsin_server.store.sql import Insert
from tocsin_server.store.transaction import Transaction

_INSERT_NOTIFICATIONS = Insert(
    "notifications",
    (
        "tenant",
        "id",
        "recipient",
        "category",
        "priority",
        "thread",
        "state",
        "status",
        "revision",
        "content_revision",
        "content_id",
        "envelope",
        "trace",
        "create_time",
        "change_time",
        "expire_time",
        "deliver_time",
    ),
)

_STATES: dict[Disposition, NotificationState] = {
    Disposition.STORED: NotificationState.STORED,
    Disposition.SCHEDULED: NotificationState.SCHEDULED,
    Disposition.SUPPRESSED: NotificationState.SUPPRESSED,
}

_EVENTS: dict[Disposition, EventKind] = {
    Disposition.STORED: EventKind.STORED,
    Disposition.SCHEDULED: EventKind.SCHEDULED,
    Disposition.SUPPRESSED: EventKind.SUPPRESSED,
}


def store_notifications(
    transaction: Transaction, commands: Sequence[StoreNotification]
) -> list[SendReceipt | TocsinError]:
    """Settles each draft in turn, so that a later one sees what an earlier one of the same recipient did."""
    transaction.lock_inboxes((command.tenant, command.draft.recipient) for command in commands)
    outcomes: list[SendReceipt | TocsinError] = []
    planned: list[tuple[StoreNotification, Plan]] = []
    for command in commands:
        try:
            plan = _settle(transaction, command)
        except QuotaExceeded as error:
            outcomes.append(error)
            continue
        planned.append((command, plan))
        entered = plan.disposition is Disposition.STORED
        outcomes.append(
            SendReceipt(
                command.draft.id,
                plan.disposition,
                plan.inbox.incarnation if entered else None,
                plan.inbox.revision if entered else 0,
                plan.decisions,
            )
        )
    _write(transaction, planned)
    return outcomes


def _settle(transaction: Transaction, command: StoreNotification) -> Plan:
    draft = command.draft
    inbox = transaction.inbox(draft.tenant, draft.recipient) or transaction.new_inbox(
        draft.tenant, draft.recipient
    )
    plan = settle(draft, inbox, transaction.now)
    if plan.disposition is Disposition.SCHEDULED:
        transaction.take_pending(draft.tenant, 1)
    transaction.keep(plan.inbox)
    return plan


def _write(transaction: Transaction, planned: Sequence[tuple[StoreNotification, Plan]]) -> None:
    kept = [command.content for command, plan in planned if plan.disposition is not Disposition.SUPPRESSED]
    content_ids = iter(transaction.add_contents(kept))
    rows: list[tuple[Any, ...]] = []
    for command, plan in planned:
        draft = command.draft
        entered = plan.disposition is Disposition.STORED
        revision = plan.inbox.revision if entered else 0
        rows.append(
            (
                draft.tenant,
                draft.id,
                draft.recipient,
                draft.category,
                int(draft.priority),
                draft.thread,
                int(_STATES[plan.disposition]),
                int(Status.UNSEEN) if entered else None,
                revision,
                revision,
                next(content_ids) if plan.disposition is not Disposition.SUPPRESSED else None,
                command.envelope,
                command.trace,
                draft.create_time,
                transaction.now,
                draft.expire_time,
                # Only of what waits: retention counts from the creation of what entered at once.
                draft.deliver_time if plan.disposition is Disposition.SCHEDULED else None,
            )
        )
        _announce(transaction, command, plan, revision)
    transaction.connection.insert(_INSERT_NOTIFICATIONS, rows)


def _announce(transaction: Transaction, command: StoreNotification, plan: Plan, revision: int) -> None:
    """The plan's event, its timers, and its hint to live sessions."""
    draft, inbox = command.draft, plan.inbox
    event = Event(_EVENTS[plan.disposition], transaction.now, revision, plan.decisions)
    transaction.add_event(draft.tenant, draft.id, event)
    if plan.disposition is Disposition.SCHEDULED and draft.deliver_time is not None:
        transaction.add_timer(draft.tenant, TimerKind.DELIVER, draft.deliver_time, draft.recipient, draft.id)
    if plan.disposition is Disposition.STORED:
        if draft.expire_time is not None:
            transaction.add_timer(
                draft.tenant, TimerKind.EXPIRE, draft.expire_time, draft.recipient, draft.id
            )
        transaction.changes.append(
            InboxChange(
                draft.tenant,
                draft.recipient,
                inbox.incarnation,
                revision,
                inbox.counts,
                draft.category,
                command.content,
                command.envelope,
                command.trace,
                draft.expire_time,
            )
        )
