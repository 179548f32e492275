"""What only a fleet can show: several stores on one database at once, and a server that goes away and comes back."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.commands import output_of
from tests.support.desk import Desk, key, receipt_of
from tests.support.locks import connected, holding, waiting
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.proxy import Proxy
from tests.support.stores import QUOTAS, TurnedClock, on_postgres, stored
from tests.support.waiting import eventually
from tocsin_server.domain.commands import (
    Answer,
    ByIds,
    CancelOutcome,
    CreateTenant,
    RequestSpace,
    SendReceipt,
)
from tocsin_server.domain.errors import RequestIdReused, StorageUnavailable
from tocsin_server.domain.inbox import InboxChange, Mark, Status
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.service.ports import Committed
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.postgres.connection import PostgresConnection
from tocsin_server.store.postgres.engine import PostgresSession
from tocsin_server.store.postgres.writing import WritingConnection
from tocsin_server.store.sql import Insert, Update
from tocsin_server.store.store import Store, StoreOptions, open_store

pytestmark = on_postgres


@pytest.fixture
async def desks(tmp_path: Path, clock: TurnedClock, database_url: str) -> AsyncIterator[list[Desk]]:
    """Two replicas on one database."""
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(stored(tmp_path, clock, url=database_url)) for _ in range(2)
        ]
        yield [Desk(store, clock) for store in stores]


# --- races ------------------------------------------------------------------------------------------------------------


async def test_revisions_are_gapless_whichever_replica_writes(desks: list[Desk]) -> None:
    async def sender(desk: Desk) -> list[SendReceipt]:
        return [await desk.send(("ada", "bob")[number % 2]) for number in range(40)]

    async def reader(desk: Desk) -> None:
        for number in range(40):
            ids = tuple(await desk.statuses())
            match number % 4:
                case 0 if ids:
                    await desk.mark((Mark.READ, Mark.ARCHIVED)[number // 4 % 2], ByIds(ids[:3]))
                case 1 if ids:
                    await desk.cancel(ids[-1], ids[0])
                case 2 if ids and (await desk.statuses())[ids[0]] is not Status.GONE:
                    await asyncio.gather(desk.revise(ids[0], renotify=True), return_exceptions=True)
                case _:
                    await asyncio.sleep(0)

    senders = [sender(desk) for desk in desks for _ in range(3)]
    found = await asyncio.gather(*senders, *(reader(desk) for desk in desks))
    receipts = [receipt for each in found if each for receipt in each]
    inboxes = [await desks[0].check_counts(name) for name in ("ada", "bob")]
    for inbox in inboxes:
        mine = [receipt.revision for receipt in receipts if receipt.incarnation == inbox.incarnation]
        assert len(mine) == len(set(mine)) == 120
        assert max(mine) <= inbox.revision
    assert inboxes[1].revision == 120, "bob's inbox has nothing but what was sent"


async def test_one_request_at_two_replicas_is_applied_once(desks: list[Desk]) -> None:
    async def caller(desk: Desk) -> list[Any]:
        answers = []
        for number in range(30):
            request = key(RequestSpace.SEND, f"r{number}")
            answers += await desk._writer.submit((desk.sending(f"to{number}", request=request),))
        return answers

    first, second = await asyncio.gather(*map(caller, desks))
    assert [receipt_of(answer) for answer in first] == [receipt_of(answer) for answer in second]
    assert [a.replayed + b.replayed for a, b in zip(first, second, strict=True)] == [1] * 30
    for number in range(30):
        assert (await desks[0].check_counts(f"to{number}")).revision == 1


async def test_another_request_of_one_id_at_once_is_refused(desks: list[Desk]) -> None:
    """Their recipients differ, and so nothing but the id brings them together."""
    calls = [
        desk._writer.submit(
            [
                desk.sending(f"{place}-{number}", request=key(RequestSpace.SEND, f"r{number}", place))
                for number in range(20)
            ]
        )
        for place, desk in enumerate(desks)
    ]
    for pair in zip(*await asyncio.gather(*calls), strict=True):
        assert sorted(type(each).__name__ for each in pair) == [Answer.__name__, RequestIdReused.__name__]


async def test_a_recipient_that_comes_to_be_twice_at_once_is_one(
    desks: list[Desk], database_url: str
) -> None:
    for chunk in range(10):
        names = [f"new{chunk}-{number}" for number in range(6)]
        sends = [desk._writer.submit([desk.sending(name) for name in names]) for desk in desks]
        for answers in await asyncio.gather(*sends):
            assert all(isinstance(answer, Answer) for answer in answers)
        for name in names:
            assert (await desks[0].check_counts(name)).revision == 2
    async with connected(database_url) as connection:
        counted = await connection.execute("SELECT recipient_count FROM tenants WHERE name = 'default'")
        assert await counted.fetchone() == (60,)


async def test_a_refused_recipient_leaves_nothing(desks: list[Desk], database_url: str) -> None:
    desk = desks[0]
    await desk.submit(
        CreateTenant(tenant="default", name="other", display_name="", quotas=Quotas(max_recipients=1))
    )
    desk.tenant = "other"
    answers = await desk._writer.submit([desk.sending(name) for name in ("ada", "bob", "cleo")])
    # Two threads write them, either of which may come first.
    assert sorted(type(answer).__name__ for answer in answers) == ["Answer", "QuotaExceeded", "QuotaExceeded"]
    async with connected(database_url) as connection:
        rows = await connection.execute("SELECT count(*) FROM inboxes WHERE tenant = 'other'")
        assert await rows.fetchone() == (1,)


async def test_a_timer_fired_by_two_replicas_takes_effect_once(
    desks: list[Desk], clock: TurnedClock, database_url: str
) -> None:
    for number in range(50):
        await desks[0].send(f"to{number % 5}", deliver_time=clock.time + HOUR)
    clock.time += HOUR
    commands = await desks[0].firing()
    assert len(commands) == 50
    both = await asyncio.gather(
        desks[0]._writer.submit(commands), desks[1]._writer.submit(list(reversed(commands)))
    )
    assert sum(receipt_of(answer) for answers in both for answer in answers) == 50
    for number in range(5):
        assert (await desks[1].check_counts(f"to{number}")).counts.total == 10


async def test_a_deadlock_is_run_again(desks: list[Desk], database_url: str) -> None:
    """Somebody else locks inboxes in another order than all who write here."""
    ids = [(await desks[0].send(name)).notification_id for name in ("ada", "bob")]
    async with holding(database_url, "bob") as other:
        await other.execute("SET deadlock_timeout = '60s'")
        cancelling = asyncio.ensure_future(desks[0].cancel(*ids))
        await eventually(lambda: waiting(database_url), "the cancellation to wait")
        await other.execute("SELECT * FROM inboxes WHERE recipient = 'ada' FOR UPDATE")
        assert not cancelling.done()
    assert await cancelling == [CancelOutcome.RETRACTED] * 2
    assert (await desks[0].check_counts("bob")).revision == 2


# --- fault 8 ----------------------------------------------------------------------------------------------------------


async def test_no_cursor_passes_a_transaction_that_is_held_open(desks: list[Desk], database_url: str) -> None:
    """It has a low revision of ada's; others commit meanwhile, and ada's later ones wait for it."""
    await desks[0].send()
    async with holding(database_url, "ada") as held:
        await held.execute("UPDATE inboxes SET revision = 2 WHERE recipient = 'ada'")
        later = [asyncio.ensure_future(desk.send()) for desk in desks]
        await eventually(lambda: waiting(database_url), "the sends to wait")
        # The other thread's, and so nobody's but ada's wait.
        names = [f"other{number}" for number in range(8)]
        others = [asyncio.ensure_future(desks[0].send(name)) for name in names]
        await eventually(lambda: any(each.done() for each in others), "others to commit")
        assert (await desks[1].inbox()).revision == 1
        assert [entry.revision for entry in await desks[1].changes()] == [1]
        await held.execute("COMMIT")
        await held.execute("BEGIN")
    assert sorted(receipt.revision for receipt in await asyncio.gather(*later)) == [3, 4]
    await asyncio.gather(*others)


async def test_hints_of_an_inbox_come_in_the_order_of_commits(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    commits: list[Committed] = []
    async with stored(tmp_path, clock, url=database_url, commits=commits) as store:
        desk = Desk(store, clock)

        async def caller(number: int) -> None:
            for turn in range(15):
                name = f"to{(number + turn) % 4}"
                id = (await desk.send(name)).notification_id
                await desk.revise(id)
                await desk.cancel(id)

        await asyncio.gather(*map(caller, range(12)))
        for name in (f"to{number}" for number in range(4)):
            announced = [
                change.revision
                for committed in commits
                for change in committed.changes
                if isinstance(change, InboxChange) and change.recipient == name
            ]
            assert announced == sorted(announced)
            assert announced[-1] == (await desk.check_counts(name)).revision


# --- trouble ----------------------------------------------------------------------------------------------------------


async def test_a_connection_that_is_cut_off_is_refused_and_heals(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        await desk.send()
        async with holding(database_url, "ada"):
            call = store.writer.submit((desk.sending(request=key(RequestSpace.SEND, "r")),))
            cut_off = asyncio.ensure_future(call)
            (pid,) = await eventually(lambda: waiting(database_url), "the send to wait")
            async with connected(database_url) as connection:
                await connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
            (refused,) = await cut_off
            assert isinstance(refused, StorageUnavailable)
        again = desk.sending(request=key(RequestSpace.SEND, "r"))
        (answer,) = await store.writer.submit((again,))
        assert answer == Answer(receipt_of(answer), replayed=False)
        assert (await desk.check_counts()).revision == 2


@pytest.mark.parametrize("committed", [False, True])
async def test_a_commit_whose_end_nobody_saw_is_refused_and_its_repeat_tells(
    tmp_path: Path, clock: TurnedClock, database_url: str, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    commit = PostgresSession.commit

    def cut_off(session: PostgresSession) -> None:
        if committed:
            commit(session)
        session.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    commits: list[Committed] = []
    async with stored(tmp_path, clock, url=database_url, commits=commits) as store:
        desk = Desk(store, clock)
        send = desk.sending(request=key(RequestSpace.SEND, "r"))
        with monkeypatch.context() as patched:
            patched.setattr(PostgresSession, "commit", cut_off)
            (refused,) = await store.writer.submit((send,))
        assert isinstance(refused, StorageUnavailable)
        (answer,) = await store.writer.submit((send,))
        assert answer == Answer(receipt_of(answer), replayed=committed)
        inbox = await desk.check_counts()
        assert inbox.revision == 1
        (told,) = (change for committed in commits for change in committed.changes)
        assert isinstance(told, InboxChange)
        assert (told.recipient, told.incarnation, told.revision) == ("ada", inbox.incarnation, 1), (
            "nobody has heard of it before"
        )


async def test_a_lock_that_is_not_given_up_is_refused(
    tmp_path: Path, clock: TurnedClock, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{database_url}&options=-c%20application_name%3Dtocsin"
    monkeypatch.setattr("tocsin_server.store.postgres.connection._SETTINGS", {"lock_timeout": "100ms"})
    troubles: list[str] = []
    async with stored(tmp_path, clock, url=url, troubles=troubles) as store:
        desk = Desk(store, clock)
        await desk.send()
        async with holding(database_url, "ada"):
            (refused,) = await store.writer.submit((desk.sending(),))
        assert isinstance(refused, StorageUnavailable)
        assert (await desk.send()).revision == 2
    assert set(troubles) == {""}, "storage works: the other inboxes can be written to"


async def test_connections_lost_while_nobody_used_them_are_not_noticed(
    desks: list[Desk], database_url: str
) -> None:
    await desks[0].send()
    await desks[0].inbox()
    async with connected(database_url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tocsin'"
        )
    assert (await desks[0].inbox()).revision == 1
    assert (await desks[0].send()).revision == 2


async def test_a_server_that_answers_nothing_any_more_is_taken_for_lost(
    tmp_path: Path, clock: TurnedClock, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something between keeps the connections open, and so no time-out of TCP's ends them."""
    monkeypatch.setattr("tocsin_server.store.postgres.connection.ANSWER_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr("tocsin_server.store.postgres.connection.CONNECT_TIMEOUT_SECONDS", 2)
    given = conninfo_to_dict(database_url)
    with between(Path(str(given["host"])) / ".s.PGSQL.5432") as (loop, proxy):
        host, port = proxy.address.split(":")
        url = f"postgresql://{given['user']}@{host}:{port}/{given['dbname']}"
        async with stored(tmp_path, clock, url=url) as store:
            desk = Desk(store, clock)
            await desk.send()
            await desk.inbox()
            loop.call_soon_threadsafe(proxy.blackhole)
            async with asyncio.timeout(15):
                reading = asyncio.create_task(desk.inbox())
                (refused,) = await store.writer.submit((desk.sending(),))
                assert isinstance(refused, StorageUnavailable)
                with pytest.raises(StorageUnavailable):
                    await reading
            loop.call_soon_threadsafe(proxy.heal)
            assert (await desk.send()).revision == 2
            assert (await desk.inbox()).revision == 2


@contextmanager
def between(socket: Path) -> Iterator[tuple[asyncio.AbstractEventLoop, Proxy]]:
    """A proxy before the server, on a loop of its own: opening a store keeps that of the test from running."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    proxy = Proxy(socket)
    asyncio.run_coroutine_threadsafe(proxy.__aenter__(), loop).result()
    try:
        yield loop, proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_a_server_that_is_started_again_is_found_again(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    """As in a crash: it recovers what it has acknowledged. This server keeps it safe."""
    troubles: list[str] = []
    with postgres_server() as server, server.database() as url:
        options = StoreOptions(
            path=tmp_path,
            url=url,
            cache_bytes=1 << 20,
            reader_threads=2,
            writer_threads=2,
            retention=90 * DAY,
            default_quotas=QUOTAS,
            max_queue_bytes=lambda tenant: 1 << 30,
            on_storage_error=troubles.append,
        )
        async with open_store(options, clock) as store:
            store.writer.start()
            desk = Desk(store, clock)
            acked = set(await desk.send_many(20))
            await crash(server)
            (refused,) = await store.writer.submit((desk.sending(),))
            assert isinstance(refused, StorageUnavailable)
            assert troubles[-1]
            with pytest.raises(StorageUnavailable):
                await desk.inbox()
            await asyncio.to_thread(server.start)
            assert (await desk.send()).revision == 21
            assert troubles[-1] == ""
            assert acked <= set(await desk.statuses())
            await desk.check_counts()


async def crash(server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop, 3)


async def test_a_database_that_is_not_there_is_named(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    url = database_url.replace("/tocsin_", "/no_such_")
    with pytest.raises(StorageUnavailable) as unavailable:
        async with stored(tmp_path, clock, url=url):
            pass
    assert '"no_such_' in unavailable.value.detail


# --- beginnings -------------------------------------------------------------------------------------------------------


async def test_two_processes_migrate_once(database_url: str, tmp_path: Path) -> None:
    environment = {"TOCSIN_DATABASE_URL": database_url, "PATH": "/usr/bin:/bin"}
    command = (Path(sys.executable).parent / "tocsin", "migrate", "up")
    calls = [output_of(*command, environment=environment, cwd=tmp_path) for _ in range(2)]
    *done, nothing = sorted("".join(await asyncio.gather(*calls)).splitlines())
    assert (done[0], nothing) == ("applied 0001_backbone", "nothing to do")
    assert len(set(done)) == len(done), "none is applied twice"
    status = await output_of(*command[:2], "status", environment=environment, cwd=tmp_path)
    assert "pending" not in status
    latest = done[-1].removeprefix("applied ")
    down = await output_of(*command[:2], "down", "--yes", environment=environment, cwd=tmp_path)
    assert down == f"reverted {latest}\n"
    assert await output_of(*command, environment=environment, cwd=tmp_path) == f"applied {latest}\n"


async def epoch_of(store: Store) -> bytes:
    return (await store.readers.facts()).epoch


async def test_another_timeline_begins_a_new_epoch(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    async with stored(tmp_path, clock, url=database_url) as store:
        first = store.facts.epoch
    async with stored(tmp_path, clock, url=database_url) as store:
        assert store.facts.epoch == first
    async with connected(database_url) as connection:
        await connection.execute("UPDATE store_facts SET value = '0' WHERE name = 'timeline'")
    async with stored(tmp_path, clock, url=database_url) as store:
        second = store.facts.epoch
        assert second != first
    async with stored(tmp_path, clock, url=database_url) as store:
        assert store.facts.epoch == second


async def test_another_timeline_is_noticed_when_connections_are_opened_again(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    """As when a standby has taken over."""
    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        await desk.send()
        async with connected(database_url) as connection:
            await connection.execute("UPDATE store_facts SET value = '0' WHERE name = 'timeline'")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tocsin'"
            )
        await desk.send()
        assert await epoch_of(store) != store.facts.epoch


async def test_the_clock_goes_with_the_databases(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's is an hour ahead."""
    clock = SystemClock()
    monkeypatch.setattr(time, "time_ns", lambda: time.clock_gettime_ns(time.CLOCK_REALTIME) + HOUR * 1000)
    ahead = clock.now()
    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        await desk.send()
        assert abs(clock.now() - time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000) < 10 * SECOND
        assert clock.now() < ahead


async def test_a_clock_that_is_set_anew_does_not_move_the_time_of_the_store(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's is set an hour ahead while it runs, and back again."""
    clock = SystemClock()
    skew = 0
    monkeypatch.setattr(time, "time_ns", lambda: time.clock_gettime_ns(time.CLOCK_REALTIME) + skew * 1000)
    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        await desk.send()
        for skew in (HOUR, 0, -HOUR):
            clock.now()
            await desk.send()
            off = clock.now() - time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000
            assert abs(off) < 10 * SECOND, f"{off / SECOND} s by a skew of {skew / SECOND} s"


# --- statistics -------------------------------------------------------------------------------------------------------

ANALYZED = """
    SELECT relname FROM pg_stat_user_tables WHERE analyze_count = %s AND relname IN ('large', 'small') ORDER BY 1"""


async def test_only_what_has_changed_a_lot_is_analyzed(database_url: str) -> None:
    def analyzed(times: int) -> list[str]:
        # Of its own tables' changes a connection tells once it is at leisure, or is asked to.
        raw.execute("SELECT pg_stat_force_next_flush()")
        return [name for (name,) in raw.execute(ANALYZED, (times,)).fetchall()]

    with psycopg.connect(database_url, autocommit=True) as raw:
        for name, rows in (("large", 5_000), ("small", 500)):
            raw.execute(f"CREATE TABLE {name} AS SELECT generate_series(1, {rows}) AS number")
        connection = PostgresConnection(raw)
        assert analyzed(0) == ["large", "small"]
        connection.analyze(("large", "small"))
        assert (analyzed(1), analyzed(0)) == (["large"], ["small"])
        connection.analyze(("large", "small"))
        assert (analyzed(1), analyzed(2)) == (["large"], [])


# --- rows that go together --------------------------------------------------------------------------------------------

LETTERS = Insert("letters", ("id", "body"))
PARCELS = Insert("parcels", ("id", "body"))
LATEST = Insert("letters", ("id", "body"), "ON CONFLICT (id) DO UPDATE SET body = excluded.body")
BODIES = "SELECT body FROM letters UNION ALL SELECT body FROM parcels ORDER BY 1"


class Writing(NamedTuple):
    """A writer's session on two tables, and somebody who sees what is committed."""

    session: PostgresSession
    pid: int
    other: psycopg.Connection[Any]

    def seen(self) -> list[str]:
        """By the writer, within its transaction."""
        return [body for (body,) in self.session.connection.execute(BODIES).fetchall()]

    def committed(self) -> list[str]:
        return [body for (body,) in self.other.execute(BODIES).fetchall()]


@pytest.fixture
def writing(database_url: str, clock: TurnedClock) -> Iterator[Writing]:
    with (
        psycopg.connect(database_url, autocommit=True) as raw,
        psycopg.connect(database_url, autocommit=True) as other,
    ):
        for table in ("letters", "parcels"):
            raw.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, body text NOT NULL)")
        yield Writing(PostgresSession(WritingConnection(raw), clock), raw.info.backend_pid, other)


def test_a_statement_sees_all_that_was_inserted_before_it(writing: Writing) -> None:
    session = writing.session
    session.begin()
    session.connection.insert(LETTERS, [(1, "a"), (2, "b")])
    session.connection.insert(PARCELS, [(1, "c")])
    assert writing.seen() == ["a", "b", "c"]
    session.connection.insert(LETTERS, [(3, "d")])
    session.connection.insert(LATEST, [(3, "e")])
    session.connection.update(Update("parcels", "id", ("body",)), [(1, "f")])
    session.connection.insert(LATEST, [(1, "g")])
    session.commit()
    assert writing.committed() == ["b", "e", "f", "g"]


def test_what_is_held_is_gone_with_its_transaction(writing: Writing) -> None:
    session = writing.session
    session.begin()
    session.connection.insert(LETTERS, [(1, "a")])
    session.roll_back()
    session.begin()
    session.connection.insert(PARCELS, [(1, "b")])
    session.commit()
    assert writing.committed() == ["b"]


def test_what_cannot_be_inserted_and_is_rolled_back_never_comes_to_the_server(writing: Writing) -> None:
    session = writing.session
    session.begin()
    session.connection.insert(LETTERS, [(1, "a"), (1, "b")])
    session.roll_back()
    assert writing.committed() == []


def test_rows_of_several_tables_go_in_one_statement(writing: Writing) -> None:
    session = writing.session
    session.begin()
    session.connection.insert(LETTERS, [(1, "a")])
    session.connection.insert(PARCELS, [(1, "b")])
    session.connection.write_held()
    last = "SELECT query FROM pg_stat_activity WHERE pid = %s"
    (text,) = writing.other.execute(last, (writing.pid,)).fetchone() or ("",)
    assert "INTO letters" in text
    assert "INTO parcels" in text
    session.commit()
    assert writing.committed() == ["a", "b"]


def test_what_cannot_be_inserted_fails_by_the_commit(writing: Writing) -> None:
    session = writing.session
    session.begin()
    session.connection.insert(PARCELS, [(1, "a")])
    session.connection.insert(LETTERS, [(1, "b"), (1, "c")])
    with pytest.raises(psycopg.errors.UniqueViolation):
        session.commit()
    session.roll_back()
    assert writing.committed() == []
