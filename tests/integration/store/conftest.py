"""The conformance suite of a store: what `service/ports` promises, on every engine there is.

The tests know the ports and the commands, and nothing of tables; those of one engine's own say so in their names.
"""

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deliveries import planning
from tests.support.desk import Desk
from tests.support.stores import TurnedClock, stored
from tocsin_server.service.ports import Committed
from tocsin_server.store.sqlite import engine as engine_module
from tocsin_server.store.sqlite.database import open_database
from tocsin_server.store.store import Store

MakeDesk = Callable[[str], Desk]


@pytest.fixture(autouse=True)
def plannable() -> Iterator[None]:
    """Deliveries can be planned by a command of the tests."""
    with planning():
        yield


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def commits() -> list[Committed]:
    """What the store's commits announce, in their order."""
    return []


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What every connection of the store runs, with its values in place."""
    heard: list[str] = []

    def listening(*args: object, **options: object) -> object:
        database = open_database(*args, **options)  # type: ignore[arg-type]
        connect = database._connect  # type: ignore[attr-defined]

        def connected() -> sqlite3.Connection:
            connection: sqlite3.Connection = connect()
            connection.set_trace_callback(heard.append)
            return connection

        database._connect = connected  # type: ignore[attr-defined]
        return database

    monkeypatch.setattr(engine_module, "open_database", listening)
    return heard


@pytest.fixture
async def store(
    tmp_path: Path, clock: TurnedClock, commits: list[Committed], database_url: str | None
) -> AsyncIterator[Store]:
    """An open store that writes."""
    async with stored(tmp_path, clock, url=database_url, commits=commits) as opened:
        yield opened


@pytest.fixture
def make_desk(store: Store, clock: TurnedClock) -> MakeDesk:
    """A desk of a tenant."""
    return lambda tenant: Desk(store, clock, tenant)


@pytest.fixture
def desk(make_desk: MakeDesk) -> Desk:
    """A desk of the default tenant."""
    return make_desk("default")
