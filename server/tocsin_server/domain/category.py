"""Categories: what a sender's word for a kind of notification stands for."""

from enum import IntEnum

from tocsin_server.domain.notification import Channel, Priority
from tocsin_server.domain.time import DAY, Micros
from tocsin_server.domain.value import Value, field_names

MAX_CATEGORIES = 1_000
"""So many a tenant may define."""

INTERRUPTING = frozenset((Channel.PUSH, Channel.SMS))
"""Channels that quiet hours and throttles apply to unless others are named."""

LONGEST_WINDOW: Micros = 31 * DAY
"""Of a throttle; no slot has a bearing on anything once it has passed."""


class ThrottleScope(IntEnum):
    """What a throttle counts; numbered as in the contract."""

    CATEGORY = 1
    """A recipient's notifications of the category."""
    RECIPIENT = 2
    """A recipient's notifications of any category."""
    CHANNEL = 3
    """A recipient's deliveries on one channel, of any category: each of the throttle's channels by itself."""


class Overflow(IntEnum):
    """What becomes of a channel for which a throttle has no slot; numbered as in the contract."""

    DROP = 1
    DEFER = 2
    BATCH = 3


class Throttle(Value, frozen=True):
    """At most `max` in any half-open span of `window`, on these channels."""

    scope: ThrottleScope
    max: int
    window: Micros
    overflow: Overflow = Overflow.DROP
    channels: tuple[Channel, ...] = tuple(sorted(INTERRUPTING))


class Category(Value, frozen=True):
    """What holds for notifications of a category; with its name alone, what holds for one that is not defined."""

    name: str
    display_name: str = ""
    description: str = ""
    channels: tuple[Channel, ...] = (Channel.INBOX,)
    """Where a notification goes whose spec does not say."""
    mandatory: bool = False
    """No preference denies it, and nothing holds it up."""
    priority: Priority = Priority.NORMAL
    throttles: tuple[Throttle, ...] = ()
    retention: Micros | None = None
    """How long entries are kept; None: as long as the settings say, which is also the most."""
    create_time: Micros = 0
    update_time: Micros = 0


CATEGORY_FIELDS = frozenset(field_names(Category)) - {"name", "create_time", "update_time"}
"""What is said about a category."""
