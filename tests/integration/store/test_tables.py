"""Every table says how long its rows are kept and what removes them, and what it says is so."""

import re
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.broadcasting import Station
from tests.support.deliveries import Dispatch
from tests.support.desk import Desk
from tests.support.stores import START, TurnedClock, stored
from tocsin_server.domain import commands
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import (
    ChangeTenant,
    Command,
    CreateTenant,
    EraseTenant,
    ExpireEntries,
    PruneHistory,
)
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import HOUR
from tocsin_server.store import migrations
from tocsin_server.store.store import HANDLERS
from tocsin_server.store.tables import FOR_EVER, Table

COMMANDS = {kind.__name__: kind for kind in HANDLERS}


def described() -> dict[str, Table]:
    """The tables of all migrations."""
    tables: dict[str, Table] = {}
    for file in sorted(Path(migrations.__path__[0]).glob("[0-9]*.py")):
        tables |= import_module(f"{migrations.__name__}.{file.stem}").TABLES
    return tables


async def test_every_table_of_sqlite_is_described(tmp_path: Path, clock: TurnedClock) -> None:
    async with stored(tmp_path, clock):
        pass
    with closing(sqlite3.connect(tmp_path / "tocsin.db")) as connection:
        names = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        }
    own = {name for name in names if not name.startswith("sqlite_")} - {"schema_migrations"}
    assert own == set(described())


@pytest.mark.parametrize(("name", "table"), described().items())
def test_a_table_names_its_retention_and_what_removes_its_rows(name: str, table: Table) -> None:
    assert table.keeps
    assert table.until
    assert (table.until == FOR_EVER) is not bool(table.removed_by)
    assert [command for command in table.removed_by if command not in COMMANDS] == []
    assert re.search(rf"CREATE TABLE {name}\b", table.create)


async def test_what_is_said_to_remove_rows_does(
    tmp_path: Path, clock: TurnedClock, statements: list[str]
) -> None:
    """And nothing else does: every command that removes rows of a table is named with it."""
    removed: dict[str, set[str]] = {name: set() for name in described()}

    async with stored(tmp_path, clock) as store:
        desk = Desk(store, clock)

        async def watch(command: Command[Any]) -> None:
            del statements[:]
            await desk.submit(command)
            for statement in statements:
                deleting = re.match(r"\s*DELETE FROM (\w+)\b", statement)
                if deleting and deleting[1] in removed:
                    removed[deleting[1]].add(type(command).__name__)

        dispatch = Dispatch(desk)

        async def gone() -> None:
            await desk.cancel(await dispatch.plan(START))

        stored_id = (await desk.send()).notification_id
        await watch(commands.ReviseNotification(tenant="default", id=stored_id, content=b"", renotify=False))
        await watch(ExpireEntries(tenant="", entries=(("default", stored_id),)))
        cancelled = (await desk.send()).notification_id
        await watch(commands.CancelNotifications(tenant="default", ids=(cancelled,)))
        await desk.send(expire_time=START + HOUR)
        clock.time += HOUR
        (timer,) = await store.readers.due_timers(clock.time, 10)
        await watch(commands.FireTimer(tenant="default", timer=timer))
        await gone()
        inboxes = (("default", "ada"),)
        await watch(commands.PruneInboxes(tenant="", inboxes=inboxes, cutoff=clock.time + 1))
        await desk.acknowledge(await desk.inbox(), 1)
        await watch(
            PruneHistory(tenant="", requests_before=0, events_before=0, positions_before=0, slots_before=0)
        )
        await desk.submit(
            commands.UpsertCategory(tenant="default", category=Category("news"), fields=frozenset())
        )
        await watch(commands.DeleteCategory(tenant="default", name="news"))
        await dispatch.plan(START)
        await desk.submit(commands.CreateTopic(tenant="default", topic="news", display_name=""))
        for recipient in ("ada", "bob", "carol"):
            await desk.add_members("news", recipient)
        await watch(commands.RemoveMembers(tenant="default", topic="news", recipients=("bob",)))
        await watch(commands.EraseRecipient(tenant="default", recipient="ada"))
        await Station(store, clock).delivered()
        await desk.prune(clock.time + 1, "ada", "bob", "carol")
        await desk.submit(commands.EraseRecipient(tenant="default", recipient="bob"))
        await desk.submit(commands.EraseRecipient(tenant="default", recipient="carol"))
        await watch(commands.PruneBroadcasts(tenant="", cutoff=clock.time + 1))
        await desk.submit(commands.DeleteTopic(tenant="default", topic="news"))
        (topic_id,) = await store.topics.erasable_topics(10)
        await watch(commands.EraseTopic(tenant="", topic_id=topic_id))
        await desk.submit(CreateTenant(tenant="default", name="t", display_name="", quotas=Quotas()))
        await Dispatch(Desk(store, clock, "t")).plan(START)
        await desk.submit(ChangeTenant(tenant="default", name="t", state=TenantState.DELETING))
        for _ in range(2):
            await watch(EraseTenant(tenant="", name="t"))

    assert removed == {name: set(table.removed_by) for name, table in described().items()}
