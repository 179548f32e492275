"""StoreNotification: settles drafts under their recipients' locks and writes the plans, set-based."""

from collections.abc import Sequence
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.commands import SendReceipt, ShownContent, StoreNotification, TimerKind
from tocsin_server.domain.errors import DraftOutdated, QuotaExceeded, TocsinError
from tocsin_server.domain.inbox import InboxChange, Status
from tocsin_server.domain.notification import Disposition, Event, EventKind, NotificationState
from tocsin_server.domain.sending import Draft, Plan
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import replace
from tocsin_server.store.deliveries import add_bodies, add_deliveries, new_delivery
from tocsin_server.store.settling import Settling
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
        "spec",
        "has_deliveries",
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
    settling = Settling(transaction, (command.draft for command in commands))
    outcomes: list[SendReceipt | TocsinError] = []
    planned: list[tuple[StoreNotification, Plan]] = []
    for command in commands:
        draft = command.draft
        try:
            plan = settling.settle(draft, any_profile=command.any_profile)
            if plan.disposition is Disposition.SCHEDULED:
                transaction.usage.take_pending(draft.tenant, 1)
        except (QuotaExceeded, DraftOutdated) as error:
            outcomes.append(error.with_traceback(None))
            continue
        transaction.keep(plan.inbox)
        planned.append((command, plan))
        outcomes.append(
            SendReceipt(
                draft.id,
                plan.disposition,
                plan.inbox.incarnation if plan.entered else None,
                plan.inbox.revision if plan.entered else 0,
                plan.decisions,
            )
        )
    settling.write()
    _write(transaction, planned)
    return outcomes


def _write(transaction: Transaction, planned: Sequence[tuple[StoreNotification, Plan]]) -> None:
    kept = [
        command.shown.content for command, plan in planned if plan.disposition is not Disposition.SUPPRESSED
    ]
    content_ids = iter(transaction.add_contents(kept))
    rows: list[tuple[Any, ...]] = []
    for command, plan in planned:
        draft = command.draft
        revision = plan.inbox.revision if plan.entered else 0
        rows.append(
            (
                draft.tenant,
                draft.id,
                draft.recipient,
                draft.category,
                int(draft.priority),
                draft.thread,
                int(_STATES[plan.disposition]),
                int(Status.UNSEEN) if plan.entered else None,
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
                _kept_spec(command) if _is_needed_later(plan) else None,
                int(bool(plan.deliveries)),
            )
        )
        _announce(transaction, command, plan, revision)
    transaction.connection.insert(_INSERT_NOTIFICATIONS, rows)


def _kept_spec(command: StoreNotification) -> bytes:
    """What was said, with the priority that it was given: that is part of what was encoded."""
    return msgpack.encode(replace(command.spec, priority=command.draft.priority))


def _is_needed_later(plan: Plan) -> bool:
    """Whether what the sender said is asked for again: when it is due, or when it goes out."""
    return plan.disposition is Disposition.SCHEDULED or bool(plan.deliveries)


def _announce(transaction: Transaction, command: StoreNotification, plan: Plan, revision: int) -> None:
    """The plan's event, its timers and deliveries, and its hint to live sessions."""
    draft = command.draft
    event = Event(_EVENTS[plan.disposition], transaction.now, revision, plan.decisions)
    transaction.add_event(draft.tenant, draft.id, event)
    if plan.disposition is Disposition.SCHEDULED and draft.deliver_time is not None:
        transaction.add_timer(draft.tenant, TimerKind.DELIVER, draft.deliver_time, draft.recipient, draft.id)
    if plan.disposition is not Disposition.STORED:
        return
    if plan.deliveries:
        send_out(transaction, draft, plan, command.shown)
    expire_time = expire_time_of(draft, transaction.now)
    if expire_time is not None:
        transaction.add_timer(draft.tenant, TimerKind.EXPIRE, expire_time, draft.recipient, draft.id)
    if plan.entered:
        announce_entry(transaction, draft, plan, command.shown.content, command.envelope, command.trace)


def expire_time_of(draft: Draft, entered: Micros) -> Micros | None:
    """When it expires by what its sender or its category says; None: when its retention by the settings is over."""
    keep_until = None if draft.retention is None else entered + draft.retention
    times = [time for time in (draft.expire_time, keep_until) if time is not None]
    return min(times, default=None)


def announce_entry(
    transaction: Transaction, draft: Draft, plan: Plan, content: bytes, envelope: bytes, trace: bytes
) -> None:
    """A new entry's hint to live sessions."""
    inbox = plan.inbox
    transaction.changes.append(
        InboxChange(
            draft.tenant,
            draft.recipient,
            inbox.incarnation,
            inbox.revision,
            inbox.counts,
            draft.category,
            content,
            envelope,
            trace,
            draft.expire_time,
        )
    )


def send_out(transaction: Transaction, draft: Draft, plan: Plan, shown: ShownContent) -> None:
    """Writes a plan's deliveries, what they show where that differs, and timers for those that wait."""
    body_ids = add_bodies(transaction, shown.bodies, {planned.channel for planned in plan.deliveries})
    add_deliveries(
        transaction,
        [new_delivery(draft, planned, body_ids.get(planned.channel)) for planned in plan.deliveries],
    )
    release_later(transaction, draft, plan)


def release_later(transaction: Transaction, draft: Draft, plan: Plan) -> None:
    """A timer for each time at which deferred deliveries meet the rules again."""
    for due_time in sorted({planned.due_time for planned in plan.deliveries if planned.deferred}):
        transaction.add_timer(draft.tenant, TimerKind.RELEASE, due_time, draft.recipient, draft.id)
