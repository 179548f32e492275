"""Deliveries, as GetNotification shows them."""

from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as service_pb
from tocsin_server.domain.delivery import Delivery, idempotency_key
from tocsin_server.rpc.convert.times import timestamp


def delivery_message(delivery: Delivery) -> service_pb.Delivery:
    """One delivery and how it has got on."""
    key = idempotency_key(delivery.tenant, delivery.notification_id, delivery.channel, delivery.address)
    return service_pb.Delivery(
        channel=pb.Channel.ValueType(delivery.channel),
        address=delivery.address,
        provider=delivery.provider,
        state=service_pb.DeliveryState.ValueType(delivery.state),
        due_time=timestamp(delivery.due_time),
        attempt_count=delivery.attempts,
        detail=delivery.detail,
        message_id=delivery.message_id,
        idempotency_key=key,
        update_time=timestamp(delivery.change_time),
    )
