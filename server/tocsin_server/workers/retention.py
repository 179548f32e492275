"""Retention: expires entries that were kept long enough, removes rows and history that nobody can ask for any more."""

import asyncio
from dataclasses import dataclass

from tocsin_server.domain.category import LONGEST_WINDOW
from tocsin_server.domain.commands import (
    SYSTEM_TENANT,
    Command,
    ExpireEntries,
    PruneBroadcasts,
    PruneHistory,
    PruneInboxes,
    SweepReceipt,
)
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import Clock, RetentionReader, Writer
from tocsin_server.service.status import Component

ENTRIES_PER_STEP = 500
INBOXES_PER_STEP = 5_000
PRUNED_INBOXES_PER_STEP = 50


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How long things are kept; all counted from their last change but for entries, from their acceptance."""

    entries: Micros
    rows: Micros
    requests: Micros
    events: Micros
    positions: Micros
    sweep_interval: Micros


class RetentionWorker:
    """Run `run` as a task. Works in small commands, so that sends are written in between."""

    def __init__(
        self,
        reader: RetentionReader,
        writer: Writer,
        clock: Clock,
        policy: RetentionPolicy,
        component: Component,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._policy = policy
        self._component = component
        self._expired_up_to = 0

    async def run(self) -> None:
        """Sweeps at intervals, for ever."""
        while True:
            try:
                await self.sweep()
                self._component.ok()
            except TocsinError as error:
                self._component.degraded(
                    error.detail or error.message, "What is old is kept longer than it should be."
                )
            await asyncio.sleep(self._policy.sweep_interval / SECOND)

    async def sweep(self) -> None:
        """One pass over everything. Raises StorageUnavailable."""
        await self._expire()
        await self._prune_inboxes()
        await self._prune_broadcasts()
        await self._prune_history()

    async def _expire(self) -> None:
        cutoff = self._clock.now() - self._policy.entries
        while True:
            found, after = await self._reader.expirable(cutoff, self._expired_up_to, ENTRIES_PER_STEP)
            if found:
                await self._submit(ExpireEntries(tenant=SYSTEM_TENANT, entries=tuple(found)))
            if not after:
                return
            self._expired_up_to = after

    async def _prune_inboxes(self) -> None:
        cutoff = self._clock.now() - self._policy.rows
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            found, after = await self._reader.prunable(cutoff, after, INBOXES_PER_STEP)
            for start in range(0, len(found), PRUNED_INBOXES_PER_STEP):
                inboxes = tuple(found[start : start + PRUNED_INBOXES_PER_STEP])
                command = PruneInboxes(tenant=SYSTEM_TENANT, inboxes=inboxes, cutoff=cutoff)
                while (await self._submit(command)).more:
                    pass

    async def _prune_broadcasts(self) -> None:
        # So long an entry that nobody gave an expire time is kept, and then its row.
        cutoff = self._clock.now() - self._policy.entries - self._policy.rows
        command = PruneBroadcasts(tenant=SYSTEM_TENANT, cutoff=cutoff)
        while (await self._submit(command)).more:
            pass

    async def _prune_history(self) -> None:
        now = self._clock.now()
        command = PruneHistory(
            tenant=SYSTEM_TENANT,
            requests_before=now - self._policy.requests,
            events_before=now - self._policy.events,
            positions_before=now - self._policy.positions,
            slots_before=now - LONGEST_WINDOW,
        )
        while (await self._submit(command)).more:
            pass

    async def _submit(self, command: Command[SweepReceipt]) -> SweepReceipt:
        (answer,) = await self._writer.submit((command,))
        if isinstance(answer, TocsinError):
            raise answer
        return answer.receipt
