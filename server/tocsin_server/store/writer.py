"""The group-commit writer: threads that put whatever waits into one transaction each.

Groups form by themselves: while one is being synced to disk, the next gathers; and what the event loop has at hand when
a command arrives, it hands over with it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from tocsin_server.domain.commands import Answer, Command, Receipt
from tocsin_server.domain.errors import TocsinError
from tocsin_server.service.ports import CommitListener, Committed, QueueDepth
from tocsin_server.store.engine import Engine
from tocsin_server.store.groups import (
    COMMANDS_PER_GROUP,
    GroupReport,
    Groups,
    Handler,
    Outcomes,
    WriterLimits,
)
from tocsin_server.store.places import lane_of
from tocsin_server.store.queue import CommandQueue, Queued, Ticket

GATHER_SECONDS = 0.005
"""How long a busy event loop may go on bringing commands before the writer gets them. A transaction of one command
costs as much processor time as one of twenty, and takes it from the loop; a loop that is not busy does not wait."""

log = structlog.get_logger(__name__)


class GroupCommitWriter:
    """Implements `ports.Writer`. Use as: construct, `start`, …, `await close`.

    Listeners hear of the commits that concern one inbox in their order; of those that concern several, and of other
    replicas' commits, they hear at some time.
    """

    def __init__(
        self,
        engine: Engine,
        handlers: Mapping[type[Command[Any]], Handler],
        limits: WriterLimits,
        *,
        on_group: Callable[[GroupReport], None] = lambda report: None,
        on_storage_error: Callable[[str], None] = lambda detail: None,
    ) -> None:
        self._max_queue_bytes = limits.max_queue_bytes
        self._lanes = engine.writer_threads
        self._queue = CommandQueue(self._lanes)
        self._listeners: list[CommitListener] = []
        groups = [
            Groups(
                engine,
                handlers,
                limits,
                self._queue,
                lane,
                answer=self._answer,
                on_group=on_group,
                on_storage_error=on_storage_error,
            )
            for lane in range(self._lanes)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"writer-{lane}", daemon=True)
            for lane, each in enumerate(groups)
        ]
        self._writing = 0
        self._loop: asyncio.AbstractEventLoop
        self._stopped = asyncio.Event()
        self._arrived = 0

    def listen(self, listener: CommitListener) -> None:
        """Before `start`: calls the listener after each commit."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begins to write."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()
            self._writing += 1

    async def close(self) -> None:
        """Writes what is queued and ends."""
        self._queue.close()
        if self._writing:
            await self._stopped.wait()

    async def submit(
        self, commands: Sequence[Command[Receipt]], *, deadline: float | None = None
    ) -> list[Answer[Receipt] | TocsinError]:
        """See `ports.Writer`."""
        if not commands:
            return []
        ticket = Ticket(self._loop.create_future(), [None] * len(commands), len(commands))
        tenants: dict[str, list[Queued]] = {}
        for index, command in enumerate(commands):
            lane = lane_of(command, self._lanes)
            item = Queued(command, ticket, index, deadline, command.payload_bytes, lane)
            tenants.setdefault(command.tenant, []).append(item)
        for tenant, items in tenants.items():
            try:
                self._queue.put(items, tenant, self._max_queue_bytes(tenant))
            except TocsinError as refused:
                for item in items:
                    ticket.settle(item.index, refused)
        if not self._arrived:
            self._loop.call_soon(self._gather, 0, time.monotonic() + GATHER_SECONDS)
        self._arrived += len(commands)
        return await ticket.future

    def depth(self) -> QueueDepth:
        """See `ports.Writer`."""
        return self._queue.depth()

    def _gather(self, arrived_before: int, until: float) -> None:
        """Releases what has arrived once a turn of the event loop brings no more, or enough is there."""
        if arrived_before < self._arrived < COMMANDS_PER_GROUP and time.monotonic() < until:
            self._loop.call_soon(self._gather, self._arrived, until)
        else:
            self._arrived = 0
            self._queue.release()

    # --- a writer's thread --------------------------------------------------------------------------------------------

    def _run(self, groups: Groups) -> None:
        try:
            groups.run()
        finally:
            self._loop.call_soon_threadsafe(self._note_end)

    def _answer(self, committed: Committed, outcomes: Outcomes) -> None:
        self._loop.call_soon_threadsafe(self._deliver, committed, outcomes)

    # --- the event loop again -----------------------------------------------------------------------------------------

    def _note_end(self) -> None:
        self._writing -= 1
        if not self._writing:
            self._stopped.set()

    def _deliver(self, committed: Committed, outcomes: Outcomes) -> None:
        for listener in self._listeners:
            try:
                listener(committed)
            except Exception:
                # Storage is the truth: a session that misses a hint is served from there.
                log.exception("a commit listener failed")
        for item, outcome in outcomes:
            item.ticket.settle(item.index, outcome)
