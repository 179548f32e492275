"""Two replicas that are at the same rows at the same time, one held up by a lock until the other is done."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.integration.store.test_postgres import connected, waiting
from tests.integration.store.test_requests import MAKERS
from tests.support.desk import Desk, key, receipt_of
from tests.support.stores import TurnedClock, on_postgres, stored
from tests.support.waiting import eventually
from tocsin_server.domain.commands import (
    Answer,
    RequestSpace,
)
from tocsin_server.store.store import Store

pytestmark = on_postgres


@pytest.fixture
async def stores(tmp_path: Path, clock: TurnedClock, database_url: str) -> AsyncIterator[list[Store]]:
    """Two replicas on one database, which does not get them out of a deadlock before their locks time out; and which
    finds rows by indexes, however few there are.
    """
    settings = "-c deadlock_timeout=60s -c enable_seqscan=off -c enable_bitmapscan=off"
    url = f"{database_url}&options={quote(settings)}"
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(stored(tmp_path, clock, url=url)) for _ in range(2)]


@pytest.fixture
def desks(stores: list[Store], clock: TurnedClock) -> list[Desk]:
    return [Desk(store, clock) for store in stores]


async def held_up(url: str, number: int = 1) -> None:
    """So many writers wait."""

    async def enough() -> bool:
        return len(await waiting(url)) == number

    await eventually(enough, "writers to wait for locks")


# --- requests ---------------------------------------------------------------------------------------------------------

REQUEST = """
    INSERT INTO requests (tenant, space, request_id, fingerprint, receipt, create_time)
    VALUES (%s, %s, %s, '', '', 0)"""


@pytest.mark.parametrize(
    "space",
    [
        RequestSpace.CREATE_TENANT,
        RequestSpace.CREATE_TOPIC,
        RequestSpace.DELETE_TOPIC,
        RequestSpace.DELETE_CATEGORY,
        RequestSpace.DELETE_RECIPIENT,
        RequestSpace.CANCEL_BROADCAST,
    ],
)
async def test_a_request_that_another_replica_is_just_doing_gets_its_receipt(
    desks: list[Desk], stores: list[Store], database_url: str, space: RequestSpace
) -> None:
    """Rather than the error that there is nothing left to do."""
    command = await MAKERS[space](desks[0], key(space, "r"))
    async with connected(database_url) as other:
        await other.execute("BEGIN")
        await other.execute(REQUEST, ("default", int(space), "r"))
        first = asyncio.ensure_future(stores[0].writer.submit((command,)))
        await held_up(database_url, 1)
        second = asyncio.ensure_future(stores[1].writer.submit((command,)))
        await held_up(database_url, 2)
        await other.execute("ROLLBACK")
    (done,), (repeated,) = await first, await second
    assert done == Answer(receipt_of(done), replayed=False)
    assert repeated == Answer(receipt_of(done), replayed=True)
