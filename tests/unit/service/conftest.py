"""An exchange: a real store, a real hub, and sessions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.desk import Desk
from tests.support.stores import TurnedClock, stored
from tests.support.streams import Exchange, exchange
from tocsin_server.store.store import Store


@pytest.fixture
def turned_clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def opened_store(tmp_path: Path, turned_clock: TurnedClock) -> AsyncIterator[Store]:
    async with stored(tmp_path, turned_clock) as opened:
        yield opened


@pytest.fixture
async def streams(opened_store: Store, turned_clock: TurnedClock) -> AsyncIterator[Exchange]:
    async with exchange(opened_store, turned_clock) as opened:
        yield opened


@pytest.fixture
def desk(streams: Exchange) -> Desk:
    return streams.desk
