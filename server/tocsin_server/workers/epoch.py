"""The epoch: notices that the store began a new one while the server runs.

An operator bumps it after a restore, and a replica that finds Postgres on another timeline does. From then on cursors
that were made before must not be taken for positions in what there is now.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.ports import StoreFacts

LOOK_SECONDS = 1.0

log = structlog.get_logger(__name__)


class EpochWorker:
    """Run `run` as a task."""

    def __init__(
        self, read: Callable[[], Awaitable[StoreFacts]], cursors: Cursors, end_streams: Callable[[], None]
    ) -> None:
        """`end_streams` has everyone come back: their cursors are void, which they are then told."""
        self._read = read
        self._cursors = cursors
        self._end_streams = end_streams

    async def run(self) -> None:
        """Looks now and then, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except StorageUnavailable:
                continue

    async def look(self) -> None:
        """Takes up the epoch that the store is in. Raises StorageUnavailable."""
        facts = await self._read()
        if facts.epoch != self._cursors.epoch:
            log.warning("the store began a new epoch; every stream starts anew")
            self._cursors.renew(facts.epoch)
            self._end_streams()
