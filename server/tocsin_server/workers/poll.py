"""Polling: looks into storage for changes whose hint was lost. The truth is there; hints only make it fast."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.hub import Hub
from tocsin_server.service.ports import InboxReader

INBOXES_PER_READ = 20_000
INBOXES_PER_TURN = 1_000
"""So many are compared before others have a turn."""
INBOXES_PER_SECOND = 50_000
"""How many counter rows may be read a second: with more inboxes followed, the interval grows."""
HEALTHY_FACTOR = 10
"""While hints come they are not lost but by a defect: storage is polled so many times more slowly."""
GATHERING_SECONDS = 0.02
"""Catch-ups that are asked for within this time are one read."""


class PollWorker:
    """Polls everything at an interval, and at once what is known to be in doubt. Run `run` as a task."""

    def __init__(
        self,
        hub: Hub,
        reader: InboxReader,
        shortest_interval: Micros,
        healthy: Callable[[], bool] = lambda: False,
    ) -> None:
        """`healthy` tells whether hints come."""
        self._hub = hub
        self._reader = reader
        self._shortest_interval = shortest_interval
        self._healthy = healthy
        self._doubted: set[tuple[str, str]] = set()
        self._wake = asyncio.Event()

    @property
    def interval(self) -> Micros:
        """Within this time a committed change is noticed without its hint."""
        return self.interval_when(healthy=self._healthy())

    def interval_when(self, *, healthy: bool) -> Micros:
        """The same, while hints come or while they do not."""
        shortest = self._shortest_interval * (HEALTHY_FACTOR if healthy else 1)
        return max(shortest, self._hub.followed_count * SECOND // INBOXES_PER_SECOND)

    def missed(self, tenant: str, recipients: Sequence[str]) -> None:
        """Hints of these may have been lost: they are looked at soon. Cheap, and gathered with others."""
        self._doubt((tenant, recipient) for recipient in recipients)

    def missed_all(self) -> None:
        """Hints of anybody may have been lost."""
        self._doubt(self._hub.inboxes)

    def hurry(self) -> None:
        """Whether hints come has changed, and so has the interval."""
        self._wake.set()

    async def run(self) -> None:
        """Polls, for ever."""
        loop = asyncio.get_running_loop()
        polled = loop.time()
        while True:
            # Replicas that started together do not stay together; none waits longer than the interval.
            due = polled + self.interval / SECOND * random.uniform(0.75, 1.0)  # noqa: S311  # jitter, not a secret
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            self._wake.clear()
            if loop.time() >= due:
                polled = loop.time()
                self.missed_all()
            await asyncio.sleep(min(GATHERING_SECONDS, self._shortest_interval / SECOND))
            await self._look()

    async def poll(self) -> None:
        """Looks at every inbox that is followed. Raises StorageUnavailable."""
        await self._compare(list(self._hub.inboxes))

    def _doubt(self, inboxes: Iterable[tuple[str, str]]) -> None:
        self._doubted.update(inboxes)
        self._wake.set()

    async def _look(self) -> None:
        """At what is in doubt. What cannot be read stays in doubt, and is tried again."""
        doubted, self._doubted = self._doubted, set()
        try:
            await self._compare(list(doubted))
        except StorageUnavailable:
            self._doubted |= doubted
            await asyncio.sleep(self.interval_when(healthy=False) / SECOND)
            self._wake.set()

    async def _compare(self, inboxes: Sequence[tuple[str, str]]) -> None:
        for start in range(0, len(inboxes), INBOXES_PER_READ):
            chunk = inboxes[start : start + INBOXES_PER_READ]
            heads = await self._reader.heads_of(chunk)
            for turn in range(0, len(chunk), INBOXES_PER_TURN):
                self._hub.compare(chunk[turn : turn + INBOXES_PER_TURN], heads)
                await asyncio.sleep(0)
