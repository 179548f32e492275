"""The clock: finds timers that are due and hands each to the writer, which lets it take effect exactly once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from tocsin_server.domain.commands import Answer, Timer
from tocsin_server.domain.errors import StorageUnavailable, TocsinError
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import Clock, Committed, TimerReader
from tocsin_server.service.status import Component

TIMERS_PER_READ = 1_000
LATE: Micros = 5 * SECOND
"""From here on the clock reports that it cannot keep up."""

LONGEST_SLEEP_SECONDS = 1.0
"""Timers of other processes, and those of tenants that are served again, are noticed after this at the latest."""

Fire = Callable[[Sequence[Timer]], Awaitable[Sequence[Answer[bool] | TocsinError]]]
"""Lets timers take effect; what became of each. Raises StorageUnavailable."""

log = structlog.get_logger(__name__)


class ClockWorker:
    """Run `run` as a task."""

    def __init__(self, reader: TimerReader, fire: Fire, clock: Clock, component: Component) -> None:
        self._reader = reader
        self._fire = fire
        self._clock = clock
        self._earlier = asyncio.Event()
        self._wake_at: Micros | None = None
        self._component = component
        self.lag: Micros = 0
        """How late the timers that are due are."""

    def __call__(self, committed: Committed) -> None:
        """Notes an earlier timer; a `ports.CommitListener`."""
        due = committed.earliest_timer
        if due is not None and (self._wake_at is None or due < self._wake_at):
            self._earlier.set()

    async def run(self) -> None:
        """Fires what falls due, for ever."""
        while True:
            try:
                await self._turn()
            except StorageUnavailable:
                await asyncio.sleep(LONGEST_SLEEP_SECONDS)

    async def _turn(self) -> None:
        """Fires what is due now, or sleeps until something is."""
        self._earlier.clear()
        # Until it is known how long to sleep, any new timer counts as earlier.
        self._wake_at = None
        now = self._clock.now()
        horizon = now + int(LONGEST_SLEEP_SECONDS * SECOND)
        timers = await self._reader.due_timers(horizon, TIMERS_PER_READ)
        due = [timer for timer in timers if timer.due_time <= now]
        if due:
            self._report(now - due[0].due_time)
            answers = await self._fire(due)
            failures = [answer for answer in answers if isinstance(answer, TocsinError)]
            if failures:
                log.warning(
                    "timers could not take effect and are tried again",
                    count=len(failures),
                    error=failures[0].message,
                )
                # They are still due: without a pause the next turn would be this one again.
                await asyncio.sleep(LONGEST_SLEEP_SECONDS)
            return
        self._report(0)
        self._wake_at = timers[0].due_time if timers else horizon
        delay = (self._wake_at - self._clock.now()) / SECOND
        if delay > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._earlier.wait(), delay)

    def _report(self, lag: Micros) -> None:
        self.lag = lag
        if lag < LATE:
            self._component.ok()
        else:
            self._component.degraded(f"timers are {lag // SECOND} s late", "What was deferred arrives late.")
