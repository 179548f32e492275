"""The two halves of a Send's decision: `draft` before the transaction, `settle` inside it.

`draft` uses what changes slowly and is versioned. `settle` uses what two racing sends could both get wrong, and so runs
under the recipient's lock. Both are pure; together they are everything that is decided about a notification.
"""

from tocsin_server.domain.inbox import Inbox, Status
from tocsin_server.domain.notification import (
    Channel,
    Decision,
    Disposition,
    NotificationSpec,
    Outcome,
    Priority,
    Rule,
)
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, replace


class CategoryProfile(Value, frozen=True):
    """What a category says where a spec does not; these are the values of one that is not defined."""

    priority: Priority = Priority.NORMAL
    channels: tuple[Channel, ...] = (Channel.INBOX,)


UNDEFINED_CATEGORY = CategoryProfile()


class Draft(Value, frozen=True):
    """A notification as it stands before the recipient is locked."""

    id: bytes
    tenant: str
    recipient: str
    category: str
    priority: Priority
    channels: tuple[Channel, ...]
    thread: str
    create_time: Micros
    deliver_time: Micros | None
    """None: at once."""
    expire_time: Micros | None


class Plan(Value, frozen=True):
    """What is to be written for a draft."""

    disposition: Disposition
    inbox: Inbox
    """The inbox afterwards; its revision is the entry's when there is one."""
    decisions: tuple[Decision, ...] = ()


def draft(id: bytes, tenant: str, spec: NotificationSpec, category: CategoryProfile, now: Micros) -> Draft:
    """The spec with everything filled in that does not need the recipient's lock."""
    deliver_time = spec.deliver_time if spec.deliver_delay is None else now + spec.deliver_delay
    return Draft(
        id,
        tenant,
        spec.recipient,
        spec.category,
        spec.priority or category.priority,
        spec.channels or category.channels,
        spec.thread,
        now,
        deliver_time if deliver_time is not None and deliver_time > now else None,
        spec.expire_time,
    )


def settle(draft: Draft, inbox: Inbox, now: Micros) -> Plan:
    """What becomes of a draft, in the order that the contract gives: expiry, a time in the future, the inbox."""
    if draft.expire_time is not None and draft.expire_time <= now:
        decision = Decision(
            Rule.EXPIRY, "spec", "expire_time", Outcome.SUPPRESSED, "The expire time has passed."
        )
        return Plan(Disposition.SUPPRESSED, inbox, (decision,))
    if draft.deliver_time is not None and draft.deliver_time > now:
        return Plan(Disposition.SCHEDULED, inbox, (_scheduled(draft.deliver_time),))
    counts = inbox.counts.moved(None, Status.UNSEEN)
    return Plan(Disposition.STORED, replace(inbox, revision=inbox.revision + 1, counts=counts))


def _scheduled(deliver_time: Micros) -> Decision:
    return Decision(
        Rule.SCHEDULE,
        "spec",
        "deliver_time",
        Outcome.DEFERRED,
        "Kept until its deliver time.",
        due_time=deliver_time,
    )
