"""Two replicas that are at the same rows at the same time, one held up by a lock until the other is done."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.store.test_requests import MAKERS
from tests.support.broadcasting import Station
from tests.support.deliveries import Dispatch
from tests.support.desk import Desk, key, receipt_of
from tests.support.locks import connected, holding, under_way, waiting
from tests.support.stores import TurnedClock, on_postgres, stored
from tests.support.waiting import eventually
from tocsin_server.domain.audience import TopicAudience
from tocsin_server.domain.commands import (
    AcknowledgePositions,
    AddMembers,
    Answer,
    CancelNotifications,
    CancelReceipt,
    Command,
    CreateTenant,
    CreateTopic,
    DeleteTopic,
    EraseTopic,
    MarkEntries,
    PruneHistory,
    RequestKey,
    RequestSpace,
    UpTo,
)
from tocsin_server.domain.cursor import UNBORN, UNFILTERED, Cursor
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.errors import QuotaExceeded
from tocsin_server.domain.inbox import Mark
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.store.places import lane_of
from tocsin_server.store.store import Store

pytestmark = on_postgres

LOCK_POSITION = "SELECT FROM consumer_positions WHERE recipient = 'ada' FOR UPDATE"
"""Holds up whoever erases ada, once the topics are left."""


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


async def count(url: str, statement: str) -> int:
    async with connected(url) as connection:
        row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return int(row[0])


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


# --- recipients that come to be while somebody waits ------------------------------------------------------------------


def beside(command: Command[Any], recipient: str) -> str:
    """A recipient whose commands the same thread writes as this one."""
    names = (f"{recipient}{number}" for number in itertools.count())
    return next(name for name in names if lane_of(touching(name), 2) == lane_of(command, 2))


def touching(recipient: str) -> Command[Any]:
    """A command that locks an inbox."""
    selection = UpTo(Cursor(UNBORN, UNFILTERED, 0))
    return MarkEntries(tenant="default", recipient=recipient, mark=Mark.READ, selection=selection)


async def test_a_thread_that_begins_while_its_end_waits_is_left_alone(
    desks: list[Desk], stores: list[Store], database_url: str
) -> None:
    cancel = CancelNotifications(tenant="default", recipient="ada", thread="t")
    bob = beside(cancel, "bob")
    await desks[0].send(bob)
    async with holding(database_url, bob):
        cancelling = asyncio.ensure_future(stores[1].writer.submit((touching(bob), cancel)))
        await held_up(database_url)
        await desks[0].send("ada", thread="t")
        await desks[0].send("ada", thread="t", deliver_time=2 * 10**15)
    _, answer = await cancelling
    assert receipt_of(answer) == CancelReceipt(())
    assert (await desks[0].check_counts()).counts.total == 1
    (entry,) = await desks[0].entries()
    assert entry.content is not None


async def test_the_position_of_one_who_was_not_there_replaces_none(
    desks: list[Desk], stores: list[Store], database_url: str
) -> None:
    await desks[0].send("bob")
    bob = await desks[0].inbox("bob")
    positions = (
        ConsumerPosition("app", "ada", UNBORN, UNFILTERED, 0),
        ConsumerPosition("app", "bob", bob.incarnation, UNFILTERED, 1),
    )
    async with holding(database_url, "bob"):
        command = AcknowledgePositions(tenant="default", positions=positions)
        acknowledging = asyncio.ensure_future(desks[1].submit(command))
        await held_up(database_url)
        await desks[0].send("ada")
        ada = await desks[0].inbox("ada")
        assert await desks[0].acknowledge(ada, 1) == 1
    assert (await acknowledging).revisions == (0, 1)
    (position,) = await stores[0].recipients.consumer_positions("default", "ada")
    assert (position.incarnation, position.revision) == (ada.incarnation, 1)


# --- topics -----------------------------------------------------------------------------------------------------------


async def topic(desk: Desk, *recipients: str) -> None:
    await desk.submit(CreateTopic(tenant="default", topic="news", display_name=""))
    await desk.add_members("news", *recipients)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_topic_that_a_member_is_leaving_is_erased_with_all_members(
    desks: list[Desk], stores: list[Store], database_url: str, ended: bool
) -> None:
    """The member is being erased, and its membership may have ended before."""
    await topic(desks[0], "ada", "bob", "cleo")
    await desks[0].acknowledge(await desks[0].inbox("ada"), 0)
    if ended:
        async with connected(database_url) as other:
            await other.execute("UPDATE topic_members SET remove_time = create_time WHERE recipient = 'ada'")
    await desks[0].submit(DeleteTopic(tenant="default", topic="news"))
    (topic_id,) = await stores[0].topics.erasable_topics(10)
    async with under_way(database_url, LOCK_POSITION, ending="COMMIT"):
        leaving = asyncio.ensure_future(desks[0].erase("ada"))
        await held_up(database_url, 1)
        erase = EraseTopic(tenant="", topic_id=topic_id, limit=2)
        erasing = asyncio.ensure_future(desks[1].submit(erase))
        await held_up(database_url, 2)
    await leaving
    more = (await erasing).more
    while more:
        more = (await desks[1].submit(erase)).more
    assert await count(database_url, "SELECT count(*) FROM topic_members") == 0
    assert await count(database_url, "SELECT count(*) FROM topics") == 0


async def test_whoever_leaves_and_is_back_has_one_entry_of_a_broadcast(
    desks: list[Desk], stores: list[Store], clock: TurnedClock, database_url: str
) -> None:
    """Coming back had begun earlier than leaving, and waited."""
    station = Station(stores[1], clock)
    await topic(desks[0], "aaron", "ada")
    async with holding(database_url, "aaron"):
        clock.time += SECOND
        adding = asyncio.ensure_future(desks[0].add_members("news", "aaron", "ada"))
        await held_up(database_url)
        clock.time += SECOND
        await station.create(TopicAudience("news"))
        clock.time += SECOND
        assert await desks[1].remove_members("news", "ada") == 1
    assert await adding == 1
    await station.carry_out()
    for recipient in ("aaron", "ada"):
        assert (await desks[0].check_counts(recipient)).counts.total == 1
    found = await stores[0].topics.topic("default", "news")
    assert found is not None
    assert found.member_count == 2


def joining(desk: Desk, size: int, request: RequestKey | None = None) -> AddMembers:
    """New recipients that are to be members."""
    names = tuple(f"{size}-{number}" for number in range(size))
    return AddMembers(tenant=desk.tenant, request=request, topic="news", recipients=names)


async def test_many_new_members_at_two_replicas_keep_to_the_quota(
    desks: list[Desk], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is near it by itself; a few of a third, which do not wait before their end, are in nobody's way."""
    monkeypatch.setattr("tocsin_server.store.usage._UNDER_WAY", 20)
    monkeypatch.setattr("tocsin_server.store.usage._ADDED_UNSEEN", 5)
    quotas = Quotas(max_recipients=100)
    await desks[0].submit(CreateTenant(tenant="default", name="other", display_name="", quotas=quotas))
    for desk in desks:
        desk.tenant = "other"
    await desks[0].submit(CreateTopic(tenant="other", topic="news", display_name=""))
    async with connected(database_url) as other:
        await other.execute("BEGIN")
        await other.execute(REQUEST, ("other", int(RequestSpace.ADD_MEMBERS), "r"))
        first = joining(desks[0], 60, key(RequestSpace.ADD_MEMBERS, "r"))
        others = [joining(desks[1], size) for size in range(1, 6)]
        few = next(each for each in others if lane_of(each, 2) != lane_of(joining(desks[1], 61), 2))
        adding = [asyncio.ensure_future(desks[0]._writer.submit((first,)))]
        await held_up(database_url, 1)
        adding.append(asyncio.ensure_future(desks[1]._writer.submit((joining(desks[1], 61),))))
        await held_up(database_url, 2)
        adding.append(asyncio.ensure_future(desks[1]._writer.submit((few,))))
        await held_up(database_url, 3)
        await other.execute("ROLLBACK")
    (done,), (refused,), (added,) = await asyncio.gather(*adding)
    assert receipt_of(done).count == 60
    assert isinstance(refused, QuotaExceeded)
    assert receipt_of(added).count == len(few.recipients)


# --- what is removed by age -------------------------------------------------------------------------------------------

UPSERTED = key(RequestSpace.UPSERT_RECIPIENT, "r")

RENEW = "UPDATE consumer_positions SET update_time = %s WHERE recipient = 'ada'"


async def test_a_position_that_is_just_being_renewed_is_kept(
    desks: list[Desk], stores: list[Store], clock: TurnedClock, database_url: str
) -> None:
    await desks[0].send()
    await desks[0].acknowledge(await desks[0].inbox(), 1)
    clock.time += DAY
    cutoff = clock.time - HOUR
    async with under_way(database_url, RENEW, clock.time, ending="COMMIT"):
        command = PruneHistory(
            tenant="", requests_before=0, events_before=0, positions_before=cutoff, slots_before=0
        )
        pruning = asyncio.ensure_future(desks[1].submit(command))
        await held_up(database_url)
    assert (await pruning).count == 0
    (position,) = await stores[0].recipients.consumer_positions("default", "ada")
    assert (position.revision, position.update_time) == (1, clock.time)


async def test_what_is_old_of_an_erased_recipient_is_in_nobodys_way(
    desks: list[Desk], stores: list[Store], clock: TurnedClock, database_url: str
) -> None:
    await stores[0].writer.submit((await MAKERS[RequestSpace.UPSERT_RECIPIENT](desks[0], UPSERTED),))
    await desks[0].send()
    await desks[0].acknowledge(await desks[0].inbox(), 1)
    end = clock.time + 1
    async with under_way(database_url, LOCK_POSITION, ending="COMMIT"):
        erasing = asyncio.ensure_future(desks[0].erase())
        await held_up(database_url, 1)
        command = PruneHistory(
            tenant="", requests_before=end, events_before=end, positions_before=end, slots_before=end
        )
        pruning = asyncio.ensure_future(desks[1].submit(command))
        await held_up(database_url, 2)
    assert (await erasing).erased_count == 1
    assert (await pruning).count == 0


LOCK_DELIVERY = "SELECT FROM deliveries WHERE address = %s FOR UPDATE"


async def test_deliveries_are_removed_in_the_order_in_which_others_lock_them(
    desks: list[Desk], clock: TurnedClock, database_url: str
) -> None:
    """Somebody records what came of two, whose notifications are not in the order of their deliveries."""
    earlier, later = await desks[0].send_many(2)
    dispatch = Dispatch(desks[0])
    await dispatch.plan(clock.time, "first", id=later)
    await dispatch.plan(clock.time, "second", id=earlier)
    async with under_way(database_url, LOCK_DELIVERY, "first", ending="COMMIT") as other:
        erasing = asyncio.ensure_future(desks[1].erase())
        await held_up(database_url)
        await other.execute(f"{LOCK_DELIVERY} NOWAIT", ("second",))
    assert (await erasing).erased_count == 2
    assert await count(database_url, "SELECT count(*) FROM deliveries") == 0
