"""The conformance suite of a bus: what `service/ports` promises, in memory and by a real Valkey."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.desk import Desk
from tests.support.replicas import Replica, Replicas, replicas
from tests.support.stores import TurnedClock, stored
from tests.support.valkey import Valkey
from tocsin_server.store.store import Store

Join = Callable[[], Awaitable[Replica]]


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def store(tmp_path: Path, clock: TurnedClock) -> AsyncIterator[Store]:
    async with stored(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def desk(store: Store, clock: TurnedClock) -> Desk:
    return Desk(store, clock)


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    async with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Valkey]:
    """Of one node, which has all slots."""
    async with Valkey(tmp_path / "cluster", cluster=True) as server:
        yield server


@pytest.fixture(params=["valkey", "cluster"])
def server(request: pytest.FixtureRequest) -> Valkey:
    """Either of them."""
    found: Valkey = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def fleet(store: Store, clock: TurnedClock) -> AsyncIterator[Replicas]:
    async with replicas(store, clock) as made:
        yield made


@pytest.fixture(params=["memory", "valkey", "cluster"])
def join(request: pytest.FixtureRequest, fleet: Replicas) -> Join:
    """Another replica on the bus that the test runs on; the first one is where commits happen."""
    server: Valkey | None = None if request.param == "memory" else request.getfixturevalue(request.param)
    return lambda: fleet.join(None if server is None else server.url)
