"""Groups: what waits in a queue as transactions, one after the other, in a thread of the writer."""

import itertools
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from tocsin_server.domain.commands import Answer, Command, EraseRecipient, RequestKey, StoreNotification
from tocsin_server.domain.errors import DeadlinePassed, StorageUnavailable, TocsinError
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Committed
from tocsin_server.store.engine import Engine, WriteSession
from tocsin_server.store.places import lock_all
from tocsin_server.store.queue import CommandQueue, Queued
from tocsin_server.store.requests import Receipts, RequestId, check_same_request
from tocsin_server.store.transaction import InboxKey, Overtaken, Transaction
from tocsin_server.store.usage import Usage

COMMANDS_PER_GROUP = 1_024

BYTES_PER_GROUP = 4 * 2**20

RACES_PER_GROUP = 6
"""How often a transaction is tried that others get in the way of."""

BACKOFF_SECONDS = 0.005
"""Before the second try at most so long, then twice as long each time."""

log = structlog.get_logger(__name__)

Handler = Callable[[Transaction, Sequence[Any]], list[Any]]
"""Applies commands of one kind, in their order; a receipt or an expected error for each. An error means that the
handler wrote nothing for that command; an exception undoes the whole transaction."""

Outcomes = list[tuple[Queued, Answer[Any] | TocsinError]]
"""What became of each command."""


@dataclass(frozen=True, slots=True)
class WriterLimits:
    """What a transaction must keep to."""

    max_queue_bytes: Callable[[str], int]
    """Bytes that a tenant may have waiting."""
    default_quotas: Quotas
    retention: Micros
    heard: Callable[[], Collection[InboxKey] | None] = lambda: None
    """The inboxes of whose new entries somebody hears; None: all of them."""


@dataclass(frozen=True, slots=True)
class GroupReport:
    """One committed transaction, for metrics."""

    commands: int
    seconds: float


class Groups:
    """Takes groups from a lane of the queue and commits them, until it is closed and drained. All in one thread."""

    def __init__(
        self,
        engine: Engine,
        handlers: Mapping[type[Command[Any]], Handler],
        limits: WriterLimits,
        queue: CommandQueue,
        lane: int,
        *,
        answer: Callable[[Committed, Outcomes], None],
        on_group: Callable[[GroupReport], None],
        on_storage_error: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._handlers = handlers
        self._limits = limits
        self._queue = queue
        self._lane = lane
        self._answer = answer
        self._on_group = on_group
        self._on_storage_error = on_storage_error
        self._receipts = Receipts()
        self._session: WriteSession | None = None

    def run(self) -> None:
        """Serves to the end. Whatever ends it, nobody waits for an answer that will not come."""
        try:
            while group := self._queue.take(COMMANDS_PER_GROUP, BYTES_PER_GROUP, self._lane):
                self._serve(group)
        finally:
            self._queue.close()
            while left := self._queue.take(COMMANDS_PER_GROUP, BYTES_PER_GROUP, self._lane):
                self._answer(Committed(), [(item, StorageUnavailable()) for item in left])
            self._close()

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
        if len(group) > 1 and any(item.command.solitary for item in group):
            self._serve_apart(group)
            return
        started = time.perf_counter()
        try:
            committed, outcomes = self._write_in_a_race(group)
        except Exception as error:
            if self._engine.is_unavailable(error) or len(group) == 1:
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

    def _serve_apart(self, group: list[Queued]) -> None:
        """What others wait for first, then each that is to be alone."""
        together = [item for item in group if not item.command.solitary]
        if together:
            self._serve(together)
        for item in group:
            if item.command.solitary:
                self._serve([item])

    def _write_in_a_race(self, group: list[Queued]) -> tuple[Committed, Outcomes]:
        """Runs the transaction again when others were in its way: then it sees what they have done."""
        for attempt in range(RACES_PER_GROUP - 1):
            try:
                return self._write(group)
            except Exception as error:
                if not isinstance(error, Overtaken) and not self._engine.is_passing(error):
                    raise
                log.debug("a group lost a race and is run again", commands=len(group), error=repr(error))
            # Two that met must not meet again.
            time.sleep(random.uniform(0, BACKOFF_SECONDS * 2**attempt))  # noqa: S311
        return self._write(group)

    def _write(self, group: list[Queued]) -> tuple[Committed, Outcomes]:
        """One transaction: what it did, and what became of each command."""
        session, now = self._begin()
        try:
            transaction = Transaction(
                session.connection,
                now,
                Usage(session.connection, self._limits.default_quotas),
                self._limits.retention,
                session.new_content_ids,
                self._limits.heard,
            )
            outcomes = self._apply(transaction, group)
            session.commit()
        except BaseException:
            self._roll_back(session)
            raise
        return transaction.committed(), outcomes

    def _begin(self) -> tuple[WriteSession, Micros]:
        """A transaction on the thread's connection, which is opened on first use, and again after trouble."""
        if self._session is not None:
            try:
                return self._session, self._session.begin()
            except Exception:
                lost = self._session.connection.lost
                self._roll_back(self._session)
                # Lost while nothing was under way, as when the database was started anew, nobody need hear of it.
                if not lost:
                    raise
        self._session = self._engine.open_session()
        return self._session, self._session.begin()

    def _apply(self, transaction: Transaction, group: list[Queued]) -> Outcomes:
        outcomes, fresh = self._replay(transaction, group)
        lock_all(transaction, [item.command for item in fresh])
        receipts: list[tuple[str, RequestKey, object]] = []
        failed: Outcomes = []
        # Runs of one kind, so that each is written set-based and the order of a caller's commands holds.
        for kind, run in itertools.groupby(fresh, key=lambda item: type(item.command)):
            items = list(run)
            if kind is EraseRecipient:
                # It erases receipts too, also of what this group did before it.
                self._receipts.record(transaction.connection, transaction.now, receipts)
                receipts.clear()
            results = self._handlers[kind](transaction, [item.command for item in items])
            transaction.flush()
            for item, result in zip(items, results, strict=True):
                if isinstance(result, TocsinError):
                    failed.append((item, result))
                    continue
                outcomes.append((item, Answer(result)))
                if item.command.request is not None and not getattr(result, "more", False):
                    receipts.append((item.command.tenant, item.command.request, result))
        outcomes += self._replay_failed(transaction, failed)
        self._receipts.record(transaction.connection, transaction.now, receipts)
        transaction.finish()
        return outcomes

    def _replay_failed(self, transaction: Transaction, failed: Outcomes) -> Outcomes:
        """What failed because another replica did this very request, while the locks were waited for, is answered by
        what that has recorded."""
        if not transaction.connection.row_locks:
            return failed
        replayed, fresh = self._replay(transaction, [item for item, _ in failed])
        left = set(map(id, fresh))
        return replayed + [each for each in failed if id(each[0]) in left]

    def _replay(self, transaction: Transaction, group: list[Queued]) -> tuple[Outcomes, list[Queued]]:
        """Answers what was committed before; the rest is fresh."""
        ids = {id: item for item in group if (id := _request_id(item.command))}
        recorded = self._receipts.recorded(transaction.connection, list(ids)) if ids else {}
        if not recorded:
            return [], group
        outcomes: Outcomes = []
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
                if isinstance(item.command, StoreNotification):
                    transaction.tell_again(item.command.tenant, item.command.draft.recipient, receipt)
            except TocsinError as error:
                outcomes.append((item, error))
        return outcomes, fresh

    def _roll_back(self, session: WriteSession) -> None:
        try:
            session.roll_back()
        except Exception:
            # The connection is not to be trusted any more; the next group opens another.
            self._close()

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _refuse(self, group: list[Queued], error: Exception) -> None:
        refusal: TocsinError
        if self._engine.is_unavailable(error):
            # Where one inbox is in use for long, the others can be written to.
            if not isinstance(error, Overtaken) and not self._engine.is_in_use(error):
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
