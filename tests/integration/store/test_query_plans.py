"""How statements find what they ask for: by an index, and on SQLite without sorting more than a page.

The plans are those of the statements as they are run: the test listens to the connections while the store is used.
"""

import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.deliveries import Dispatch
from tests.support.desk import Desk, key
from tests.support.stores import START, TurnedClock, on_postgres, stored
from tocsin_server.domain.category import CATEGORY_FIELDS, Category
from tocsin_server.domain.commands import (
    ByIds,
    ByThread,
    ChangeDefaultPreferences,
    ChangePreferences,
    DeleteCategory,
    RequestSpace,
    UpsertCategory,
)
from tocsin_server.domain.delivery import Failed
from tocsin_server.domain.entry import NotificationFilter, Wanted
from tocsin_server.domain.inbox import EntryView, Mark
from tocsin_server.domain.preferences import Choice, PreferencesChange
from tocsin_server.domain.time import DAY, HOUR
from tocsin_server.store.store import Store

Use = Callable[[Desk, Store, tuple[bytes, ...]], Awaitable[object]]

SORT = "USE TEMP B-TREE"


async def send(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.submit(desk.sending(request=key(RequestSpace.SEND, "again")))


async def mark_by_ids(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.mark(Mark.SEEN, ByIds(ids))


async def mark_by_thread(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.mark(Mark.READ, ByThread("t"))


async def mark_up_to(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.mark(Mark.READ, await desk.up_to(3))


async def snooze_up_to(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.mark(Mark.SNOOZED, await desk.up_to(3), snooze_until=START + HOUR)


async def cancel(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.cancel(*ids)


async def fire(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    assert await desk.fire_due()


async def changes(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await store.readers.changes("default", [Wanted("ada", 0), Wanted("bob", 1, 3)], 1 << 20)


async def entries(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    for view in EntryView:
        await desk.entries(view=view, limit=50)


async def summaries(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await store.readers.heads("default", ("ada", "bob", "cleo"))
    await store.readers.heads_of((("default", "ada"), ("default", "bob"), ("other", "cleo")))


async def positions(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.acknowledge(await desk.inbox(), 1)
    await store.readers.positions("default", "app", ("ada", "bob"))


async def timeline(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    for id in ids:
        await store.readers.timeline("default", id, 10)


async def listing(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await store.readers.notifications("default", NotificationFilter(), None, 50)


async def listing_of_a_recipient(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await store.readers.notifications("default", NotificationFilter(recipient="ada"), None, 50)


async def retention(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await store.readers.expirable(START, 0, 500)
    await store.readers.prunable(START, ("", ""), 500)
    await desk.prune(START + 1)


async def erasing(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    await desk.erase()


async def policies(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    for name in ("orders", "news"):
        await desk.submit(UpsertCategory(tenant=desk.tenant, category=Category(name), fields=CATEGORY_FIELDS))
    await desk.submit(DeleteCategory(tenant=desk.tenant, name="news"))
    change = PreferencesChange(made=(Choice(False, "orders"),))
    await desk.submit(ChangeDefaultPreferences(tenant=desk.tenant, change=change))
    await store.policies.policies(("default", "other"))
    await store.policies.policy_versions(("default", "other"))
    await store.categories.category("default", "orders")
    await store.categories.categories("default", "a", 50)


async def preferences(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    change = PreferencesChange(made=(Choice(False),))
    await desk.submit(ChangePreferences(tenant=desk.tenant, recipient="ada", change=change))
    await store.recipients.profiles("default", ("ada", "bob", "nobody"))


async def deliver(desk: Desk, store: Store, ids: tuple[bytes, ...]) -> None:
    dispatch = Dispatch(desk)
    await store.deliveries.delivery_backlog(START + HOUR, START + HOUR, 100)
    for claimed in await dispatch.claim():
        await dispatch.record(claimed.delivery, Failed("Busy."))
        await store.deliveries.deliveries("default", claimed.delivery.notification_id, 10)
    await desk.cancel(*ids)
    await desk.prune(START + DAY)


USES = pytest.mark.parametrize(
    ("use", "sorts"),
    [
        (send, False),
        (mark_by_ids, False),
        (mark_by_thread, True),  # a thread
        (mark_up_to, True),  # a transaction's worth of each status
        (snooze_up_to, True),
        (cancel, False),
        (fire, False),
        (changes, True),  # a page, to add up its sizes
        (entries, True),  # a page of each status
        (summaries, False),
        (positions, False),
        (timeline, True),  # the events of one notification
        (listing, False),
        (listing_of_a_recipient, True),  # an inbox
        (retention, False),
        (erasing, False),
        (policies, False),
        (preferences, False),
        (deliver, True),  # a notification's
    ],
    ids=lambda value: getattr(value, "__name__", None),
)


@USES
async def test_sqlite_scans_nothing(
    tmp_path: Path, clock: TurnedClock, statements: list[str], use: Use, sorts: bool
) -> None:
    """`sorts`: what is sorted is bounded, by what the comment says."""
    async with stored(tmp_path, clock) as store:
        desk = Desk(store, clock)
        ids = await filled(desk, store)
        clock.time += HOUR
        del statements[:]
        await use(desk, store, ids)
        with closing(sqlite3.connect(tmp_path / "tocsin.db")) as connection:
            prepare(connection, statements)
            plans = {statement: list(plan_of(connection, statement)) for statement in explained(statements)}
    assert plans
    for statement, plan in plans.items():
        made = {step.split()[-1] for step in plan if step.startswith(("CO-ROUTINE", "MATERIALIZE"))}
        for step in plan:
            scanned = re.match(r"SCAN (\S+)", step)
            unbounded = (
                scanned
                and "CONSTANT ROW" not in step
                and scanned[1] not in {*made, "changed_notifications", "changed_deliveries"}
            )
            assert not unbounded, f"{step} in\n{statement}\n" + "\n".join(plan)
            assert sorts or SORT not in step, f"{step} in\n{statement}\n" + "\n".join(plan)


@on_postgres
@USES
async def test_postgres_scans_nothing(
    tmp_path: Path,
    clock: TurnedClock,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    use: Use,
    sorts: bool,
) -> None:
    """Told not to scan, it scans only what no index leads to."""
    run: dict[str, Any] = {}
    execute = psycopg.Connection.execute

    def listening(self: Any, query: str, parameters: Any = None, **options: Any) -> Any:
        run[query] = parameters
        return execute(self, query, parameters, **options)

    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        ids = await filled(desk, store)
        clock.time += HOUR
        monkeypatch.setattr(psycopg.Connection, "execute", listening)
        await use(desk, store, ids)
        monkeypatch.undo()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        for statement in explained(list(run)):
            rows = connection.execute(f"EXPLAIN {statement}", run[statement] or ())
            plan = "\n".join(step for (step,) in rows)
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
    assert run


async def filled(desk: Desk, store: Store) -> tuple[bytes, ...]:
    """Something of each kind; the ids in ada's inbox."""
    for name in ("ada", "bob"):
        await desk.send(name, expire_time=START + HOUR, thread="t")
        await desk.send(name, deliver_time=START + HOUR)
        gone = await desk.send(name)
        await desk.cancel(gone.notification_id)
        await Dispatch(desk).plan(START, recipient=name)
    await send(desk, store, ())
    return tuple(await desk.statuses())


def explained(statements: list[str]) -> set[str]:
    return {text for text in statements if text.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")}


def prepare(connection: sqlite3.Connection, statements: list[str]) -> None:
    """Temporary tables belong to a connection: this one needs its own."""
    for statement in statements:
        if statement.startswith("CREATE TEMP"):
            connection.execute(statement)


def plan_of(connection: sqlite3.Connection, statement: str) -> Iterator[str]:
    for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
        yield step
