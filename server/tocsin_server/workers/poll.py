"""Polling: looks into storage for changes whose hint was lost. The truth is there; hints only make it fast."""

import asyncio

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.hub import Hub
from tocsin_server.service.ports import InboxReader

INBOXES_PER_READ = 1_000
INBOXES_PER_SECOND = 50_000
"""How many counter rows may be read a second: with more inboxes followed, the interval grows."""


class PollWorker:
    """Run `run` as a task."""

    def __init__(self, hub: Hub, reader: InboxReader, shortest_interval: Micros) -> None:
        self._hub = hub
        self._reader = reader
        self._shortest_interval = shortest_interval

    @property
    def interval(self) -> Micros:
        """Within this time a committed change is noticed without its hint."""
        return max(self._shortest_interval, self._hub.followed_count * SECOND // INBOXES_PER_SECOND)

    async def run(self) -> None:
        """Polls at the interval, for ever."""
        while True:
            await asyncio.sleep(self.interval / SECOND)
            try:
                await self.poll()
            except StorageUnavailable:
                continue

    async def poll(self) -> None:
        """Looks at every inbox that is followed. Raises StorageUnavailable."""
        for tenant, recipients in self._hub.followed().items():
            for start in range(0, len(recipients), INBOXES_PER_READ):
                chunk = recipients[start : start + INBOXES_PER_READ]
                heads = await self._reader.heads(tenant, chunk)
                self._hub.compare(tenant, chunk, heads)
