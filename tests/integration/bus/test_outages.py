"""Redis away, slow, cut off or wiped, and hints that come badly (faults 4, 5, 6, 16): nothing is lost."""

import asyncio
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import Desk
from tests.support.proxy import Proxy
from tests.support.replicas import Replica, Replicas
from tests.support.streams import Follower
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from tocsin_server.bus import presence, publisher, subscriber
from tocsin_server.bus.connections import Links
from tocsin_server.bus.redis import RedisBus
from tocsin_server.domain.inbox import InboxChange, InboxErased
from tocsin_server.domain.time import SECOND
from tocsin_server.service.hub import Hub

QUICK = SECOND // 4


@pytest.fixture(autouse=True)
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "HEARTBEAT_SECONDS", 0.5)


async def everything(follower: Follower, count: int, recipient: str = "ada") -> None:
    """All that was sent, in order and once."""
    await follower.has(*range(1, count + 1), recipient=recipient)


async def unhealthy(replica: Replica) -> None:
    await eventually(lambda: not replica.healthy, "the bus to be known as away", 10)


# --- away -------------------------------------------------------------------------------------------------------------


async def test_killed_and_restarted(fleet: Replicas, valkey: Valkey, desk: Desk) -> None:
    """While it is away storage is polled; when it is back nothing is missing, and hints come again (fault 4)."""
    here = await fleet.join(valkey.url)
    there = await fleet.join(valkey.url, poll_interval=QUICK)
    follower = await there.follows("ada", "bob")
    await desk.send()
    await everything(follower, 1)
    await valkey.kill()
    await unhealthy(there)
    assert there.poll.interval == QUICK
    started = time.monotonic()
    await desk.send_many(5)
    assert time.monotonic() - started < 1, "a commit does not wait for it"
    await everything(follower, 6)
    await valkey.start()
    for replica in (here, there):
        await replica.until_healthy()
    there.missed.clear()
    assert [not detail for detail in there.health][-2:] == [False, True]
    assert there.fleet.bus.figures.reconnects == 2
    assert here.fleet.bus.figures.dropped
    received = there.fleet.bus.figures.received
    await desk.send_many(3)
    await everything(follower, 9)
    await eventually(lambda: there.fleet.bus.figures.received >= received + 3, "hints")


async def test_what_was_committed_while_away_is_read_at_reconnection(
    fleet: Replicas, valkey: Valkey, desk: Desk
) -> None:
    """Also by a replica that does not poll."""
    await fleet.join(valkey.url)
    there = await fleet.join(valkey.url)
    follower = await there.follows("ada")
    await valkey.kill()
    await unhealthy(there)
    await desk.send_many(5)
    await valkey.start()
    await everything(follower, 5)


async def test_who_comes_and_goes_while_it_is_away_leaves_nothing(
    fleet: Replicas, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is away: only who is there when it is back has to be told of."""
    monkeypatch.setattr(presence, "RETRY_SECONDS", 0.1)
    there = await fleet.join(valkey.url)
    bus = there.fleet.bus
    assert isinstance(bus, RedisBus)
    await valkey.kill()
    await unhealthy(there)
    staying = there.streams.open("ada")
    for number in range(50):
        await there.streams.open(f"guest-{number}").close()
    await eventually(lambda: set(bus.presence._changed) <= {staying.session.id}, "presence", 5)
    await eventually(lambda: set(bus._subscriber._changed) <= {("default", "ada")}, "subscriptions", 5)


async def test_flushed(fleet: Replicas, valkey: Valkey, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints go on, and sessions become known again."""
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.2)
    here, there = await fleet.join(valkey.url), await fleet.join(valkey.url)
    follower = await there.follows("ada")
    async with valkey.client() as client:
        for sent in range(1, 6):
            await client.flushall()
            await desk.send()
            await everything(follower, sent)

    async def ended() -> bool:
        return await here.fleet.presence.terminate(follower.session.id, None)

    await eventually(ended, "the session to be known again")
    await follower.until(lambda f: f.error, "its end")


async def test_a_session_stays_known_while_others_come_and_go(
    fleet: Replicas, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of those at once does not put off what is told of all now and then."""
    monkeypatch.setattr(presence, "REFRESH_SECONDS", 0.5)
    monkeypatch.setattr(presence, "TTL_SECONDS", 2)
    here, there = await fleet.join(valkey.url), await fleet.join(valkey.url)
    follower = await there.follows("ada")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        await there.streams.open("bob").close()
        await asyncio.sleep(0.05)
    assert await here.fleet.presence.terminate(follower.session.id, None)
    await follower.until(lambda f: f.error, "its end")


async def test_recipients_that_are_followed_no_more_leave_nothing(
    fleet: Replicas, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may live for months, and see all recipients there are."""
    lives: list[Any] = []

    class Life(subscriber._Life):
        def __init__(self, links: Links) -> None:
            super().__init__(links)
            lives.append(self)

    monkeypatch.setattr(subscriber, "_Life", Life)
    there = await fleet.join(server.url)
    (life,) = lives
    (pubsub,) = life.links.pubsubs
    before = len(pubsub.channels) + len(pubsub.shard_channels)
    names = [f"recipient-{number}" for number in range(50)]
    follower = await there.follows(*names)
    assert len(pubsub.channels) + len(pubsub.shard_channels) == before + len(names)
    await follower.close()
    await eventually(lambda: len(pubsub.channels) + len(pubsub.shard_channels) == before, "all to be left")
    await eventually(lambda: not life.leaving, "nothing to be left over", 2)


async def test_subscribers_are_killed_again_and_again(fleet: Replicas, server: Valkey, desk: Desk) -> None:
    """Each time there is a catch-up: a replica that does not poll lacks nothing (fault 6)."""
    await fleet.join(server.url)
    there = await fleet.join(server.url)
    follower = await there.follows("ada", "bob")
    async with server.client() as client:
        for number in range(10):
            if number % 2:
                await there.until_healthy()
            there.missed.clear()
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await desk.send_many(3)
            await desk.send("bob")
            await eventually(
                lambda: {recipient for _, recipient in there.missed} == {"ada", "bob"}, "a catch-up"
            )
    await everything(follower, 30)
    await everything(follower, 10, "bob")
    assert there.fleet.bus.figures.reconnects > 4


async def test_a_silent_partition_is_noticed(fleet: Replicas, valkey: Valkey, desk: Desk) -> None:
    """No reset, no error: within two heartbeats it is known, then polled, and in the end caught up with (fault 5)."""
    await fleet.join(valkey.url)
    async with Proxy(valkey.port) as proxy:
        there = await fleet.join(f"redis://{proxy.address}", poll_interval=QUICK)
        follower = await there.follows("ada")
        proxy.blackhole()
        started = time.monotonic()
        await unhealthy(there)
        # Two heartbeats, of which the first may just have been heard, and a command's time to give up.
        assert time.monotonic() - started < 3 * subscriber.HEARTBEAT_SECONDS + 1.5
        await desk.send_many(4)
        await everything(follower, 4)
        proxy.heal()
        there.missed.clear()
        await there.until_healthy()
        await eventually(lambda: ("default", "ada") in there.missed, "a full catch-up")
        received = there.fleet.bus.figures.received
        await desk.send()
        await everything(follower, 5)
        await eventually(lambda: there.fleet.bus.figures.received > received, "a hint")
        await there.stop()


async def test_silence_where_it_is_subscribed_is_noticed(fleet: Replicas, valkey: Valkey, desk: Desk) -> None:
    """What is published gets through, so that nothing fails: only that nothing is heard tells of it."""
    await fleet.join(valkey.url)
    async with Proxy(valkey.port, mark=b"SUBSCRIBE") as proxy:
        there = await fleet.join(f"redis://{proxy.address}", poll_interval=QUICK)
        follower = await there.follows("ada")
        proxy.blackhole_marked()
        await unhealthy(there)
        assert "nothing was heard" in there.health[-1]
        await desk.send_many(4)
        await everything(follower, 4)
        proxy.heal()
        await there.until_healthy()
        await there.stop()


# --- slow -------------------------------------------------------------------------------------------------------------


async def test_slow_redis_holds_up_nobody(fleet: Replicas, valkey: Valkey, desk: Desk) -> None:
    """Neither a commit nor the event loop; hints are late."""
    await fleet.join(valkey.url)
    there = await fleet.join(valkey.url)
    follower = await there.follows("ada")
    async with valkey.client() as client:
        await client.execute_command("CLIENT", "PAUSE", 2_000)
        answered = asyncio.ensure_future(client.ping())
        for _ in range(5):
            await desk.send()
        assert not answered.done(), "all of them were committed while it answered nobody"
        await answered
    head = (await desk.inbox()).revision
    await everything(follower, head)


async def test_what_does_not_fit_the_queue_is_told_of(
    fleet: Replicas, valkey: Valkey, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hints beyond the bound in bytes are bare, those beyond the bound in number are dropped and made up for."""
    here, there = await fleet.join(valkey.url), await fleet.join(valkey.url)
    follower = await there.follows("ada")
    monkeypatch.setattr(publisher, "MAX_QUEUED_BYTES", 500)
    monkeypatch.setattr(publisher, "MAX_QUEUED_MESSAGES", 8)
    await desk.send_many(100)
    await everything(follower, 100)
    assert here.fleet.bus.figures.dropped > 50


# --- unreliable -------------------------------------------------------------------------------------------------------


class BadLine:
    """Doubles, reorders and drops what comes from the bus."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._held: list[InboxChange | InboxErased] = []
        self.dropped = 0

    def __call__(self, hub: Hub, changes: Iterable[InboxChange | InboxErased]) -> None:
        for change in changes:
            fate = self._rng.random()
            if fate < 0.3:
                self.dropped += 1
            elif fate < 0.6:
                self._held.append(change)
            else:
                hub.offer([change, change])
        self._rng.shuffle(self._held)
        late, self._held = self._held[:2], self._held[2:]
        hub.offer(late)


@pytest.mark.parametrize("seed", range(3))
async def test_bad_hints_have_no_effect_on_the_result(
    fleet: Replicas, valkey: Valkey, desk: Desk, seed: int
) -> None:
    """Fault 16, between replicas."""
    rng = random.Random(seed)
    line = BadLine(rng)
    await fleet.join(valkey.url)
    there = await fleet.join(valkey.url, poll_interval=SECOND // 50, line=line)
    names = ("ada", "bob", "cleo")
    follower = await there.follows(*names)
    for _ in range(100):
        await desk.send_many(rng.randint(1, 3), rng.choice(names))
    for name in names:
        await everything(follower, (await desk.inbox(name)).revision, name)
    assert line.dropped


async def test_what_is_not_understood_is_looked_up(fleet: Replicas, valkey: Valkey, desk: Desk) -> None:
    """As when a later version says more than this one knows."""
    here, there = await fleet.join(valkey.url), await fleet.join(valkey.url)
    follower = await there.follows("ada")
    fleet.store.writer._listeners.remove(here.fleet.bus)
    await desk.send()
    async with valkey.client() as client:
        (channel,) = await client.pubsub_channels("t:*")
        await client.publish(channel, b"\xff")
        await everything(follower, 1)
        await desk.send()
        await client.publish("e:{0}", b"\x91\x2a")
        await everything(follower, 2)
    assert there.fleet.bus.figures.dropped == 2


async def test_many_are_followed_and_left(
    fleet: Replicas, valkey: Valkey, desk: Desk, tmp_path: Path
) -> None:
    """Channels are subscribed to only while somebody here has a session."""
    await fleet.join(valkey.url)
    there = await fleet.join(valkey.url)
    names = [f"r{number}" for number in range(3_000)]
    follower = await there.follows(*names)
    async with valkey.client() as client:

        async def channels() -> int:
            return len(await client.pubsub_channels("t:*"))

        assert await channels() == 3_000
        follower.session.remove(names[10:])
        follower.session.add([(names[11], "")])

        async def eleven() -> bool:
            return await channels() == 11

        await eventually(eleven, "the others to be left")
        for _ in range(20):
            follower.session.remove(names[:5])
            follower.session.add([(name, "") for name in names[:5]])
            await asyncio.sleep(0)
        await eventually(eleven, "no change")
    await desk.send(names[11])
    await follower.has(1, recipient=names[11])
    assert there.healthy
