"""What the server counts about itself.

What happens often is counted in plain integers, which exporters read when they collect: that costs the same few
nanoseconds whether anyone collects or not, where an OpenTelemetry counter takes 3 µs. Only a commit is timed with a
histogram, once for a whole group.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import BusFigures, QueueDepth

_GROUP_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
_GROUP_SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

_LAG_INTERVAL_S = 0.1
_LAG_WINDOW_S = 10


class Metrics:
    """The server's own metrics. Counters are incremented in place: `metrics.catch_ups += 1`, each on one thread."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.hub_deliveries = 0
        self._counter(
            "tocsin.hub.deliveries",
            "{change}",
            "Changes that the hub handed to a session.",
            lambda: self.hub_deliveries,
        )
        self.live_pushes = 0
        self._counter(
            "tocsin.stream.pushes",
            "{notification}",
            "Notifications written to a stream.",
            lambda: self.live_pushes,
        )
        self.stream_writes = 0
        self._counter(
            "tocsin.stream.writes", "{message}", "Messages written to a stream.", lambda: self.stream_writes
        )
        self.catch_ups = 0
        self._counter(
            "tocsin.stream.catch_ups",
            "{catch_up}",
            "Times that a session read what it lacked from storage.",
            lambda: self.catch_ups,
        )
        self.buffer_drops = 0
        self._counter(
            "tocsin.stream.buffer_drops",
            "{drop}",
            "Times that a session's buffer overflowed.",
            lambda: self.buffer_drops,
        )
        self.storage_errors = 0
        self._counter(
            "tocsin.storage.errors",
            "{error}",
            "Times that storage did not do what it was asked.",
            lambda: self.storage_errors,
        )
        self._group_sizes = meter.create_histogram(
            "tocsin.writer.group.size",
            "{command}",
            "Commands in one transaction.",
            explicit_bucket_boundaries_advisory=_GROUP_SIZES,
        )
        self._group_seconds = meter.create_histogram(
            "tocsin.writer.group.duration",
            "s",
            "From the begin of a transaction to its commit on disk.",
            explicit_bucket_boundaries_advisory=_GROUP_SECONDS,
        )

    def group_committed(self, commands: int, seconds: float) -> None:
        """One transaction was committed. From any thread."""
        self._group_sizes.record(commands)
        self._group_seconds.record(seconds)

    def observe_queue(self, name: str, depth: Callable[[], QueueDepth]) -> None:
        """Shows what waits in a queue. `depth` is called from other threads, as are all sources below."""
        attributes = {"tocsin.queue.name": name}
        self._gauge("tocsin.queue.size", "{command}", "What waits.", lambda: depth().commands, attributes)
        self._gauge("tocsin.queue.bytes", "By", "Bytes that wait.", lambda: depth().bytes, attributes)
        self._gauge(
            "tocsin.queue.age", "s", "Age of the oldest.", lambda: depth().oldest_age / SECOND, attributes
        )

    def observe_sessions(self, sessions: Callable[[], int], recipients: Callable[[], int]) -> None:
        """Shows how many streams are open and how many recipients they follow."""
        self._gauge("tocsin.sessions", "{session}", "Open streams.", sessions)
        self._gauge(
            "tocsin.session.recipients", "{recipient}", "Recipients followed by open streams.", recipients
        )

    def observe_hub(self, backlog: Callable[[], int]) -> None:
        """Shows how far offering is behind committing."""
        self._gauge("tocsin.hub.backlog", "{change}", "Changes that wait to be offered to sessions.", backlog)

    def observe_lag(self, event_loop: Callable[[], Micros], timers: Callable[[], Micros]) -> None:
        """Shows how late the event loop was at worst in the last 10 s, and how late due timers are."""
        self._gauge(
            "tocsin.event_loop.lag", "s", "Of the last 10 s, at worst.", lambda: event_loop() / SECOND
        )
        self._gauge("tocsin.timers.lag", "s", "Of the timers that are due.", lambda: timers() / SECOND)

    def observe_deliveries(self, attempts: Mapping[tuple[str, str], int], lag: Callable[[], Micros]) -> None:
        """Shows calls of providers, by the names of channel and outcome, and how late deliveries that are due are."""

        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(count, {"tocsin.channel": channel, "tocsin.delivery.outcome": outcome})
                for (channel, outcome), count in tuple(attempts.items())
            ]

        self._meter.create_observable_counter(
            "tocsin.delivery.attempts", [observe], "{attempt}", "Calls of providers, by what came of them."
        )
        self._gauge(
            "tocsin.deliveries.lag", "s", "Of the delivery that is due the longest.", lambda: lag() / SECOND
        )

    def observe_bus(self, figures: BusFigures) -> None:
        """Shows what goes over the bus."""
        self._counter(
            "tocsin.bus.published", "{message}", "Messages to other replicas.", lambda: figures.published
        )
        self._counter(
            "tocsin.bus.received", "{message}", "Messages of other replicas.", lambda: figures.received
        )
        self._counter(
            "tocsin.bus.dropped",
            "{message}",
            "Messages that were not published, or not understood.",
            lambda: figures.dropped,
        )
        self._counter(
            "tocsin.bus.reconnects",
            "{connect}",
            "Times that the bus has become healthy.",
            lambda: figures.reconnects,
        )
        self._gauge("tocsin.bus.lag", "s", "Of the last heartbeat.", lambda: figures.lag_seconds)

    def _counter(self, name: str, unit: str, description: str, source: Callable[[], int]) -> None:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(source())]

        self._meter.create_observable_counter(name, [observe], unit, description)

    def _gauge(
        self,
        name: str,
        unit: str,
        description: str,
        source: Callable[[], float],
        attributes: dict[str, str] | None = None,
    ) -> None:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(source(), attributes)]

        self._meter.create_observable_gauge(name, [observe], unit, description)


class LoopLag:
    """How late the event loop runs what is due: the first thing to look at when everything is slow."""

    def __init__(self) -> None:
        self._late: deque[float] = deque([0.0], maxlen=int(_LAG_WINDOW_S / _LAG_INTERVAL_S))

    def worst(self) -> Micros:
        """At worst in the last 10 s."""
        return int(max(self._late) * SECOND)

    async def run(self) -> None:
        """Watches, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL_S
            await asyncio.sleep(_LAG_INTERVAL_S)
            self._late.append(max(loop.time() - due, 0.0))
