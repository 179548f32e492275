"""What goes out on other channels than the inbox, as GetNotification and GetStatus show it."""

from collections.abc import Iterator

import pytest

from tests.contract.conftest import Start, Tocsin
from tests.support.deliveries import PlanDeliveries, planning
from tests.support.waiting import eventually
from tocsin.v1 import notification_service_pb2 as pb
from tocsin.v1 import system_service_pb2 as system
from tocsin.v1.notification_pb2 import CHANNEL_EMAIL, CHANNEL_SMS, NotificationIds
from tocsin_server.domain.delivery import NewDelivery
from tocsin_server.domain.ids import parse_id
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.time import HOUR


@pytest.fixture(autouse=True)
def known_command() -> Iterator[None]:
    with planning():
        yield


async def planned(tocsin: Tocsin, *channels: Channel, in_time: int = 0) -> str:
    """A notification that goes to an address on each of the channels; its id."""
    id = (await tocsin.send()).notification_id
    due_time = tocsin.clock.now() + in_time
    deliveries = tuple(
        NewDelivery("default", parse_id(id), "ada", channel, "ada's", "log", due_time) for channel in channels
    )
    await tocsin.server.store.writer.submit((PlanDeliveries(tenant="default", deliveries=deliveries),))
    return id


async def get(tocsin: Tocsin, id: str) -> pb.GetNotificationResponse:
    return await tocsin.notifications.GetNotification(pb.GetNotificationRequest(notification_id=id))


async def ended(tocsin: Tocsin, id: str) -> pb.GetNotificationResponse:
    """The notification, once none of its deliveries waits or is under way."""

    async def look() -> pb.GetNotificationResponse | None:
        found = await get(tocsin, id)
        open = {pb.DELIVERY_STATE_PENDING, pb.DELIVERY_STATE_CLAIMED}
        return None if open & {delivery.state for delivery in found.deliveries} else found

    found = await eventually(look, "the deliveries to end")
    assert found is not None
    return found


async def test_deliveries_show_with_their_notification(start: Start) -> None:
    tocsin = await start(log_channels="email")
    id = await planned(tocsin, Channel.EMAIL, Channel.SMS)
    found = await ended(tocsin, id)
    email, sms = found.deliveries
    assert (email.channel, email.address, email.provider) == (CHANNEL_EMAIL, "ada's", "log")
    assert (email.state, email.attempt_count, email.detail) == (pb.DELIVERY_STATE_SENT, 1, "")
    assert email.due_time.ToNanoseconds() <= email.update_time.ToNanoseconds()
    # Planned while another process had the provider enabled.
    assert (sms.state, sms.detail) == (pb.DELIVERY_STATE_FAILED, "The provider log is not enabled.")
    assert sms.due_time.ToNanoseconds() > sms.update_time.ToNanoseconds()
    assert email.idempotency_key
    assert email.idempotency_key != sms.idempotency_key
    steps = {(event.kind, event.channel, event.detail) for event in found.timeline if event.channel}
    assert steps == {
        (pb.TIMELINE_EVENT_KIND_DELIVERY_SENT, CHANNEL_EMAIL, ""),
        (pb.TIMELINE_EVENT_KIND_DELIVERY_FAILED, CHANNEL_SMS, sms.detail),
    }


async def test_a_cancelled_notification_goes_nowhere(start: Start) -> None:
    tocsin = await start(log_channels="email")
    id = await planned(tocsin, Channel.EMAIL, in_time=HOUR)
    request = pb.CancelNotificationsRequest(notifications=NotificationIds(ids=[id]))
    await tocsin.notifications.CancelNotifications(request)
    (delivery,) = (await get(tocsin, id)).deliveries
    assert (delivery.state, delivery.detail) == (
        pb.DELIVERY_STATE_CANCELLED,
        "Taken back before it was sent.",
    )


async def test_the_status_tells_what_is_due(tocsin: Tocsin) -> None:
    status = await tocsin.system.GetStatus(system.GetStatusRequest())
    assert "deliveries" in {component.name for component in status.components}
    (queue,) = (queue for queue in status.queues if queue.name == "deliveries")
    assert (queue.depth, queue.bytes) == (0, 0)
