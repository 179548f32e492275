"""Deliveries as rows: planned, claimed, recorded, and closed with their notification."""

from collections.abc import Sequence

from tocsin_server.domain.delivery import DeliveryState, NewDelivery
from tocsin_server.store.sql import Insert
from tocsin_server.store.transaction import Transaction

_INSERT = Insert(
    "deliveries",
    (
        "tenant",
        "notification_id",
        "recipient",
        "channel",
        "address",
        "provider",
        "state",
        "due_time",
        "claim_time",
        "fence",
        "attempts",
        "body_id",
        "expire_time",
        "detail",
        "message_id",
        "create_time",
        "change_time",
    ),
)


def add_deliveries(transaction: Transaction, deliveries: Sequence[NewDelivery]) -> None:
    """Writes deliveries that were planned. The rows of their notifications say `has_deliveries`."""
    transaction.connection.insert(
        _INSERT,
        [
            (
                delivery.tenant,
                delivery.notification_id,
                delivery.recipient,
                int(delivery.channel),
                delivery.address,
                delivery.provider,
                int(DeliveryState.PENDING),
                delivery.due_time,
                None if delivery.deferred else delivery.due_time,
                0,
                0,
                delivery.body_id,
                delivery.expire_time,
                "",
                "",
                transaction.now,
                transaction.now,
            )
            for delivery in deliveries
        ],
    )
    for delivery in deliveries:
        if not delivery.deferred:
            transaction.wake_deliveries(delivery.due_time)
