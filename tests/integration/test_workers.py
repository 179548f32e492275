"""The loops, on a real store: they find what is to be done, do it, and come back after trouble."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.desk import Desk, key
from tests.support.senders import releases_on
from tests.support.stores import START, TurnedClock, stored
from tests.support.streams import Exchange, exchange
from tests.support.waiting import eventually
from tocsin_server.domain.commands import (
    SYSTEM_TENANT,
    Answer,
    BumpEpoch,
    ByIds,
    Command,
    Receipt,
    RequestSpace,
)
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.errors import QueueFull, StorageUnavailable, TocsinError
from tocsin_server.domain.inbox import Counts, Mark, Status
from tocsin_server.domain.notification import NotificationState
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.service.ports import InboxReader, QueueDepth, Writer
from tocsin_server.service.status import Component, ComponentState
from tocsin_server.store.store import Store
from tocsin_server.workers.clock import LATE, ClockWorker
from tocsin_server.workers.epoch import EpochWorker
from tocsin_server.workers.health import HealthWorker
from tocsin_server.workers.poll import PollWorker
from tocsin_server.workers.retention import RetentionPolicy, RetentionWorker
from tocsin_server.workers.supervision import supervised

POLICY = RetentionPolicy(
    entries=10 * DAY,
    rows=20 * DAY,
    requests=2 * DAY,
    events=30 * DAY,
    positions=5 * DAY,
    sweep_interval=SECOND // 50,
)


class Unwilling:
    """A writer that refuses when it is told to."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.refusal: TocsinError | None = None
        self.asked: list[float] = []

    async def submit(
        self, commands: Sequence[Command[Receipt]], *, deadline: float | None = None
    ) -> list[Answer[Receipt] | TocsinError]:
        self.asked.append(asyncio.get_running_loop().time())
        if self.refusal is not None:
            return [self.refusal] * len(commands)
        return await self._writer.submit(commands, deadline=deadline)

    def depth(self) -> QueueDepth:
        return self._writer.depth()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
async def store(tmp_path: Path, clock: TurnedClock) -> AsyncIterator[Store]:
    async with stored(tmp_path, clock) as opened:
        yield opened


@pytest.fixture
def writer(store: Store) -> Unwilling:
    return Unwilling(store.writer)


@pytest.fixture
def desk(store: Store, clock: TurnedClock) -> Desk:
    return Desk(store, clock)


@asynccontextmanager
async def running(run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(run())
    try:
        yield
        assert not task.done(), "the loop has ended"
    finally:
        task.cancel()


# --- the clock --------------------------------------------------------------------------------------------------------


@pytest.fixture
def timers(store: Store, writer: Unwilling, clock: TurnedClock) -> ClockWorker:
    worker = ClockWorker(
        store.readers, releases_on(store, clock, writer=writer).fire, clock, Component("timers", clock)
    )
    store.writer.listen(worker)
    return worker


async def test_timers_fire_when_they_are_due(timers: ClockWorker, desk: Desk, clock: TurnedClock) -> None:
    sent = (await desk.send("ada", deliver_time=START + HOUR)).notification_id
    snoozed = (await desk.send("bob")).notification_id
    await desk.mark(Mark.SNOOZED, ByIds((snoozed,)), "bob", snooze_until=START + 2 * HOUR)
    async with running(timers.run):
        clock.time = START + HOUR
        await eventually(lambda: has_entries(desk, 1), "the deferred send")
        assert await desk.statuses("bob") == {snoozed: Status.SNOOZED_UNSEEN}
        clock.time = START + 2 * HOUR
        await eventually(lambda: has_status(desk, "bob", snoozed, Status.UNSEEN), "the end of the snooze")
        assert await desk.statuses("ada") == {sent: Status.UNSEEN}


async def has_entries(desk: Desk, count: int) -> bool:
    return len(await desk.entries()) == count


async def has_status(desk: Desk, recipient: str, id: bytes, status: Status) -> bool:
    return (await desk.statuses(recipient)).get(id) is status


async def test_a_timer_that_comes_while_the_clock_sleeps_wakes_it(
    timers: ClockWorker, desk: Desk, clock: TurnedClock
) -> None:
    async with running(timers.run):
        await eventually(lambda: timers._wake_at is not None, "the clock to sleep")
        timers._earlier.clear()
        await desk.send(deliver_time=START + 100)
        assert timers._earlier.is_set() or timers._wake_at == START + 100
        clock.time += 100
        await eventually(lambda: has_entries(desk, 1), "the deferred send")
        await eventually(lambda: timers._wake_at is not None, "the clock to sleep again")
        timers._earlier.clear()
        await desk.send(deliver_time=START + DAY)
        assert not timers._earlier.is_set(), "what is later than the next look does not wake it"


async def test_many_timers_of_one_time_all_fire(timers: ClockWorker, desk: Desk, clock: TurnedClock) -> None:
    """More than are read at once."""
    for _ in range(3):
        commands = [desk.sending(deliver_time=START + HOUR) for _ in range(500)]
        await asyncio.gather(*map(desk.submit, commands))
    clock.time += HOUR
    async with running(timers.run):
        await eventually(lambda: has_entries(desk, 1_500), "all of them")
    assert (await desk.check_counts()).revision == 1_500


async def test_timers_that_fail_are_tried_again_after_a_pause(
    timers: ClockWorker, writer: Unwilling, desk: Desk, clock: TurnedClock
) -> None:
    """And not at once: a timer that cannot take effect must not keep a processor busy."""
    await desk.send(deliver_time=START + HOUR)
    clock.time += HOUR + LATE
    writer.refusal = QueueFull(limit=1)

    def is_in(state: ComponentState) -> bool:
        return timers._component.report.state is state

    async with running(timers.run):
        await eventually(lambda: len(writer.asked) == 2, "a second attempt")
        first, second = writer.asked
        assert second - first >= 0.5
        assert is_in(ComponentState.DEGRADED)
        writer.refusal = None
        await eventually(lambda: has_entries(desk, 1), "the third")
        await eventually(lambda: is_in(ComponentState.OK), "to keep up")
        assert timers.lag == 0


# --- retention --------------------------------------------------------------------------------------------------------


@pytest.fixture
def retention(store: Store, writer: Unwilling, clock: TurnedClock) -> RetentionWorker:
    return RetentionWorker(store.readers, writer, clock, POLICY, Component("retention", clock))


async def state_of(store: Store, id: bytes) -> NotificationState | None:
    found: StoredEntry | None = await store.readers.notification("default", id)
    return None if found is None else NotificationState(found.state)


async def test_an_entry_s_life_to_its_end(
    retention: RetentionWorker, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """It expires at its age, and its row goes at that of its last change, with the steps that are left of it."""
    command = desk.sending(request=key(RequestSpace.SEND, "r"))
    id = (await desk.submit(command)).notification_id
    await desk.acknowledge(await desk.inbox(), 1)

    async def after(days: int) -> tuple[NotificationState | None, int, int, int]:
        clock.time = START + days * DAY + 1
        await retention.sweep()
        inbox = await desk.check_counts()
        positions = await store.recipients.consumer_positions("default", "ada")
        return await state_of(store, id), inbox.revision, inbox.floor, len(positions)

    assert await after(4) == (NotificationState.STORED, 1, 0, 1)
    assert await after(6) == (NotificationState.STORED, 1, 0, 0)
    assert await after(10) == (NotificationState.EXPIRED, 2, 0, 0)
    assert await after(29) == (NotificationState.EXPIRED, 2, 0, 0)
    assert len(await store.readers.timeline("default", id, 9)) == 2
    assert await after(31) == (None, 2, 2, 0)
    assert await store.readers.timeline("default", id, 9) == []


async def test_what_is_new_after_all_was_removed_expires_too(
    retention: RetentionWorker, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    """The worker remembers how far it has got, and the rows there are begin anew."""
    for _ in range(2):
        ids = await desk.send_many(600)
        clock.time += 11 * DAY
        await retention.sweep()
        assert {await state_of(store, id) for id in (ids[0], ids[-1])} == {NotificationState.EXPIRED}
        clock.time += 21 * DAY
        await retention.sweep()
        assert await desk.entries() == []


async def test_a_deferred_send_is_kept_from_when_it_entered(
    retention: RetentionWorker, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    id = (await desk.send(deliver_time=START + 9 * DAY)).notification_id
    clock.time += 9 * DAY
    await desk.fire_due()
    clock.time += 9 * DAY
    await retention.sweep()
    assert await state_of(store, id) is NotificationState.STORED


async def test_a_large_sweep_goes_in_steps(
    retention: RetentionWorker, desk: Desk, clock: TurnedClock
) -> None:
    for name in ("ada", "bob", "cleo"):
        await desk.send_many(1_100, name)
    clock.time += 11 * DAY
    await retention.sweep()
    for name in ("ada", "bob", "cleo"):
        assert (await desk.check_counts(name)).counts == Counts()
    clock.time += 21 * DAY
    await retention.sweep()
    for name in ("ada", "bob", "cleo"):
        inbox = await desk.check_counts(name)
        assert inbox.floor == inbox.revision == 2_200


async def test_retention_comes_back_after_trouble(
    retention: RetentionWorker, writer: Unwilling, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    id = (await desk.send()).notification_id
    clock.time += 11 * DAY
    writer.refusal = StorageUnavailable(detail="disk full")
    component = retention._component
    async with running(retention.run):
        await eventually(lambda: component.report.state is ComponentState.DEGRADED, "trouble to show")
        assert component.report.detail == "disk full"
        writer.refusal = None
        await eventually(lambda: component.report.state is ComponentState.OK, "a sweep")
    assert await state_of(store, id) is NotificationState.EXPIRED


# --- polling ----------------------------------------------------------------------------------------------------------


class Unreadable:
    """A reader that refuses when it is told to."""

    def __init__(self, reader: InboxReader) -> None:
        self._reader = reader
        self.refusing = False
        self.refused = 0

    async def heads_of(self, inboxes: Sequence[tuple[str, str]]) -> object:
        if self.refusing:
            self.refused += 1
            raise StorageUnavailable
        return await self._reader.heads_of(inboxes)


async def test_polling_finds_what_no_hint_has_told(store: Store, desk: Desk, clock: TurnedClock) -> None:
    async with exchange(store, clock) as deaf:
        store.writer._listeners.remove(deaf.hub)
        reader = Unreadable(store.readers)
        poll = PollWorker(deaf.hub, reader, SECOND // 100)  # type: ignore[arg-type]
        follower = await deaf.live("ada")
        async with running(poll.run):
            await desk.send()
            await follower.has(1)
            reader.refusing = True
            await eventually(lambda: reader.refused, "a poll that fails")
            await desk.send()
            reader.refusing = False
            await follower.has(1, 2)


async def test_what_is_in_doubt_is_looked_at_at_once(store: Store, desk: Desk, clock: TurnedClock) -> None:
    """In one read, however many ask; what cannot be read is tried again."""
    async with exchange(store, clock) as deaf:
        store.writer._listeners.remove(deaf.hub)
        reader = Unreadable(store.readers)
        poll = PollWorker(deaf.hub, reader, SECOND // 10, lambda: True)  # type: ignore[arg-type]
        follower = await deaf.live("ada", "bob", "cleo")
        async with running(poll.run):
            await desk.send()
            await desk.send("bob")
            reader.refusing = True
            poll.missed("default", ["ada"])
            poll.missed("default", ["bob"])
            await eventually(lambda: reader.refused, "a read that fails")
            reader.refusing = False
            await follower.has(1)
            await follower.has(1, recipient="bob")


async def test_polling_is_slow_while_hints_come(store: Store, clock: TurnedClock) -> None:
    """And as quick as promised from the moment that they do not."""
    healthy = True
    streams = Exchange(store, clock)
    poll = PollWorker(streams.hub, store.readers, SECOND // 50, lambda: healthy)
    assert poll.interval == SECOND // 5
    assert poll.interval_when(healthy=False) == SECOND // 50
    healthy = False
    assert poll.interval == SECOND // 50


async def test_who_waits_for_a_slow_poll_can_be_hurried(store: Store, desk: Desk, clock: TurnedClock) -> None:
    async with exchange(store, clock) as deaf:
        store.writer._listeners.remove(deaf.hub)
        state = {"healthy": True}
        poll = PollWorker(deaf.hub, store.readers, SECOND * 100, lambda: state["healthy"])
        follower = await deaf.live("ada")
        async with running(poll.run):
            await desk.send()
            await asyncio.sleep(0)
            poll._shortest_interval = SECOND // 100
            state["healthy"] = False
            poll.hurry()
            await follower.has(1)


async def test_the_interval_grows_with_what_is_followed(store: Store, clock: TurnedClock) -> None:
    streams = Exchange(store, clock)
    poll = PollWorker(streams.hub, store.readers, SECOND)
    assert poll.interval == SECOND
    streams.hub._followers = {("default", str(number)): [] for number in range(100_000)}
    assert poll.interval == 2 * SECOND


async def test_more_inboxes_than_one_read_takes_are_polled(
    store: Store, desk: Desk, clock: TurnedClock
) -> None:
    async with exchange(store, clock) as deaf:
        names = [f"r{number}" for number in range(2_500)]
        follower = await deaf.live(*names, max_recipients=3_000)
        store.writer._listeners.remove(deaf.hub)
        for name in (names[0], names[1_700], names[-1]):
            await desk.send(name)
        await PollWorker(deaf.hub, store.readers, SECOND).poll()
        for name in (names[0], names[1_700], names[-1]):
            await follower.has(1, recipient=name)


# --- health and supervision -------------------------------------------------------------------------------------------


async def test_health_follows_storage(writer: Unwilling, clock: TurnedClock) -> None:
    """Also when nobody sends any more, because the server says that it does not serve."""
    storage, said = Component("storage", clock), []

    async def set_serving(serving: bool) -> None:
        said.append(serving)

    writer.refusal = StorageUnavailable()
    worker = HealthWorker(storage, writer, set_serving)
    async with running(worker.run):
        storage.down("disk full", "")
        await eventually(lambda: said == [False], "to stop serving")
        writer.refusal = None
        await eventually(lambda: said == [False, True], "to serve again")
        worker.draining = True
        storage.down("disk full", "")
        await eventually(lambda: storage.report.state is ComponentState.OK, "to be well")
    assert said == [False, True], "a server that drains does not change its mind"


async def test_a_loop_that_fails_is_started_again() -> None:
    runs = 0

    async def fail() -> None:
        nonlocal runs
        runs += 1
        raise RuntimeError(f"run {runs}")

    async with running(lambda: supervised("test", fail)):
        await eventually(lambda: runs == 2, "another run")


# --- epoch ------------------------------------------------------------------------------------------------------------


async def test_a_new_epoch_is_noticed_while_the_server_runs(store: Store, clock: TurnedClock) -> None:
    """Whoever comes back is told that what it holds stands for nothing any more."""
    async with exchange(store, clock) as streams:
        worker = EpochWorker(store.readers.facts, streams.cursors, streams.sessions.end_all)
        await streams.desk.send()
        follower = await streams.live("ada")
        cursor = await streams.token(1)
        await worker.look()
        assert follower.error is None
        await store.writer.submit((BumpEpoch(tenant=SYSTEM_TENANT),))
        await worker.look()
        await follower.until(lambda follower: isinstance(follower.error, StorageUnavailable), "the end")
        again = await streams.live(("ada", cursor))
        assert again.resets() == ["INCARNATION_CHANGED"]
