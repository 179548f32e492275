"""Chunks of broadcasts among others who write at the same time, each brought about by locks that somebody holds."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.store.test_broadcasts import deny, people, plan
from tests.integration.store.test_tenants import rows_of
from tests.support.broadcasting import Station
from tests.support.desk import Desk, receipt_of
from tests.support.locks import connected, holding, under_way, until_waiting, waiting
from tests.support.stores import TurnedClock, on_postgres, stored
from tests.support.waiting import eventually
from tocsin_server.domain.audience import Audience, TopicAudience
from tocsin_server.domain.broadcast import Broadcast, BroadcastState
from tocsin_server.domain.commands import (
    ChangeTenant,
    ChunkReceipt,
    Command,
    CreateTenant,
    CreateTopic,
    DeleteTopic,
    EraseTopic,
    ExpandBroadcast,
    FinishBroadcast,
    PlanClasses,
)
from tocsin_server.domain.errors import BroadcastFinal
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.store.expansion import _Chunk
from tocsin_server.store.places import lane_of
from tocsin_server.store.topics import held_topic

pytestmark = on_postgres

NEVER_RESOLVED = """
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''1h''', current_database()); END $$"""
"""A deadlock is not found out: who waits in one does so until it has waited too long for a lock."""


class Replicas(NamedTuple):
    """Two on one database: the first carries broadcasts out."""

    url: str
    station: Station
    other: Desk

    @property
    def desk(self) -> Desk:
        """Of the first one."""
        return self.station.desk

    async def planned(self, audience: Audience | None = None) -> Broadcast:
        """A broadcast whose classes are planned, and that nobody has got yet."""
        broadcast = await (self.station.create(audience) if audience else self.station.create())
        await plan(self.station, broadcast.id)
        return broadcast

    def expanding(self, broadcast: Broadcast, limit: int = 50) -> "asyncio.Future[ChunkReceipt]":
        """A chunk, under way."""
        command = ExpandBroadcast(tenant=broadcast.tenant, id=broadcast.id, limit=limit)
        return asyncio.ensure_future(self.desk.submit(command))

    async def done_or_waiting(self, task: "asyncio.Future[Any]") -> None:
        """Returns when somebody has got through, or was stopped by a lock."""

        async def so_far() -> bool:
            return task.done() or bool(await waiting(self.url))

        await eventually(so_far, "an end or a lock")

    async def check(self, broadcast: Broadcast, *, has: set[str]) -> None:
        """In the end these have it, once, and that is what the broadcast says."""
        await self.station.carry_out()
        found = await self.station.got(broadcast)
        assert found.state is BroadcastState.COMPLETED
        async with connected(self.url) as connection:
            rows = await connection.execute(
                """SELECT n.recipient FROM notifications AS n JOIN broadcast_classes AS c ON c.pk = n.broadcast_class_pk
                JOIN broadcasts AS b ON b.pk = c.broadcast_pk WHERE b.id = %s""",
                (broadcast.id,),
            )
            assert Counter([key for (key,) in await rows.fetchall()]) == Counter(has)
        assert found.progress.delivered == len(has)
        for key in has:
            await self.desk.check_counts(key)


@pytest.fixture
async def replicas(tmp_path: Path, clock: TurnedClock, database_url: str) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(stored(tmp_path, clock, url=database_url)) for _ in range(2)
        ]
        yield Replicas(database_url, Station(first, clock), Desk(second, clock))


class Gate:
    """Where the first chunk that comes by stops until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    @property
    def reached(self) -> bool:
        """Whether a chunk has come by."""
        return self._reached.is_set()

    def pass_through(self) -> None:
        """In a writer's thread."""
        if not self.reached:
            self._reached.set()
            assert self._opened.wait(30)

    def open(self) -> None:
        """Lets it go on."""
        self._opened.set()


@contextmanager
def gate(monkeypatch: pytest.MonkeyPatch, stops: Callable[[Gate, Callable[[], int]], int]) -> Iterator[Gate]:
    """A gate that a chunk passes by when it has taken its recipients and is to write."""
    write, stopping = _Chunk.write, Gate()
    with monkeypatch.context() as patched:
        patched.setattr(_Chunk, "write", lambda chunk: stops(stopping, lambda: write(chunk)))
        try:
            yield stopping
        finally:
            stopping.open()


def before(gate: Gate, write: Callable[[], int]) -> int:
    gate.pass_through()
    return write()


def after(gate: Gate, write: Callable[[], int]) -> int:
    taken = write()
    gate.pass_through()
    return taken


async def test_members_that_leave_meanwhile_end_nothing(replicas: Replicas) -> None:
    """Who leaves does so before there is a broadcast, and is done with it while a chunk waits."""
    keys = await people(replicas.desk, 200)
    await replicas.desk.submit(CreateTopic(tenant="default", topic="news", display_name=""))
    await replicas.desk.add_members("news", *keys)
    # Others join as well.
    async with under_way(replicas.url, "UPDATE topics SET member_count = member_count + 1"):
        leaving = asyncio.ensure_future(replicas.other.remove_members("news", keys[70]))
        await until_waiting(replicas.url, 1)
        broadcast = await replicas.station.create(TopicAudience("news"))
        carrying_out = asyncio.ensure_future(replicas.station.carry_out())
        await until_waiting(replicas.url, 2)
    assert await leaving == 1
    await carrying_out
    await replicas.check(broadcast, has={*keys} - {keys[70]})


async def test_who_steps_in_for_one_that_is_erased_is_decided_as_it_is(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one behind the chunk comes into it, as another one is gone when its lock is free."""
    keys = await people(replicas.desk, 100)
    broadcast = await replicas.planned()
    with gate(monkeypatch, before) as stopped:
        async with holding(replicas.url, keys[3]):
            erasing = asyncio.ensure_future(replicas.other.erase(keys[3]))
            await until_waiting(replicas.url, 1)
            chunk = replicas.expanding(broadcast)
            await until_waiting(replicas.url, 2)
        await erasing
        await eventually(lambda: stopped.reached, "a chunk to have taken its recipients")
        denying = asyncio.ensure_future(deny(replicas.other, keys[50]))
        await replicas.done_or_waiting(denying)
        stopped.open()
        await asyncio.gather(chunk, denying)
    await replicas.station.carry_out()
    denied_in_time = not await has_entry(replicas.desk, keys[50])
    has = {*keys} - {keys[3]} - ({keys[50]} if denied_in_time else set())
    await replicas.check(broadcast, has=has)
    progress = (await replicas.station.got(broadcast)).progress
    assert progress.processed == 99
    assert sum(progress.suppressed.values()) == denied_in_time


async def has_entry(desk: Desk, recipient: str) -> bool:
    return bool(await desk.entries(recipient))


async def test_who_is_created_by_then_is_counted_or_left_out(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began to be created before the broadcast, and is there between two looks of a chunk."""
    keys = await people(replicas.desk, 100)
    with gate(monkeypatch, before) as stopped:
        # Others create some as well.
        async with under_way(replicas.url, "UPDATE tenants SET recipient_count = recipient_count + 1"):
            creating = asyncio.ensure_future(replicas.other.upsert("user-00010-and-a-half", locale="pt"))
            await until_waiting(replicas.url, 1)
            broadcast = await replicas.planned()
            chunk = replicas.expanding(broadcast)
            await eventually(lambda: stopped.reached, "a chunk to have taken its recipients")
        created = (await creating).key
        stopped.open()
        await chunk
    await replicas.station.carry_out()
    has = {*keys, created} if await has_entry(replicas.desk, created) else {*keys}
    await replicas.check(broadcast, has=has)


@pytest.mark.parametrize("meets", [FinishBroadcast, PlanClasses])
async def test_what_waits_for_a_chunk_holds_no_inbox(replicas: Replicas, meets: type[Command[Any]]) -> None:
    """A chunk has the broadcast, and then its inboxes; who had one of these and waited for the broadcast, would wait
    for ever.
    """
    async with connected(replicas.url) as connection:
        await connection.execute(NEVER_RESOLVED)
    keys = await people(replicas.desk, 40)
    broadcast = await replicas.planned()
    command: Command[Any]
    if meets is FinishBroadcast:
        command = FinishBroadcast(tenant="default", id=broadcast.id, state=BroadcastState.CANCELLED)
    else:
        command = PlanClasses(tenant="default", id=broadcast.id, drafts=())
    sends = [replicas.other.sending(key) for key in keys[10:]]
    beside = next(send for send in sends if lane_of(send, 2) == lane_of(command, 2))
    async with holding(replicas.url, keys[0]):
        chunk = replicas.expanding(broadcast)
        await until_waiting(replicas.url, 1)
        commands: list[Command[Any]] = [beside, command]
        both = asyncio.ensure_future(replicas.other._writer.submit(commands))
        await until_waiting(replicas.url, 2)
    assert (await chunk).taken == len(keys)
    sent, met = await both
    assert receipt_of(sent).revision
    if meets is FinishBroadcast:
        assert isinstance(met, BroadcastFinal)
    else:
        receipt_of(met)
    await replicas.check(broadcast, has={*keys})


async def test_nothing_is_left_of_a_tenant_that_goes_while_its_broadcast_is_carried_out(
    replicas: Replicas, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await replicas.desk.submit(CreateTenant(tenant="default", name="acme", display_name="", quotas=Quotas()))
    station = Station(replicas.station._store, clock, "acme")
    await people(station.desk, 30)
    broadcast = await station.create()
    await plan(station, broadcast.id)
    suspend = ChangeTenant(tenant="default", name="acme", state=TenantState.DELETING)
    await replicas.other.submit(suspend)
    with gate(monkeypatch, after) as stopped:
        chunk = replicas.expanding(broadcast)
        await eventually(lambda: stopped.reached, "a chunk to be written")
        erasing = asyncio.ensure_future(replicas.other.erase_tenant("acme"))
        await until_waiting(replicas.url, 1)
        stopped.open()
        assert (await chunk).taken == 30
        await erasing
    assert not any(rows_of(tmp_path, replicas.url, "acme").values())


async def test_a_topic_is_kept_for_a_broadcast_that_is_being_created(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is deleted, and to be erased, between the look at it and the commit."""
    keys = await people(replicas.desk, 20)
    await replicas.desk.submit(CreateTopic(tenant="default", topic="news", display_name=""))
    await replicas.desk.add_members("news", *keys)
    stopped = Gate()

    def held(*place: Any) -> int | None:
        topic_id = held_topic(*place)
        stopped.pass_through()
        return topic_id

    with monkeypatch.context() as patched:
        patched.setattr("tocsin_server.store.broadcasts.held_topic", held)
        creating = asyncio.ensure_future(replicas.station.create(TopicAudience("news")))
        await eventually(lambda: stopped.reached, "the topic to be held")
        await replicas.other.submit(DeleteTopic(tenant="default", topic="news"))
        (topic_id,) = await replicas.station._store.topics.erasable_topics(10)
        erasing = asyncio.ensure_future(replicas.other.submit(EraseTopic(tenant="", topic_id=topic_id)))
        await until_waiting(replicas.url, 1)
        stopped.open()
        broadcast = await creating
    assert (await erasing).count == 0
    await replicas.check(broadcast, has={*keys})
    assert await replicas.station._store.topics.erasable_topics(10) == [topic_id]


async def test_a_cancelled_broadcast_reaches_nobody_any_more(replicas: Replicas) -> None:
    """Its cancellation waits for a chunk, and no chunk comes after it."""
    keys = await people(replicas.desk, 120)
    broadcast = await replicas.planned()
    async with holding(replicas.url, keys[0]):
        chunk = replicas.expanding(broadcast)
        await until_waiting(replicas.url, 1)
        finish = FinishBroadcast(tenant="default", id=broadcast.id, state=BroadcastState.CANCELLED)
        cancelling = asyncio.ensure_future(replicas.other.submit(finish))
        await until_waiting(replicas.url, 2)
    cancelled = await cancelling
    assert (await chunk).taken == cancelled.progress.delivered == 50
    await replicas.station.carry_out()
    assert [await has_entry(replicas.desk, key) for key in keys] == [True] * 50 + [False] * 70
    assert await replicas.station.got(broadcast) == cancelled
