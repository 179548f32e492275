"""The writer: whole or not at all, once, in order, within bounds, and healing by itself.

The commands that misbehave on purpose are this module's own: a store's handlers are a mapping, and so can have more.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import Desk, key, receipt_of
from tests.support.storage import locked
from tests.support.stores import QUOTAS, TurnedClock, on_sqlite
from tests.support.waiting import eventually
from tocsin_server.domain import commands as commands_module
from tocsin_server.domain.commands import (
    SYSTEM_TENANT,
    Answer,
    ChangeTenant,
    Command,
    CreateTenant,
    Probe,
    RequestSpace,
    SendReceipt,
    StoreNotification,
)
from tocsin_server.domain.errors import (
    DeadlinePassed,
    QueueFull,
    QuotaExceeded,
    RequestIdReused,
    StorageUnavailable,
    TocsinError,
)
from tocsin_server.domain.inbox import InboxChange
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import DAY
from tocsin_server.service.ports import Committed
from tocsin_server.store.groups import GroupReport, Handler, WriterLimits
from tocsin_server.store.store import HANDLERS, Store, StoreOptions, open_engine, open_store
from tocsin_server.store.transaction import Transaction
from tocsin_server.store.writer import GroupCommitWriter


class Hold(Command[None], frozen=True, kw_only=True):
    """Keeps the writer busy until the gate is open, so that a group can gather behind it."""


class Break(Command[None], frozen=True, kw_only=True):
    """Writes something, and then fails as no handler should."""


class Fill(Command[None], frozen=True, kw_only=True):
    """From now on the SQLite database cannot grow: a full disk."""


class Bench:
    """A store whose writer also takes the commands above."""

    def __init__(
        self, store: Store, writer: GroupCommitWriter, clock: TurnedClock, path: Path, troubles: list[str]
    ) -> None:
        self.store = store
        self.writer = writer
        self.path = path
        self.gate = threading.Event()
        self.held = threading.Event()
        self.groups: list[GroupReport] = []
        self.commits: list[Committed] = []
        self.troubles = troubles
        self.on_group: Callable[[], None] = lambda: None
        self.desk = Desk(store, clock, writer=writer)
        self.other = Desk(store, clock, "other", writer=writer)

    @asynccontextmanager
    async def gathering(self) -> AsyncIterator[None]:
        """What is submitted within the block goes into one group."""
        self.gate.clear()
        self.held.clear()
        hold = asyncio.ensure_future(self.writer.submit((Hold(tenant=SYSTEM_TENANT),)))
        await eventually(self.held.is_set, "the writer to be busy")
        try:
            yield
        finally:
            self.gate.set()
            await hold

    def submit(
        self, *commands: Command[Any], deadline: float | None = None
    ) -> "asyncio.Future[list[Answer[Any] | TocsinError]]":
        """Queued when this returns."""
        return asyncio.ensure_future(self.writer.submit(commands, deadline=deadline))

    async def queued(self, count: int) -> None:
        """Until so many commands wait."""
        await eventually(lambda: self.writer.depth().commands == count, f"{count} commands to be queued")


OpenBench = Callable[..., AbstractAsyncContextManager[Bench]]


@pytest.fixture
def open_bench(tmp_path: Path, clock: TurnedClock, database_url: str | None) -> OpenBench:
    @asynccontextmanager
    async def opened(max_queue_bytes: int = 64 << 20) -> AsyncIterator[Bench]:
        path = tmp_path / "tocsin.db"
        options = StoreOptions(
            path=path,
            url=database_url,
            cache_bytes=1 << 20,
            reader_threads=1,
            retention=90 * DAY,
            default_quotas=QUOTAS,
            max_queue_bytes=lambda tenant: max_queue_bytes,
        )
        async with open_store(options, clock) as store:
            bench: Bench

            def hold(transaction: Transaction, commands: Sequence[Hold]) -> list[None]:
                bench.held.set()
                assert bench.gate.wait(30)
                return [None] * len(commands)

            def broken(transaction: Transaction, commands: Sequence[Break]) -> list[None]:
                transaction.connection.execute("DELETE FROM notifications")
                raise ZeroDivisionError

            troubles: list[str] = []

            def fill(transaction: Transaction, commands: Sequence[Fill]) -> list[None]:
                (pages,) = transaction.connection.execute("PRAGMA page_count").fetchone()
                transaction.connection.execute(f"PRAGMA max_page_count = {pages}")
                return [None] * len(commands)

            def on_group(report: GroupReport) -> None:
                bench.groups.append(report)
                bench.on_group()

            handlers: dict[type[Command[Any]], Handler] = {
                **HANDLERS, Hold: hold, Break: broken, Fill: fill,
            }  # fmt: skip
            writer = GroupCommitWriter(
                open_engine(options, clock),
                handlers,
                WriterLimits(options.max_queue_bytes, QUOTAS, options.retention),
                on_group=on_group,
                on_storage_error=troubles.append,
            )
            bench = Bench(store, writer, clock, path, troubles)

            def note(committed: Committed) -> None:
                bench.commits.append(committed)

            writer.listen(note)
            writer.start()
            try:
                yield bench
            finally:
                bench.gate.set()
                await writer.close()

    return opened


@pytest.fixture
async def bench(open_bench: OpenBench) -> AsyncIterator[Bench]:
    async with open_bench() as opened:
        yield opened


def send_key(id: str, meaning: object = "the same") -> Any:
    return key(RequestSpace.SEND, id, meaning)


# --- groups -----------------------------------------------------------------------------------------------------------


async def test_nothing_to_write_is_answered_at_once(bench: Bench) -> None:
    assert await bench.writer.submit(()) == []


async def test_what_waits_goes_into_one_transaction(bench: Bench) -> None:
    async with bench.gathering():
        calls = [bench.submit(bench.desk.sending(), bench.other.sending()) for _ in range(10)]
        await bench.queued(20)
    answers = [answer for call in calls for answer in await call]
    assert all(isinstance(answer, Answer) for answer in answers)
    assert bench.groups[-1].commands == 20
    assert len(bench.commits[-1].changes) == 20
    for desk in (bench.desk, bench.other):
        assert (await desk.check_counts()).revision == 10


async def test_revisions_are_gapless_whoever_writes(bench: Bench) -> None:
    """Thirty callers of three inboxes at once, one of whom breaks the group that it is in."""

    async def caller(number: int) -> list[SendReceipt]:
        receipts = []
        for turn in range(4):
            sends = [bench.desk.sending(("ada", "bob", "cleo")[(number + place) % 3]) for place in range(3)]
            broken = bench.submit(*([Break(tenant="default")] if number == turn == 2 else []))
            answers = await bench.writer.submit(sends)
            receipts += [receipt_of(answer) for answer in answers]
            assert not any(isinstance(answer, Answer) for answer in await broken)
        return receipts

    receipts = [receipt for found in await asyncio.gather(*map(caller, range(30))) for receipt in found]
    assert len(receipts) == 360
    for name in ("ada", "bob", "cleo"):
        inbox = await bench.desk.check_counts(name)
        assert inbox.revision == 120
        mine = [receipt for receipt in receipts if receipt.incarnation == inbox.incarnation]
        assert sorted(receipt.revision for receipt in mine) == list(range(1, 121))
        announced = [
            change.revision
            for committed in bench.commits
            for change in committed.changes
            if isinstance(change, InboxChange) and change.recipient == name
        ]
        assert announced == list(range(1, 121)), "announced in the order of commits"


async def test_commands_of_one_call_are_applied_in_their_order(bench: Bench) -> None:
    """Kinds alternate, and so are written in several runs of one transaction."""
    commands: list[Command[Any]] = []
    for number in range(200):
        send = bench.desk.sending(text=str(number))
        commands += [send, Probe(tenant="default")] if number % 3 else [send]
    answers = await bench.writer.submit(commands)
    receipts = [answer.receipt for answer in answers if isinstance(answer, Answer) and answer.receipt]
    assert [receipt.revision for receipt in receipts] == list(range(1, 201))


async def test_a_command_that_breaks_takes_nobody_with_it(bench: Bench) -> None:
    async with bench.gathering():
        good = bench.submit(bench.desk.sending(), bench.desk.sending(request=send_key("r")))
        bad = bench.submit(Break(tenant="default"))
        late = bench.submit(bench.other.sending())
        again = bench.submit(bench.desk.sending(request=send_key("r")))
        await bench.queued(5)
    first, second = await good
    assert [receipt_of(first).revision, receipt_of(second).revision] == [1, 2]
    (failure,) = await bad
    assert isinstance(failure, TocsinError)
    assert (failure.reason, "ZeroDivisionError" in failure.detail) == ("INTERNAL", True)
    assert "ZeroDivision" not in failure.message
    assert isinstance((await late)[0], Answer)
    assert (await again)[0] == Answer(receipt_of(second), replayed=True)
    assert bench.groups[-1].commands == 1
    # Every entry was announced, and only once; of the one that was repeated it was told that it is there.
    told = [change for committed in bench.commits for change in committed.changes]
    whole = [change for change in told if isinstance(change, InboxChange) and change.content is not None]
    assert (len(whole), len(told)) == (3, 4)
    assert (await bench.desk.check_counts()).counts.total == 2


async def test_what_fails_after_the_commit_does_not_write_again(bench: Bench) -> None:
    """Whoever watches the writer may break; what it has committed is committed, and answered."""

    def fail() -> None:
        raise RuntimeError("the metrics are broken")

    async with bench.gathering():
        calls = [bench.submit(bench.desk.sending()) for _ in range(3)]
        await bench.queued(3)
        bench.on_group = fail
    for call in calls:
        assert isinstance((await call)[0], Answer)
    bench.on_group = lambda: None
    assert (await bench.desk.send()).revision == 4


async def test_an_expected_failure_is_its_own(bench: Bench) -> None:
    await bench.writer.submit(
        (CreateTenant(tenant="default", name="other", display_name="", quotas=Quotas(max_recipients=1)),)
    )
    answers = await bench.writer.submit([bench.other.sending(name) for name in ("ada", "bob", "ada", "cleo")])
    assert [isinstance(answer, QuotaExceeded) for answer in answers] == [False, True, False, True]
    more = ChangeTenant(
        tenant="default",
        name="other",
        quotas=Quotas(max_recipients=2),
        quota_fields=frozenset({"max_recipients"}),
    )
    await bench.writer.submit((more,))
    assert isinstance((await bench.writer.submit((bench.other.sending("bob"),)))[0], Answer)


# --- repeats ----------------------------------------------------------------------------------------------------------


async def test_one_request_in_flight_twice_in_one_group_is_applied_once(bench: Bench) -> None:
    async with bench.gathering():
        calls = [
            bench.submit(bench.desk.sending(text=str(number), request=send_key("r"))) for number in range(5)
        ]
        await bench.queued(5)
    answers = [(await call)[0] for call in calls]
    receipts = [receipt_of(answer) for answer in answers]
    assert receipts == [receipts[0]] * 5
    assert [answer.replayed for answer in answers if isinstance(answer, Answer)] == [
        False,
        True,
        True,
        True,
        True,
    ]
    assert (await bench.desk.check_counts()).revision == 1


async def test_another_request_of_the_same_id_is_refused(bench: Bench) -> None:
    """In the same group, and later."""
    async with bench.gathering():
        first = bench.submit(bench.desk.sending(request=send_key("r", "this")))
        second = bench.submit(bench.desk.sending(request=send_key("r", "that")))
        await bench.queued(2)
    assert isinstance((await first)[0], Answer)
    third = await bench.writer.submit((bench.desk.sending(request=send_key("r", "that")),))
    for (refused,) in (await second, third):
        assert isinstance(refused, RequestIdReused)
        assert refused.metadata == {"request_id": "r"}
    assert (await bench.desk.check_counts()).revision == 1


async def test_tenants_and_spaces_have_ids_of_their_own(bench: Bench) -> None:
    answers = await bench.writer.submit(
        [
            bench.desk.sending(request=send_key("r")),
            bench.other.sending(request=send_key("r", "else")),
            bench.desk.sending(request=key(RequestSpace.REVISE, "r", "else")),
        ]
    )
    assert [isinstance(answer, Answer) and not answer.replayed for answer in answers] == [True] * 3


@on_sqlite
async def test_what_sqlite_refused_is_not_remembered(bench: Bench) -> None:
    await bench.writer.submit((Fill(tenant="default"),))
    large = bench.desk.sending(text="x" * (1 << 20), request=send_key("r"))
    (refused,) = await bench.writer.submit((large,))
    assert isinstance(refused, StorageUnavailable)
    small = bench.desk.sending(request=send_key("r"))
    (answer,) = await bench.writer.submit((small,))
    assert answer == Answer(receipt_of(answer), replayed=False)


# --- deadlines and bounds ---------------------------------------------------------------------------------------------


async def test_past_its_deadline_nothing_is_written(bench: Bench) -> None:
    async with bench.gathering():
        late = bench.submit(bench.desk.sending(request=send_key("r")), deadline=time.monotonic() - 1)
        in_time = bench.submit(bench.desk.sending(), deadline=time.monotonic() + 60)
        await bench.queued(2)
    assert isinstance((await late)[0], DeadlinePassed)
    assert receipt_of((await in_time)[0]).revision == 1
    (answer,) = await bench.writer.submit((bench.desk.sending(request=send_key("r")),))
    assert answer == Answer(receipt_of(answer), replayed=False)


async def test_a_full_queue_refuses_a_tenant_and_not_its_neighbours(open_bench: OpenBench) -> None:
    async with open_bench(max_queue_bytes=4_000) as bench:
        async with bench.gathering():
            # A queue that is empty takes a command of any size.
            first = bench.submit(bench.desk.sending(text="x" * 10_000))
            await bench.queued(1)
            (refused,) = await bench.submit(bench.desk.sending())
            assert isinstance(refused, QueueFull)
            assert refused.metadata == {"limit": "4000"}
            assert refused.retry_delay
            mixed = bench.submit(bench.desk.sending(), bench.other.sending())
            await bench.queued(2)
            assert bench.writer.depth().bytes > 10_000
            assert bench.writer.depth().oldest_age >= 0
        assert isinstance((await first)[0], Answer)
        here, there = await mixed
        assert isinstance(here, QueueFull)
        assert isinstance(there, Answer)
        assert bench.writer.depth().commands == bench.writer.depth().bytes == 0
        assert (await bench.desk.send()).revision == 2


async def test_a_caller_that_gives_up_is_written_all_the_same(bench: Bench) -> None:
    async with bench.gathering():
        call = bench.submit(bench.desk.sending())
        await bench.queued(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert (await bench.desk.send()).revision == 2


async def test_what_is_queued_is_written_before_the_end(bench: Bench) -> None:
    async with bench.gathering():
        calls = [bench.submit(bench.desk.sending()) for _ in range(5)]
        await bench.queued(5)
        ending = asyncio.ensure_future(bench.writer.close())
        await asyncio.sleep(0)
        (refused,) = await bench.submit(bench.desk.sending())
    assert isinstance(refused, StorageUnavailable)
    await ending
    assert [receipt_of((await call)[0]).revision for call in calls] == [1, 2, 3, 4, 5]
    assert isinstance((await bench.submit(bench.desk.sending()))[0], StorageUnavailable)


# --- trouble ----------------------------------------------------------------------------------------------------------


@on_sqlite
async def test_sqlite_locked_by_another_process_is_refused_and_heals(bench: Bench) -> None:
    await bench.desk.send()
    async with locked(bench.path):
        refused = await bench.writer.submit(
            [bench.desk.sending(request=send_key("r")), bench.other.sending()]
        )
        assert all(isinstance(answer, StorageUnavailable) for answer in refused)
        assert bench.troubles[-1]
        assert len(await bench.desk.entries()) == 1, "readers do not wait for writers"
    answers = await bench.writer.submit([bench.desk.sending(request=send_key("r"))])
    assert answers == [Answer(receipt_of(answers[0]), replayed=False)]
    assert bench.troubles[-1] == ""
    assert (await bench.desk.check_counts()).revision == 2


@on_sqlite
async def test_sqlite_on_a_full_disk_is_refused_and_heals(bench: Bench) -> None:
    await bench.desk.send()
    await bench.writer.submit((Fill(tenant="default"),))
    large = [bench.desk.sending(text="x" * (1 << 20)) for _ in range(3)]
    for answer in await bench.writer.submit(large):
        assert isinstance(answer, StorageUnavailable)
        assert "full" in answer.detail
    assert "full" in bench.troubles[-1]
    inbox = await bench.desk.check_counts()
    assert inbox.revision == 1
    # There is room again: what makes it is the test's own connection, since the limit is one of a connection.
    (answer,) = await bench.writer.submit((bench.desk.sending(),))
    assert receipt_of(answer).revision == 2


async def test_a_listener_that_breaks_does_not_keep_answers_back(bench: Bench) -> None:
    def fail(committed: Committed) -> None:
        raise RuntimeError("a session is broken")

    bench.writer.listen(fail)
    told: list[Committed] = []

    def note(committed: Committed) -> None:
        told.append(committed)

    bench.writer.listen(note)
    assert (await bench.desk.send()).revision == 1
    assert len(told) == 1


async def test_listeners_hear_of_a_commit_before_its_callers(bench: Bench) -> None:
    order: list[str] = []

    def note(committed: Committed) -> None:
        order.append("heard")

    bench.writer.listen(note)

    async def call() -> None:
        await bench.desk.send()
        order.append("answered")

    await call()
    assert order == ["heard", "answered"]


def test_every_command_has_a_handler() -> None:
    known = {
        each
        for each in vars(commands_module).values()
        if isinstance(each, type) and issubclass(each, Command) and each is not Command
    }
    assert known == {kind for kind in HANDLERS if kind.__module__.startswith(commands_module.__name__)}
    assert StoreNotification in known
