"""What a sender says, what was decided about it, and the states a notification goes through."""

from enum import IntEnum
from typing import Any

from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, field


class Priority(IntEnum):
    """How urgent a notification is; numbered as in the contract."""

    UNSPECIFIED = 0
    LOW = 1
    NORMAL = 2
    HIGH = 3
    URGENT = 4


class Channel(IntEnum):
    """Where a notification is shown; numbered as in the contract."""

    INBOX = 1
    EMAIL = 2
    PUSH = 3
    SMS = 4
    WEBHOOK = 5
    CHAT = 6


class NotificationState(IntEnum):
    """The life of a notification; numbered as in the contract.

    SCHEDULED → STORED | SUPPRESSED | CANCELLED | EXPIRED; STORED → RETRACTED | EXPIRED. The others are final.
    """

    SCHEDULED = 1
    STORED = 2
    BATCHED = 3
    SUPPRESSED = 4
    CANCELLED = 5
    RETRACTED = 6
    EXPIRED = 7

    @property
    def final(self) -> bool:
        """Whether nothing can change it any more."""
        return self > NotificationState.BATCHED


class Disposition(IntEnum):
    """What became of a spec when it was accepted; numbered as in the contract."""

    STORED = 1
    SCHEDULED = 2
    BATCHED = 3
    SUPPRESSED = 4


class Rule(IntEnum):
    """The kind of rule that took a decision; numbered as in the contract."""

    PREFERENCE = 1
    MANDATORY = 2
    QUIET_HOURS = 3
    THROTTLE = 4
    BATCH = 5
    EXPERIMENT = 6
    EXPIRY = 7
    DUPLICATE = 8
    NO_ADDRESS = 9
    NO_PROVIDER = 10
    SCHEDULE = 11
    CHANNELS = 12


class Outcome(IntEnum):
    """What a rule decided; numbered as in the contract."""

    ALLOWED = 1
    SUPPRESSED = 2
    DEFERRED = 3
    BATCHED = 4


class EventKind(IntEnum):
    """One step of a notification's life; numbered as in the contract."""

    STORED = 1
    SCHEDULED = 2
    SUPPRESSED = 3
    CANCELLED = 4
    RETRACTED = 5
    REVISED = 6
    EXPIRED = 7
    SEEN = 8
    READ = 9
    UNREAD = 10
    ARCHIVED = 11
    UNARCHIVED = 12
    SNOOZED = 13
    UNSNOOZED = 14
    OPENED = 15
    CLICKED = 16
    DISMISSED = 17
    CONVERTED = 18
    DELIVERY_DEFERRED = 19
    DELIVERY_SUPPRESSED = 20
    DELIVERY_SENT = 21
    DELIVERY_DELIVERED = 22
    DELIVERY_FAILED = 23
    DELIVERY_BOUNCED = 24
    DELIVERY_DEAD = 25
    DELIVERY_EXPIRED = 26
    DELIVERY_CANCELLED = 27


class Decision(Value, frozen=True):
    """What one rule decided, and why."""

    rule: Rule
    layer: str
    """Which layer won: spec, recipient, tenant, category, policy, settings."""
    key: str
    """The key of the rule within its layer."""
    outcome: Outcome
    text: str
    """One sentence for people."""
    channel: Channel | None = None
    """None: all of them."""
    due_time: Micros | None = None


class Actor(Value, frozen=True):
    """Who or what caused a notification."""

    id: str
    name: str = ""
    avatar_url: str = ""


class ChannelOverride(Value, frozen=True):
    """What differs on one channel; empty: nothing."""

    channel: Channel
    subject: str = ""
    from_name: str = ""
    sound: str = ""
    text: str = ""


class TemplateRef(Value, frozen=True):
    """A template to render."""

    name: str
    version: int = 0
    """0: the active one."""
    data: dict[str, Any] = field(default_factory=dict)
    """Variables, as JSON has them."""


class NotificationSpec(Value, frozen=True):
    """What a sender says, but for what is shown where it is said in place."""

    recipient: str
    category: str
    priority: Priority = Priority.UNSPECIFIED
    channels: tuple[Channel, ...] = ()
    deliver_time: Micros | None = None
    deliver_delay: Micros | None = None
    expire_time: Micros | None = None
    thread: str = ""
    actor: Actor | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    template: TemplateRef | None = None
    """What is rendered for the recipient; None: the content was said in place."""
    overrides: tuple[ChannelOverride, ...] = ()


class Event(Value, frozen=True):
    """One step of a notification's life, as it is kept."""

    kind: EventKind
    time: Micros
    revision: int = 0
    """The revision that the entry took; 0: none."""
    decisions: tuple[Decision, ...] = ()
    action_id: str = ""
    inputs: dict[str, str] = field(default_factory=dict)
    channel: Channel | None = None
    """Of a delivery's step."""
    detail: str = ""
    """What a provider said, for people."""
