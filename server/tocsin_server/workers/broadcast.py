"""Broadcasting: carries broadcasts out in chunks of a few milliseconds of the writer's time, sends in between.

A chunk and how far the broadcast has got are one transaction: whatever ends this process, and whoever goes on, each
recipient has its turn once. Several replicas may work at it; a chunk is one's at a time.
"""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tocsin_server.domain.broadcast import Broadcast, BroadcastState
from tocsin_server.domain.commands import (
    SYSTEM_TENANT,
    Answer,
    ChunkReceipt,
    Command,
    ExpandBroadcast,
    ExpireEntries,
    FinishBroadcast,
    Receipt,
    ReplanBroadcast,
    RestBroadcast,
)
from tocsin_server.domain.errors import BroadcastFinal, BroadcastNotFound, Exhausted, TocsinError, Unavailable
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.domain.value import replace
from tocsin_server.service.drafting import Basis, BroadcastDrafts
from tocsin_server.service.ports import BroadcastReader, Clock, Committed, DueBroadcast, Writer

CHUNK_TIME: Micros = 3_000
"""That a chunk should take where everybody waits for the only writer."""

SHARED_CHUNK_TIME: Micros = 25_000
"""And where others write meanwhile, and each statement is a message to another machine."""

LEAST_RECIPIENTS = 50
MOST_RECIPIENTS = 10_000
"""Of a chunk; of a filter's, those that it is asked about."""

PERSONAL_PER_CHUNK = 250
"""Recipients that are drafted one by one."""

ENTRIES_PER_STEP = 500
"""That expire in one transaction."""

BROADCASTS_AT_ONCE = 20

LONGEST_SLEEP_SECONDS = 1.0
"""Broadcasts that other processes take are noticed after this at the latest."""

LONGEST_ALONE_SECONDS = 1.0
"""For so long it is not asked whether a broadcast is still the only one, and its tenant not suspended. Less than passes
before a tenant is erased."""

PAUSE_SECONDS = 0.05
"""After finding that another replica is at it."""

MOST_FAILURES = 5
"""In a row, for other reasons than that storage is away, before a broadcast is given up."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Run:
    """How a broadcast goes."""

    limit: int = LEAST_RECIPIENTS
    personal: bool = False
    """The last chunk had recipients that are drafted one by one."""
    basis: Basis | None = None
    """What its classes are planned by."""
    failures: int = 0
    counting: asyncio.Task[int] | None = None
    """How many the audience has, while that is not recorded."""
    expired: bytes = b""
    """The entry up to which all have expired."""


class BroadcastWorker:
    """Run `run` as a task."""

    def __init__(
        self,
        reader: BroadcastReader,
        writer: Writer,
        drafts: BroadcastDrafts,
        clock: Clock,
        chunk_time: Micros = CHUNK_TIME,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._drafts = drafts
        self._clock = clock
        self._chunk_time = chunk_time
        self._runs: dict[bytes, _Run] = {}
        self._changed = asyncio.Event()

    def __call__(self, committed: Committed) -> None:
        """Looks at once when a broadcast was created; a `ports.CommitListener`."""
        if committed.broadcasts_changed:
            self._changed.set()

    async def run(self) -> None:
        """Carries out what is due, for ever."""
        try:
            while True:
                self._changed.clear()
                if await self.turn():
                    continue
                seconds = await self._sleep_seconds()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), seconds)
        finally:
            for run in self._runs.values():
                if run.counting is not None:
                    run.counting.cancel()

    async def turn(self) -> bool:
        """A chunk of each broadcast that is due, or some of the only one; False: none is. Raises StorageUnavailable."""
        due = await self._reader.due_broadcasts(BROADCASTS_AT_ONCE)
        self._runs = {each.broadcast.id: self._runs.get(each.broadcast.id) or _Run() for each in due}
        if len(due) == 1:
            # Alone it need not be looked for after each chunk.
            until = time.monotonic() + LONGEST_ALONE_SECONDS
            while await self._step(due[0]) and not self._changed.is_set() and time.monotonic() < until:
                pass
        else:
            for each in due:
                await self._step(each)
        return bool(due)

    async def _step(self, due: DueBroadcast) -> bool:
        """One chunk; whether there is another one. What fails is tried again, and given up at last."""
        run = self._runs[due.broadcast.id]
        try:
            more = await (self._expire(due, run) if due.broadcast.state.final else self._expand(due, run))
        except (Unavailable, Exhausted) as error:
            log.warning("a broadcast waits", broadcast=format_id(due.broadcast.id), error=error.message)
            await asyncio.sleep(LONGEST_SLEEP_SECONDS)
        except TocsinError as error:
            run.failures += 1
            log.error(
                "a chunk of a broadcast failed", broadcast=format_id(due.broadcast.id), error=error.detail
            )
            await asyncio.sleep(PAUSE_SECONDS)
            if run.failures >= MOST_FAILURES:
                await self._give_up(due, error)
        else:
            run.failures = 0
            return more
        return False

    async def _expand(self, due: DueBroadcast, run: _Run) -> bool:
        broadcast = due.broadcast
        await self._follow_basis(broadcast, run)
        targeted = self._targeted(broadcast, run)
        limit = min(run.limit, PERSONAL_PER_CHUNK) if run.personal else run.limit
        command = ExpandBroadcast(tenant=broadcast.tenant, id=broadcast.id, limit=limit, targeted=targeted)
        receipt = await self._submit(command)
        if receipt.unplanned:
            await self._submit(await self._drafts.of_classes(due, receipt.unplanned))
            return True
        run.personal = bool(receipt.personal)
        if len(receipt.personal) > PERSONAL_PER_CHUNK:
            return True
        if receipt.personal:
            command = await self._drafts.of_recipients(due, receipt, limit)
            receipt = await self._submit(replace(command, targeted=targeted))
        elif receipt.seen == limit:
            _adapt(run, receipt, self._chunk_time)
        if not receipt.seen and not receipt.state.final:
            # Another replica is at it.
            await asyncio.sleep(PAUSE_SECONDS)
        return not receipt.state.final

    async def _follow_basis(self, broadcast: Broadcast, run: _Run) -> None:
        """What was decided by a category or by the tenant's preferences as they no longer are is decided anew; so is
        what another version of the template shows."""
        basis = await self._drafts.basis(broadcast)
        begun = run.basis is not None or broadcast.state is BroadcastState.RUNNING
        if begun and run.basis != basis:
            await self._submit(ReplanBroadcast(tenant=broadcast.tenant, id=broadcast.id))
        run.basis = basis

    def _targeted(self, broadcast: Broadcast, run: _Run) -> int | None:
        """How many recipients the audience has, once they are counted."""
        if run.counting is None:
            if broadcast.progress.targeted:
                return None
            run.counting = asyncio.create_task(self._reader.audience_size(broadcast.tenant, broadcast.id))
        counting = run.counting
        if not counting.done():
            return None
        if counting.exception() is not None:
            run.counting = None
            return None
        return counting.result()

    async def _expire(self, due: DueBroadcast, run: _Run) -> bool:
        """The entries of a broadcast whose time is over, some at once."""
        broadcast = due.broadcast
        found = await self._reader.stored_entries(
            broadcast.tenant, broadcast.id, run.expired, ENTRIES_PER_STEP
        )
        if not found:
            await self._submit(RestBroadcast(tenant=broadcast.tenant, id=broadcast.id))
            return False
        entries = tuple((broadcast.tenant, id) for id in found)
        await self._submit(ExpireEntries(tenant=SYSTEM_TENANT, entries=entries))
        run.expired = found[-1]
        return True

    async def _give_up(self, due: DueBroadcast, error: TocsinError) -> None:
        command = FinishBroadcast(
            tenant=due.broadcast.tenant,
            id=due.broadcast.id,
            state=BroadcastState.FAILED,
            failure=error.message,
        )
        with suppress(BroadcastFinal, BroadcastNotFound, Unavailable, Exhausted):
            await self._submit(command)

    async def _submit(self, command: Command[Receipt]) -> Receipt:
        answer: Answer[Receipt] | TocsinError
        (answer,) = await self._writer.submit((command,))
        if isinstance(answer, TocsinError):
            raise answer
        return answer.receipt

    async def _sleep_seconds(self) -> float:
        """Until the next one is due, as far as is known."""
        next_time = await self._reader.next_wake_time()
        if next_time is None:
            return LONGEST_SLEEP_SECONDS
        return min(max((next_time - self._clock.now()) / SECOND, 0.0), LONGEST_SLEEP_SECONDS)


def _adapt(run: _Run, receipt: ChunkReceipt, chunk_time: Micros) -> None:
    """Towards as many recipients as can be had for the time of a chunk; at most twice as many as last time."""
    wanted = receipt.seen * chunk_time // max(receipt.time, 1)
    run.limit = min(max(wanted, LEAST_RECIPIENTS), 2 * receipt.seen, MOST_RECIPIENTS)
