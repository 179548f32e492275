"""What is counted is what exporters see."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tests.support.waiting import eventually
from tocsin_server.domain.time import SECOND
from tocsin_server.service.metrics import LoopLag, Metrics
from tocsin_server.service.ports import QueueDepth


class Exported:
    """Metrics, and what a collector would get of them."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.metrics = Metrics(self.provider.get_meter("test"))

    def points(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def values(self) -> dict[str, float]:
        return {name: point.value for name, (point,) in self.points().items() if hasattr(point, "value")}


def test_counters_are_read_when_they_are_collected() -> None:
    exported = Exported()
    exported.metrics.hub_deliveries += 1_000
    exported.metrics.buffer_drops += 1
    first = exported.values()
    exported.metrics.buffer_drops += 2
    second = exported.values()
    assert (first["tocsin.hub.deliveries"], first["tocsin.stream.catch_ups"]) == (1_000, 0)
    assert (first["tocsin.stream.buffer_drops"], second["tocsin.stream.buffer_drops"]) == (1, 3)


def test_attempts_are_told_apart_by_channel_and_outcome() -> None:
    exported = Exported()
    attempts = Counter({("email", "sent"): 3, ("sms", "failed"): 1})
    exported.metrics.observe_deliveries(attempts, lambda: 2 * SECOND)
    attempts["sms", "failed"] += 1
    points = exported.points()
    counted = {
        (point.attributes["tocsin.channel"], point.attributes["tocsin.delivery.outcome"]): point.value
        for point in points["tocsin.delivery.attempts"]
    }
    assert counted == {("email", "sent"): 3, ("sms", "failed"): 2}
    (lag,) = points["tocsin.deliveries.lag"]
    assert lag.value == 2


def test_groups_have_sizes_and_durations() -> None:
    exported = Exported()
    exported.metrics.group_committed(100, 0.003)
    exported.metrics.group_committed(1, 0.001)
    points = exported.points()
    (size,), (seconds,) = points["tocsin.writer.group.size"], points["tocsin.writer.group.duration"]
    assert (size.count, size.sum, size.max) == (2, 101, 100)
    assert (seconds.count, seconds.max) == (2, 0.003)


def test_what_varies_is_asked_for() -> None:
    exported = Exported()
    depth = QueueDepth(7, 900, 3 * SECOND // 2)
    exported.metrics.observe_queue("writer", lambda: depth)
    exported.metrics.observe_sessions(lambda: 2, lambda: 20)
    exported.metrics.observe_lag(lambda: SECOND // 4, lambda: 0)
    values = exported.values()
    assert (values["tocsin.queue.size"], values["tocsin.queue.bytes"], values["tocsin.queue.age"]) == (
        7,
        900,
        1.5,
    )
    assert (values["tocsin.sessions"], values["tocsin.session.recipients"]) == (2, 20)
    assert (values["tocsin.event_loop.lag"], values["tocsin.timers.lag"]) == (0.25, 0)
    (point,) = exported.points()["tocsin.queue.size"]
    assert point.attributes == {"tocsin.queue.name": "writer"}


def test_without_a_provider_it_still_counts() -> None:
    metrics = Metrics(NoOpMeterProvider().get_meter("test"))
    metrics.catch_ups += 1
    metrics.group_committed(1, 0.1)
    assert metrics.catch_ups == 1


async def test_a_loop_that_is_held_up_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_server.service.metrics._LAG_INTERVAL_S", 0.01)
    lag = LoopLag()
    assert lag.worst() == 0
    watching = asyncio.create_task(lag.run())
    await asyncio.sleep(0)  # it has begun to watch
    held_from = time.monotonic()
    while time.monotonic() - held_from < 0.05:
        pass
    await eventually(lambda: lag.worst() >= SECOND // 25, "the delay to show")
    watching.cancel()
