"""Broadcasts: one notification for many recipients, decided once a class of them."""

from enum import IntEnum

from tocsin_server.domain.audience import Audience
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.notification import Decision, Disposition, NotificationSpec, Outcome
from tocsin_server.domain.sending import Draft, Plan, settle
from tocsin_server.domain.time import MINUTE, Micros
from tocsin_server.domain.value import Value, field, replace

MAX_UNFINISHED = 100
"""Broadcasts of a tenant that are not finished."""


class BroadcastState(IntEnum):
    """The life of a broadcast; numbered as in the contract. PENDING → RUNNING → the others, which are final."""

    PENDING = 1
    RUNNING = 2
    COMPLETED = 3
    CANCELLED = 4
    FAILED = 5

    @property
    def final(self) -> bool:
        """Whether nothing can change it any more."""
        return self >= BroadcastState.COMPLETED


class Progress(Value, frozen=True):
    """How far a broadcast has got, in recipients."""

    targeted: int = 0
    """How many the audience has; 0: not counted yet."""
    processed: int = 0
    delivered: int = 0
    deferred: int = 0
    """Of those delivered: how many get it on some channel later."""
    failed: int = 0
    """For how many it could not be drawn up."""
    suppressed: dict[int, int] = field(default_factory=dict)
    """How many did not get it, by the number of the Rule."""

    def after(self, disposition: Disposition, decisions: tuple[Decision, ...], count: int) -> "Progress":
        """The progress once this has become of so many recipients' notifications."""
        processed = self.processed + count
        if disposition is Disposition.SUPPRESSED:
            rule = suppressed_by(decisions)
            counts = self.suppressed | {rule: self.suppressed.get(rule, 0) + count}
            return replace(self, processed=processed, suppressed=counts)
        deferred = any(decision.outcome is Outcome.DEFERRED for decision in decisions)
        return replace(
            self,
            processed=processed,
            delivered=self.delivered + count,
            deferred=self.deferred + deferred * count,
        )


class Broadcast(Value, frozen=True):
    """A broadcast, but for what it shows."""

    id: bytes
    tenant: str
    audience: Audience
    spec: NotificationSpec
    """Without a recipient."""
    state: BroadcastState
    progress: Progress
    create_time: Micros
    """Fixes the audience."""
    start_time: Micros
    """When it begins; that of every notification's creation."""
    finish_time: Micros | None = None
    failure: str = ""


class ClassMode(IntEnum):
    """How a broadcast reaches the recipients of a class. Stored: never renumber."""

    SHARED = 1
    """All get the same entry, and nothing else."""
    SUPPRESSED = 2
    """None gets anything."""
    PERSONAL = 3
    """Each is drafted and settled by itself: addresses, throttles, templates about it."""


class ClassPlan(Value, frozen=True):
    """What was decided about a class."""

    mode: ClassMode
    plan: Plan
    valid_until: Micros
    """By then it is decided anew."""


def settle_class(draft: Draft, now: Micros, *, personal: bool) -> ClassPlan:
    """What becomes of a draft for a class: by `settle` of an inbox and a recipient that have nothing yet.

    It holds within a minute, at whose end quiet hours may begin or end, and until the notification expires. `personal`:
    what it shows is not the same for all.
    """
    plan = settle(draft, Inbox(draft.tenant, draft.recipient, b""), (), now)
    valid_until = now - now % MINUTE + MINUTE
    if draft.expire_time is not None and draft.expire_time > now:
        valid_until = min(valid_until, draft.expire_time)
    if plan.disposition is Disposition.SUPPRESSED:
        return ClassPlan(ClassMode.SUPPRESSED, plan, valid_until)
    shared = plan.entered and not plan.deliveries and not draft.takes_slots and not personal
    return ClassPlan(ClassMode.SHARED if shared else ClassMode.PERSONAL, plan, valid_until)


def suppressed_by(decisions: tuple[Decision, ...]) -> int:
    """The number of the rule that is named as the reason: that of the first decision against a channel."""
    return next((int(each.rule) for each in decisions if each.outcome is Outcome.SUPPRESSED), 0)
