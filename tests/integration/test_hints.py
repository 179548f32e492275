"""Fault 16, in process: hints from the writer to the hub are doubled, reordered and dropped at random.

The truth is in storage. With the poll at a short interval every subscriber ends with all of it, in order and without
repetition, as if nothing had happened.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.desk import Desk
from tests.support.stores import TurnedClock, stored
from tests.support.streams import Exchange, Follower
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import InboxEvent
from tocsin_server.domain.commands import ByIds
from tocsin_server.domain.inbox import InboxChange, InboxErased, Mark
from tocsin_server.domain.time import MINUTE, SECOND
from tocsin_server.service import live
from tocsin_server.service.hub import Hub
from tocsin_server.service.placing import Start
from tocsin_server.service.ports import Committed
from tocsin_server.workers.poll import PollWorker

RECIPIENTS = ("ada", "bob", "cleo")
ROUNDS = 60

Hint = InboxChange | InboxErased


class BadLine:
    """Stands between the writer and the hub."""

    def __init__(self, hub: Hub, rng: random.Random) -> None:
        self._hub = hub
        self._rng = rng
        self._held: list[Hint] = []
        self.dropped = self.doubled = self.delayed = 0

    def __call__(self, committed: Committed) -> None:
        """Treats each hint as it likes; a `ports.CommitListener`."""
        for hint in committed.changes:
            fate = self._rng.random()
            if fate < 0.2:
                self.dropped += 1
            elif fate < 0.4:
                self.delayed += 1
                self._held.append(hint)
            elif fate < 0.6:
                self.doubled += 1
                self._held.append(hint)
                self._hub.offer([hint, hint])
            else:
                self._hub.offer([hint])
        if self._rng.random() < 0.3:
            self._rng.shuffle(self._held)
            late, self._held = self._held[:5], self._held[5:]
            self._hub.offer(late)


@pytest.fixture(params=range(4))
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Its seed is the test's parameter, which is part of its name."""
    return random.Random(request.param)


@pytest.fixture(autouse=True)
def small_messages(monkeypatch: pytest.MonkeyPatch, rng: random.Random) -> None:
    """Some sessions send what has gathered in many small messages, between which hints come and reads end."""
    monkeypatch.setattr(live, "ENTRIES_PER_MESSAGE", rng.choice([1, 3, 500]))


@asynccontextmanager
async def badly_connected(
    folder: Path, rng: random.Random, url: str | None
) -> AsyncIterator[tuple[Exchange, BadLine]]:
    clock = TurnedClock()
    async with stored(folder, clock, url=url) as store:
        streams = Exchange(store, clock, buffer_bytes=2_000)
        line = BadLine(streams.hub, rng)
        store.writer.listen(line)
        poll = asyncio.create_task(PollWorker(streams.hub, store.readers, SECOND // 50).run())
        try:
            yield streams, line
        finally:
            poll.cancel()
            await streams.close()


async def test_bad_hints_have_no_effect_on_the_result(
    tmp_path: Path, rng: random.Random, database_url: str | None
) -> None:
    async with badly_connected(tmp_path, rng, database_url) as (streams, line):
        followers = [
            await streams.live(*RECIPIENTS, start=Start.BEGINNING),
            await streams.live(*RECIPIENTS, start=Start.BEGINNING, categories=("orders",)),
        ]
        slow = await streams.live(*RECIPIENTS, start=Start.BEGINNING)
        slow.stop_reading()
        for _ in range(ROUNDS):
            await something(streams, rng)
            if rng.random() < 0.1:
                followers.append(await streams.live(*RECIPIENTS, start=Start.BEGINNING))
        slow.read_on()
        for follower in (*followers, slow):
            for recipient in RECIPIENTS:
                await everything(streams, follower, recipient)
        assert min(line.dropped, line.delayed, line.doubled) > 0


async def test_bad_hints_of_an_erased_inbox_reset_once(
    tmp_path: Path, rng: random.Random, database_url: str | None
) -> None:
    """Whatever comes late of the old inbox is neither shown nor taken for the new one."""
    async with badly_connected(tmp_path, rng, database_url) as (streams, _):
        follower = await streams.live("ada", start=Start.BEGINNING)
        for erased in range(1, 6):
            await streams.desk.send_many(rng.randint(1, 6))
            inbox = await streams.desk.inbox()
            await eventually(at(streams, follower, inbox.revision, inbox.incarnation), "the inbox")
            await streams.desk.erase()
            await eventually(was_reset(follower, erased), "a reset")
        await streams.desk.send_many(2)
        inbox = await streams.desk.inbox()
        await eventually(at(streams, follower, inbox.revision, inbox.incarnation), "the last inbox")
        assert follower.resets() == ["INCARNATION_CHANGED"] * 5
        check_order(follower, "ada")


async def something(streams: Exchange, rng: random.Random) -> None:
    """One thing that senders or recipients do."""
    desk, recipient = streams.desk, rng.choice(RECIPIENTS)
    entries = [entry for entry in await entries_of(desk, recipient) if entry]
    match rng.randrange(5):
        case 0 if entries:
            ids = tuple(rng.sample(entries, rng.randint(1, len(entries))))
            await desk.mark(
                rng.choice([Mark.SEEN, Mark.READ, Mark.UNREAD, Mark.ARCHIVED]), ByIds(ids), recipient
            )
        case 1 if entries:
            await desk.cancel(rng.choice(entries))
        case 2:
            expire_time = streams.clock.time + rng.choice([0, 1]) * MINUTE + 1
            await desk.send(recipient, expire_time=expire_time)
            streams.clock.time += rng.choice([0, MINUTE])
            await desk.fire_due()
        case _:
            for _ in range(rng.randint(1, 5)):
                await desk.send(recipient, category=rng.choice(["orders", "news"]))


async def entries_of(desk: Desk, recipient: str) -> list[bytes]:
    heads = await desk.statuses(recipient)
    return list(heads)


def was_reset(follower: Follower, times: int) -> Callable[[], bool]:
    return lambda: len(follower.resets()) >= times


def at(streams: Exchange, follower: Follower, revision: int, incarnation: bytes) -> Callable[[], bool]:
    def arrived() -> bool:
        token = follower.cursors.get("ada")
        if token is None:
            return False
        cursor = streams.cursors.open("default", "ada", token)
        return (cursor.incarnation, cursor.revision) == (incarnation, revision)

    return arrived


async def everything(streams: Exchange, follower: Follower, recipient: str) -> None:
    """Waits for the latest state of all entries, and checks how it came."""
    categories = follower.session.options.categories
    expected = {
        entry.id: entry.revision
        for entry in await streams.desk.changes(0, recipient)
        if not categories or entry.category in categories
    }

    def latest() -> dict[bytes, int]:
        return {
            bytes.fromhex(event.notification.id.replace("-", "")): event.notification.revision
            for event in notifications(follower, recipient)
        }

    await eventually(lambda: latest() == expected, f"everything of {recipient}", 20)
    check_order(follower, recipient)
    assert follower.resets(recipient) == []


def check_order(follower: Follower, recipient: str) -> None:
    """Revisions rise strictly, from each reset on."""
    last = 0
    for event in follower.events:
        if event.recipient != recipient:
            continue
        if event.HasField("reset"):
            last = 0
        if event.HasField("notification"):
            assert event.notification.revision > last
            last = event.notification.revision


def notifications(follower: Follower, recipient: str) -> list[InboxEvent]:
    return [
        event for event in follower.events if event.recipient == recipient and event.HasField("notification")
    ]
