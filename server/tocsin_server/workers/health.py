"""Watches storage, and lets health follow it: who cannot store is not to be sent to."""

import asyncio
from collections.abc import Awaitable, Callable

from tocsin_server.domain.commands import SYSTEM_TENANT, Probe
from tocsin_server.domain.errors import TocsinError
from tocsin_server.service.ports import Writer
from tocsin_server.service.status import Component, ComponentState

CHECK_SECONDS = 0.5


class HealthWorker:
    """Run `run` as a task."""

    def __init__(
        self, storage: Component, writer: Writer, set_serving: Callable[[bool], Awaitable[None]]
    ) -> None:
        self._storage = storage
        self._writer = writer
        self._set_serving = set_serving
        self._serving = True
        self.draining = False

    async def run(self) -> None:
        """Looks twice a second, for ever."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self._storage.report.state is not ComponentState.OK:
                # Nobody sends to a server that says it does not serve: it has to find out by itself that it can again.
                await self._probe()
            serving = self._storage.report.state is ComponentState.OK
            if serving != self._serving and not self.draining:
                self._serving = serving
                await self._set_serving(serving)

    async def _probe(self) -> None:
        (answer,) = await self._writer.submit((Probe(tenant=SYSTEM_TENANT),))
        if not isinstance(answer, TocsinError):
            self._storage.ok()
