"""Claiming deliveries, and recording what came of them."""

from enum import IntEnum

from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands.command import Command
from tocsin_server.domain.delivery import Attempted, Delivery
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class ClaimedDelivery(Value, frozen=True):
    """A delivery that is the caller's until its lease ends, and all that its provider is to be told."""

    delivery: Delivery
    body: ChannelBody | None
    """None: to be derived from the content."""
    content: bytes | None
    """The notification's, encoded; None once it is gone."""
    trace: bytes
    """The notification's encoded field `trace_parent`."""


class ClaimReceipt(Value, frozen=True):
    """The deliveries that were claimed, earliest first."""

    deliveries: tuple[ClaimedDelivery, ...]
    closed_count: int
    """How many that could be claimed had expired, or had had all their attempts."""


class ClaimDeliveries(Command[ClaimReceipt], frozen=True, kw_only=True):
    """Claims up to `limit` deliveries for as long as `lease`, by the store's clock.

    Those that others are claiming at the same time are passed over, those of suspended tenants wait.
    """

    limit: int
    lease: Micros


class RecordOutcome(IntEnum):
    """What became of the result of a call."""

    RECORDED = 1
    OVERTAKEN = 2
    """The lease had ended, and the delivery was claimed anew: nothing was changed."""
    CLOSED = 3
    """It is not under way any more, as when it was cancelled meanwhile, or is gone: nothing was changed."""


class RecordDelivery(Command[RecordOutcome], frozen=True, kw_only=True):
    """Records what came of a call, for the claim with this fencing token."""

    pk: int
    notification_id: bytes
    fence: int
    attempted: Attempted
    jitter: float
    """Random, from 0 to below 1: spreads what is tried again."""
