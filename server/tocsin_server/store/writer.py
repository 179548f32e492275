"""The group-commit writer: one thread that puts whatever waits into one transaction.

Groups form by themselves: while one is being synced to disk, the next gathers; and what the event loop has at hand when
a command arrives, it hands over with it.
"""

import asyncio
import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from peewee import SqliteDatabase

from tocsin_server.domain.commands import Answer, Command, Receipt
from tocsin_server.domain.errors import DeadlinePassed, StorageUnavailable, TocsinError
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock, CommitListener, Committed, QueueDepth
from tocsin_server.store.database import connection_of, is_unavailable
from tocsin_server.store.facts import CommitCountFile, read_commit_count, write_commit_count
from tocsin_server.store.queue import CommandQueue, Queued, Ticket
from tocsin_server.store.requests import Receipts, RequestId, check_same_request
from tocsin_server.store.transaction import Transaction

COMMANDS_PER_GROUP = 1_024

GATHER_SECONDS = 0.005
"""How long a busy event loop may go on bringing commands before the writer gets them. A transaction of one command
costs as much processor time as one of twenty, and takes it from the loop; a loop that is not busy does not wait."""

BYTES_PER_GROUP = 4 * 2**20

log = structlog.get_logger(__name__)

Handler = Callable[[Transaction, Sequence[Any]], list[Any]]
"""Applies commands of one kind, in their order; a receipt or an expected error for each. An error means that the
handler wrote nothing for that command; an exception undoes the whole transaction."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """What a transaction must keep to."""

    max_queue_bytes: Callable[[str], int]
    """Bytes that a tenant may have waiting."""
    default_quotas: Quotas
    retention: Micros


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One committed transaction, for metrics."""

    commands: int
    seconds: float


class GroupCommitWriter:
    """Implements `ports.Writer` on one SQLite connection. Use as: construct, `start`, …, `await close`."""

    def __init__(
        self,
        database: SqliteDatabase,
        handlers: Mapping[type[Command[Any]], Handler],
        clock: Clock,
        limits: WriterLimits,
        commit_count_file: CommitCountFile,
        *,
        on_group: Callable[[GroupReport], None] = lambda report: None,
        on_storage_error: Callable[[str], None] = lambda detail: None,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._clock = clock
        self._limits = limits
        self._commit_count_file = commit_count_file
        self._on_group = on_group
        self._on_storage_error = on_storage_error
        self._queue = CommandQueue()
        self._receipts = Receipts()
        self._listeners: list[CommitListener] = []
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stopped: asyncio.Event
        self._connection: sqlite3.Connection
        self._commit_count = 0
        self._next_content_id = 1
        self._arrived = 0

    def listen(self, listener: CommitListener) -> None:
        """Before `start`: calls the listener after each commit."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begins to write."""
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._thread.start()

    async def close(self) -> None:
        """Writes what is queued and ends."""
        self._queue.close()
        if self._thread.is_alive():
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
            item = Queued(command, ticket, index, deadline, command.payload_bytes)
            tenants.setdefault(command.tenant, []).append(item)
        for tenant, items in tenants.items():
            try:
                self._queue.put(items, tenant, self._limits.max_queue_bytes(tenant))
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

    # --- the writer's thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while group := self._queue.take(COMMANDS_PER_GROUP, BYTES_PER_GROUP):
                self._serve(group)
        finally:
            # Whatever ends the thread, nobody waits for an answer that will not come.
            self._queue.close()
            while left := self._queue.take(COMMANDS_PER_GROUP, BYTES_PER_GROUP):
                self._answer(Committed(), [(item, StorageUnavailable()) for item in left])
            if self._commit_count:
                self._commit_count_file.write(self._commit_count)
            self._database.close()
            self._loop.call_soon_threadsafe(self._stopped.set)

    def _serve(self, group: list[Queued]) -> None:
        now = time.monotonic()
        late = [item for item in group if item.deadline is not None and item.deadline < now]
        if late:
            self._answer(Committed(), [(item, DeadlinePassed()) for item in late])
            group = [item for item in group if item.deadline is None or item.deadline >= now]
        group, repeated = _first_of_each_request(group)
        # One request twice in one group: the second finds the first's receipt in the next.
        self._queue.put_back(repeated)
        if not group:
            return
        started = time.perf_counter()
        try:
            committed, outcomes = self._write(group)
        except Exception as error:
            if is_unavailable(error) or len(group) == 1:
                self._refuse(group, error)
                return
            log.warning("a group failed and is run again one by one", commands=len(group), error=repr(error))
            for item in group:
                self._serve([item])
            return
        # From here on nothing may fail: what is committed must not be run again.
        seconds = time.perf_counter() - started
        self._tell(lambda: self._on_group(GroupReport(len(group), seconds)))
        self._tell(lambda: self._on_storage_error(""))
        self._answer(committed, outcomes)
        self._commit_count_file.write_behind(self._commit_count)

    def _write(self, group: list[Queued]) -> tuple[Committed, list[tuple[Queued, Answer[Any] | TocsinError]]]:
        """One transaction: what it did, and what became of each command."""
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            transaction = Transaction(
                connection,
                self._clock.now(),
                self._limits.default_quotas,
                self._limits.retention,
                self._next_content_id,
            )
            outcomes = self._apply(transaction, group)
            write_commit_count(connection, self._commit_count + 1)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back(connection)
            raise
        self._commit_count += 1
        self._next_content_id = transaction.next_content_id
        return transaction.committed(), outcomes

    def _apply(
        self, transaction: Transaction, group: list[Queued]
    ) -> list[tuple[Queued, Answer[Any] | TocsinError]]:
        outcomes, fresh = self._replay(transaction, group)
        receipts = []
        # Runs of one kind, so that each is written set-based and the order of a caller's commands holds.
        for kind, run in itertools.groupby(fresh, key=lambda item: type(item.command)):
            items = list(run)
            results = self._handlers[kind](transaction, [item.command for item in items])
            transaction.flush()
            for item, result in zip(items, results, strict=True):
                if isinstance(result, TocsinError):
                    outcomes.append((item, result))
                    continue
                outcomes.append((item, Answer(result)))
                if item.command.request is not None and not getattr(result, "more", False):
                    receipts.append((item.command.tenant, item.command.request, result))
        self._receipts.record(transaction.connection, transaction.now, receipts)
        return outcomes

    def _replay(
        self, transaction: Transaction, group: list[Queued]
    ) -> tuple[list[tuple[Queued, Answer[Any] | TocsinError]], list[Queued]]:
        """Answers what was committed before; the rest is fresh."""
        ids = {id: item for item in group if (id := _request_id(item.command))}
        recorded = self._receipts.recorded(transaction.connection, list(ids)) if ids else {}
        if not recorded:
            return [], group
        outcomes: list[tuple[Queued, Answer[Any] | TocsinError]] = []
        fresh = []
        for item in group:
            id, key = _request_id(item.command), item.command.request
            if id is None or key is None or id not in recorded:
                fresh.append(item)
                continue
            fingerprint, receipt = recorded[id]
            try:
                check_same_request(key, fingerprint)
                outcomes.append((item, Answer(receipt, replayed=True)))
            except TocsinError as error:
                outcomes.append((item, error))
        return outcomes, fresh

    def _open(self) -> sqlite3.Connection:
        """The thread's connection; opened on first use and again after trouble, so that the writer heals by itself."""
        if self._database.is_closed():
            connection = connection_of(self._database)
            self._commit_count = read_commit_count(connection)
            (highest,) = connection.execute("SELECT max(id) FROM contents").fetchone()
            self._next_content_id = (highest or 0) + 1
            self._connection = connection
        return self._connection

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # The connection is not to be trusted any more; the next group opens another.
            self._database.close()

    def _refuse(self, group: list[Queued], error: Exception) -> None:
        refusal: TocsinError
        if is_unavailable(error):
            self._tell(lambda: self._on_storage_error(str(error)))
            refusal = StorageUnavailable(detail=str(error))
        else:
            log.error("a command failed", kind=type(group[0].command).__name__, exc_info=error)
            refusal = TocsinError("The server failed on this request.", detail=repr(error))
        self._answer(Committed(), [(item, refusal) for item in group])

    def _tell(self, observer: Callable[[], None]) -> None:
        try:
            observer()
        except Exception:
            log.exception("an observer of the writer failed")

    def _answer(self, committed: Committed, outcomes: list[tuple[Queued, Answer[Any] | TocsinError]]) -> None:
        self._loop.call_soon_threadsafe(self._deliver, committed, outcomes)

    # --- the event loop again -----------------------------------------------------------------------------------------

    def _deliver(
        self, committed: Committed, outcomes: list[tuple[Queued, Answer[Any] | TocsinError]]
    ) -> None:
        for listener in self._listeners:
            try:
                listener(committed)
            except Exception:
                # Storage is the truth: a session that misses a hint is served from there.
                log.exception("a commit listener failed")
        for item, outcome in outcomes:
            item.ticket.settle(item.index, outcome)


def _request_id(command: Command[Any]) -> RequestId | None:
    key = command.request
    return None if key is None else (command.tenant, key.space, key.id)


def _first_of_each_request(group: list[Queued]) -> tuple[list[Queued], list[Queued]]:
    seen: set[RequestId] = set()
    first, repeated = [], []
    for item in group:
        id = _request_id(item.command)
        if id is None or id not in seen:
            first.append(item)
        else:
            repeated.append(item)
        if id is not None:
            seen.add(id)
    return first, repeated
