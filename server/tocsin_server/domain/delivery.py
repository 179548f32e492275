"""Deliveries: what goes out on channels other than the inbox, one for each address, and how one gets on.

Each is claimed with a lease and a fencing token, which is committed; then its provider is called, with no transaction
open; then what came of the call is recorded. So a delivery is made at least once, and never forgotten.

    PENDING     waits for its due time            → CLAIMED, EXPIRED, SUPPRESSED, CANCELLED
    CLAIMED     its provider is being called      → SENT, FAILED, BOUNCED, DEAD, EXPIRED, CANCELLED
    FAILED      waits for its next attempt        → CLAIMED, EXPIRED, CANCELLED
    SENT        the provider has taken it         → DELIVERED, BOUNCED
    DELIVERED, BOUNCED, DEAD, SUPPRESSED, EXPIRED, CANCELLED are final.

A claim whose lease is over may be claimed anew: the delivery stays CLAIMED, under the next token.
"""

from enum import IntEnum
from hashlib import sha256

from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.content import Content
from tocsin_server.domain.notification import Channel, EventKind
from tocsin_server.domain.retry import GiveUp, RetryPolicy, retry
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, replace

DETAIL_MAX_CHARS = 512
MESSAGE_ID_MAX_CHARS = 256
"""Of what a provider says so much is kept."""

_KEY_DIGITS = 32


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


TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        (
            DeliveryState.CLAIMED,
            DeliveryState.EXPIRED,
            DeliveryState.SUPPRESSED,
            DeliveryState.CANCELLED,
        )
    ),
    DeliveryState.CLAIMED: frozenset(
        (
            DeliveryState.CLAIMED,
            DeliveryState.SENT,
            DeliveryState.FAILED,
            DeliveryState.BOUNCED,
            DeliveryState.DEAD,
            DeliveryState.EXPIRED,
            DeliveryState.CANCELLED,
        )
    ),
    DeliveryState.FAILED: frozenset((DeliveryState.CLAIMED, DeliveryState.EXPIRED, DeliveryState.CANCELLED)),
    DeliveryState.SENT: frozenset((DeliveryState.DELIVERED, DeliveryState.BOUNCED)),
}
"""What may follow each state; of one that is not named, nothing."""

OPEN = frozenset((DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.FAILED))
"""The states in which a provider may still be called."""

EVENTS: dict[DeliveryState, EventKind] = {
    DeliveryState.SENT: EventKind.DELIVERY_SENT,
    DeliveryState.DELIVERED: EventKind.DELIVERY_DELIVERED,
    DeliveryState.BOUNCED: EventKind.DELIVERY_BOUNCED,
    DeliveryState.FAILED: EventKind.DELIVERY_FAILED,
    DeliveryState.DEAD: EventKind.DELIVERY_DEAD,
    DeliveryState.SUPPRESSED: EventKind.DELIVERY_SUPPRESSED,
    DeliveryState.EXPIRED: EventKind.DELIVERY_EXPIRED,
    DeliveryState.CANCELLED: EventKind.DELIVERY_CANCELLED,
}
"""The step of the notification's life that reaching a state is."""


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
    """Waits for a timer of its notification, at which it meets the rules again."""
    body_id: int | None = None
    """The content that holds its ChannelBody; None: all of its body is derived from the notification's content."""
    expire_time: Micros | None = None


class Delivery(Value, frozen=True):
    """A delivery as it is stored. The order of fields is that of the columns read."""

    pk: int
    tenant: str
    notification_id: bytes
    recipient: str
    channel: Channel
    address: str
    provider: str
    create_time: Micros
    state: DeliveryState
    due_time: Micros
    """When it is or was to go out: planned, and after a failure, when it is tried again."""
    claim_time: Micros | None
    """From when on it may be claimed: of a CLAIMED one, the end of its lease. None: never, or not before a timer."""
    fence: int
    """The fencing token of the last claim; each claim raises it."""
    attempts: int
    """How many calls of its provider were begun."""
    body_id: int | None
    expire_time: Micros | None
    detail: str
    """What was said of it last, for people: by its provider, or why it ended."""
    message_id: str
    """What its provider calls it; empty: not said, or not taken."""
    change_time: Micros


class OutgoingMessage(Value, frozen=True):
    """What a provider is given: one attempt of one delivery."""

    tenant: str
    notification_id: bytes
    channel: Channel
    address: str
    body: ChannelBody
    content: Content
    """What the body was made from, for a channel that can show more than text."""
    idempotency_key: str
    attempt: int
    """1 for the first one."""
    expire_time: Micros | None
    trace_parent: str
    """Of the call that sent the notification; empty: it was not traced."""


# --- what came of a call ----------------------------------------------------------------------------------------------


class Sent(Value, frozen=True):
    """The provider has taken it."""

    message_id: str = ""
    """What the provider calls it."""


class Failed(Value, frozen=True):
    """It was not taken, or nobody knows; another attempt may do better."""

    detail: str
    retry_after: Micros | None = None
    """So long after the answer the provider wants to hear of it again, and not before."""


class Rejected(Value, frozen=True):
    """It was not taken, and no other attempt will be."""

    detail: str


class Bounced(Value, frozen=True):
    """The address does not take deliveries."""

    detail: str


Attempted = Sent | Failed | Rejected | Bounced
"""What came of one call of a provider."""


# --- policy -----------------------------------------------------------------------------------------------------------


def claimed(delivery: Delivery, policy: RetryPolicy, lease: Micros, now: Micros) -> Delivery:
    """What becomes of a delivery that can be claimed: CLAIMED for so long, unless its time or its attempts are over.

    They may be without a result of the last: whoever claimed it died, again and again.
    """
    if delivery.expire_time is not None and delivery.expire_time <= now:
        return _ended(delivery, DeliveryState.EXPIRED, "Its expire time has passed.", now)
    if delivery.attempts >= policy.max_attempts:
        reason = f"Given up after {delivery.attempts} attempts, the last of which did not come to an end."
        return _ended(delivery, DeliveryState.DEAD, reason, now)
    return replace(
        _moved(delivery, DeliveryState.CLAIMED, now),
        claim_time=now + lease,
        fence=delivery.fence + 1,
        attempts=delivery.attempts + 1,
    )


def recorded(
    delivery: Delivery, attempted: Attempted, policy: RetryPolicy, now: Micros, jitter: float
) -> Delivery:
    """What becomes of a CLAIMED delivery whose provider was called; for `jitter` see `retry`."""
    match attempted:
        case Sent():
            sent = _ended(delivery, DeliveryState.SENT, "", now)
            return replace(sent, message_id=_tidy(attempted.message_id, MESSAGE_ID_MAX_CHARS))
        case Bounced():
            return _ended(delivery, DeliveryState.BOUNCED, attempted.detail, now)
        case Rejected():
            return _ended(delivery, DeliveryState.DEAD, attempted.detail, now)
        case Failed():
            next = retry(policy, delivery.attempts, attempted.retry_after, delivery.expire_time, now, jitter)
            if isinstance(next, GiveUp):
                return _ended(delivery, DeliveryState.DEAD, f"{next.reason} {attempted.detail}", now)
            return replace(
                _moved(delivery, DeliveryState.FAILED, now),
                due_time=next.time,
                claim_time=next.time,
                detail=_tidy(attempted.detail, DETAIL_MAX_CHARS),
            )


def cancelled(delivery: Delivery, now: Micros) -> Delivery:
    """An open delivery whose notification is taken back. What its provider is just being told cannot be."""
    detail = (
        "Taken back while its provider was being called: it may have arrived."
        if delivery.state is DeliveryState.CLAIMED
        else "Taken back before it was sent."
    )
    return _ended(delivery, DeliveryState.CANCELLED, detail, now)


def expired(delivery: Delivery, now: Micros) -> Delivery:
    """An open delivery whose notification expires. A call that has begun may come to its end; none begins any more."""
    if delivery.state is DeliveryState.CLAIMED:
        return replace(delivery, expire_time=min(delivery.expire_time or now, now), change_time=now)
    return _ended(delivery, DeliveryState.EXPIRED, "Its notification has expired.", now)


def idempotency_key(tenant: str, notification_id: bytes, channel: Channel, address: str) -> str:
    """What a provider knows repeated attempts by: the same for all of a notification, channel and address."""
    text = f"{tenant}\0{notification_id.hex()}\0{int(channel)}\0{address}"
    return sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def _moved(delivery: Delivery, state: DeliveryState, now: Micros) -> Delivery:
    assert state in TRANSITIONS.get(delivery.state, ())
    return replace(delivery, state=state, change_time=now)


def _ended(delivery: Delivery, state: DeliveryState, detail: str, now: Micros) -> Delivery:
    """In a state in which its provider is not called again."""
    moved = _moved(delivery, state, now)
    return replace(moved, claim_time=None, detail=_tidy(detail, DETAIL_MAX_CHARS))


def _tidy(text: str, length: int) -> str:
    """One line of so many characters at most, all of which any database keeps and any terminal shows."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * length])
    return " ".join(line.split())[:length]
