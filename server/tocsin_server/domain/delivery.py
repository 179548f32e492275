"""Deliveries: what goes out on channels other than the inbox, an address each, and how one gets on.

Each is claimed with a lease and a fencing token, which is committed; then its provider is called, with no transaction
open; then what came of it is recorded. So a delivery is made at least once, and never forgotten.

    PENDING    waits for its due time          → CLAIMED, EXPIRED, SUPPRESSED, CANCELLED
    CLAIMED    a provider is being called      → SENT, FAILED, BOUNCED, DEAD, EXPIRED, CANCELLED
    FAILED     waits for its next attempt      → CLAIMED, DEAD, EXPIRED, CANCELLED
    SENT       the provider has taken it       → DELIVERED, BOUNCED
    DELIVERED, BOUNCED, DEAD, EXPIRED, SUPPRESSED, CANCELLED are final.

A claim whose lease is over is taken over: the delivery stays CLAIMED, under the next token.
"""

from enum import IntEnum

from tocsin_server.domain.notification import Channel
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class DeliveryState(IntEnum):
    """The life of a delivery; numbered as in the contract."""

    PENDING = 1
    CLAIMED = 2
    SENT = 3
    DELIVERED = 4
    BOUNCED = 5
    FAILED = 6
    DEAD = 7
    SUPPRESSED = 8
    EXPIRED = 9
    CANCELLED = 10


class NewDelivery(Value, frozen=True):
    """A delivery as it was planned."""

    tenant: str
    notification_id: bytes
    recipient: str
    channel: Channel
    address: str
    provider: str
    """The name of the provider that is to be called."""
    due_time: Micros
    deferred: bool = False
    """Waits for a timer of its notification, at which the rules are met again."""
    body_id: int | None = None
    """The content that holds its ChannelBody; None: its body is derived from the notification's content."""
    expire_time: Micros | None = None
