"""Fault 14: the clocks of two replicas are an hour off, one each way. What happens at a time goes by the database's."""

import random
import time
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from tests.support.calls import ask, channel_to
from tests.support.fleet import Fleet
from tests.support.load import Load, make_item
from tests.support.shims import preloading
from tests.support.waiting import eventually
from tests.support.wire import ack_of
from tocsin.v1.notification_service_pb2 import SendRequest
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub

HOUR_S = 3_600
DELAY_S = 3.0
DEFERRED = 60
EARLY_S, LATE_S = 0.2, 5.0


async def test_deferred_sends_come_once_and_in_time(
    tmp_path: Path, clockskew_shim: Path, rng: random.Random
) -> None:
    skewed = [
        {},
        *({**preloading(clockskew_shim), "CLOCK_SKEW_SECONDS": str(skew)} for skew in (HOUR_S, -HOUR_S)),
    ]
    async with Fleet(tmp_path, environments=skewed) as fleet, Load(fleet.addresses, rng) as load:
        await load.subscribed()
        sent_at: dict[str, float] = {}
        for number in range(DEFERRED):
            item = make_item(f"deferred-{number}", rng.choice(load.recipients))
            item.notification.deliver_delay.CopyFrom(Duration(seconds=int(DELAY_S)))
            load.oracle.asked(item.request_id, item.notification.recipient)
            async with channel_to(rng.choice(fleet.addresses)) as channel:
                request = SendRequest(request_id=item.request_id, notification=item.notification)
                sent_at[item.request_id] = time.monotonic()
                reply = await ask(NotificationServiceStub(channel).Send, request)
            assert ack_of(reply.result).disposition == "SCHEDULED"
        arrived: dict[str, float] = {}

        def all_arrived() -> bool:
            for recipient in load.recipients:
                for entry in load.oracle.entries(load.subscribers[0].name, recipient).values():
                    arrived.setdefault(entry.request_id, time.monotonic())
            return len(arrived) == DEFERRED

        await eventually(all_arrived, "all that was deferred", DELAY_S + LATE_S + 10)
        for request_id, at in arrived.items():
            assert DELAY_S - EARLY_S < at - sent_at[request_id] < DELAY_S + LATE_S, request_id
        assert await load.violations() == []
