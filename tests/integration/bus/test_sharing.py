"""Token buckets and cached counts in a real Valkey, alone and in a cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.desk import CODEC, Desk
from tests.support.replicas import Replicas
from tests.support.streams import ANYONE, Exchange
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from tocsin_server.bus import summaries
from tocsin_server.bus.redis import redis_fleet
from tocsin_server.domain.errors import RateLimited
from tocsin_server.domain.inbox import Counts, Inbox
from tocsin_server.domain.time import MINUTE, SECOND
from tocsin_server.service.inboxes import Inboxes
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.ports import CachedInbox, SharedBuckets, SummaryCache
from tocsin_server.service.rates import SendRates, SharedSendRates


@pytest.fixture
async def cache(server: Valkey, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SummaryCache]:
    # On a busy machine the first connection takes longer than callers should wait.
    monkeypatch.setattr(summaries, "TIMEOUT_S", 10)
    async with redis_fleet(server.url, "one", lambda detail: None) as fleet:
        assert fleet.summaries is not None
        yield fleet.summaries


@pytest.fixture
async def buckets(server: Valkey) -> AsyncIterator[SharedBuckets]:
    async with redis_fleet(server.url, "one", lambda detail: None) as fleet:
        assert fleet.buckets is not None
        yield fleet.buckets


def inbox(revision: int, incarnation: bytes = b"first...", recipient: str = "ada") -> Inbox:
    return Inbox("acme", recipient, incarnation, revision, counts=Counts(revision, 0, revision))


async def known(cache: SummaryCache, recipient: str = "ada") -> CachedInbox | None:
    return (await cache.get("acme", [recipient])).get(recipient)


async def revision(cache: SummaryCache) -> int:
    found = await known(cache)
    return found.inbox.revision if found is not None else -1


# --- counts -----------------------------------------------------------------------------------------------------------


async def test_counts_come_back_with_their_age(cache: SummaryCache) -> None:
    assert await cache.get("acme", ["ada", "bob", "ada"]) == {}
    await cache.put([inbox(3), inbox(4, recipient="bob")], {}, 2 * SECOND)
    found = await cache.get("acme", ["ada", "bob", "cleo"])
    assert {name: cached.inbox for name, cached in found.items()} == {
        "ada": inbox(3),
        "bob": inbox(4, recipient="bob"),
    }
    assert 2 * SECOND <= found["ada"].age < 10 * SECOND
    assert await cache.get("other", ["ada"]) == {}


async def test_counts_never_go_backwards(cache: SummaryCache) -> None:
    await cache.put([inbox(3)], {}, 0)
    await cache.put([inbox(2)], {}, 0)
    assert await revision(cache) == 3
    await cache.put([inbox(4)], {}, 0)
    assert await revision(cache) == 4


async def test_what_was_read_earlier_makes_nothing_older(cache: SummaryCache) -> None:
    await cache.put([inbox(3)], {}, 0)
    await cache.put([inbox(3)], {}, 60 * SECOND)
    found = await known(cache)
    assert found is not None
    assert found.age < 30 * SECOND


async def test_another_incarnation_replaces_only_the_one_that_was_seen(cache: SummaryCache) -> None:
    await cache.put([inbox(9)], {}, 0)
    seen = await cache.get("acme", ["ada"])
    await cache.put([inbox(1, b"second..")], {}, 0)
    assert await revision(cache) == 9, "it may be the older one"
    await cache.put([inbox(1, b"second..")], seen, 0)
    assert await revision(cache) == 1
    await cache.put([inbox(10)], seen, 0)
    assert await revision(cache) == 1, "a slow reader of the old one comes too late"


async def test_counts_are_forgotten_in_time(
    cache: SummaryCache, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "TTL_MS", 100)
    await cache.put([inbox(3)], {}, 0)

    async def forgotten() -> bool:
        return await known(cache) is None

    await eventually(forgotten, "the counts to be forgotten")
    await cache.put([inbox(3)], {}, SECOND)
    assert await known(cache) is None, "older than may be kept"


async def test_nothing_is_known_while_it_is_away(cache: SummaryCache, server: Valkey) -> None:
    await cache.put([inbox(3)], {}, 0)
    await server.kill()
    assert await known(cache) is None
    await cache.put([inbox(4)], {}, 0)


def inboxes_of(streams: Exchange, cache: SummaryCache) -> Inboxes:
    store = streams.store
    return Inboxes(
        store.writer,
        store.readers,
        store.readers,
        CODEC,
        streams.cursors,
        PageTokens(store.facts.cursor_key),
        cache,
    )


async def test_what_is_cached_of_an_earlier_epoch_is_no_position_in_this_one(
    cache: SummaryCache, fleet: Replicas, desk: Desk
) -> None:
    """The database may have been rewound meanwhile, and have counted up to there again."""
    streams = (await fleet.join(None)).streams
    inboxes = inboxes_of(streams, cache)
    await desk.send()
    (before,) = await inboxes.summaries(ANYONE, ("ada",), MINUTE)
    streams.cursors.renew(b"epoch 2.")
    (cached,) = await inboxes.summaries(ANYONE, ("ada",), MINUTE)
    assert cached == before
    follower = await streams.live(("ada", cached.cursor))
    assert follower.resets() == ["INCARNATION_CHANGED"]
    (fresh,) = await inboxes.summaries(ANYONE, ("ada",), 1)
    assert fresh == (await inboxes.summaries(ANYONE, ("ada",), MINUTE))[0], "it replaces what there was"
    follower = await streams.live(("ada", fresh.cursor))
    assert follower.resets() == []


async def test_summaries_that_may_be_old_come_from_the_cache(
    cache: SummaryCache, fleet: Replicas, desk: Desk
) -> None:
    streams = (await fleet.join(None)).streams
    inboxes = inboxes_of(streams, cache)

    async def unread(max_staleness: int) -> list[int]:
        found = await inboxes.summaries(ANYONE, ("ada", "nobody", "ada"), max_staleness)
        return [summary.counts.unread for summary in found]

    await desk.send()
    assert await unread(MINUTE) == [1, 0, 1]
    await desk.send()
    assert await unread(MINUTE) == [1, 0, 1]
    assert await unread(0) == [2, 0, 2], "the row"
    assert await unread(1) == [2, 0, 2], "what is cached is older than a microsecond, and is replaced"
    assert await unread(MINUTE) == [2, 0, 2]
    fresh = await inboxes.summaries(ANYONE, ("ada",), 0)
    assert fresh == await inboxes.summaries(ANYONE, ("ada",), MINUTE), "its cursor too"


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_bucket_is_full_at_first_and_gives_what_it_has(buckets: SharedBuckets) -> None:
    drawn = await buckets.draw({"acme": (10, 0, 8), "other": (1_000, 0, 5)})
    assert drawn is not None
    assert drawn["acme"][0] == 8
    assert drawn["other"][0] == 5
    again = await buckets.draw({"acme": (10, 0, 8)})
    assert again is not None
    assert 2 <= again["acme"][0] < 8


async def test_what_is_spent_is_taken_in_any_case(buckets: SharedBuckets) -> None:
    drawn = await buckets.draw({"acme": (10, 25, 5)})
    assert drawn is not None
    given, left = drawn["acme"]
    assert given == 0
    assert -15.1 < left < -14


class Sender:
    """A replica that sends as fast as it may."""

    def __init__(self, buckets: SharedBuckets, rate: int) -> None:
        now = asyncio.get_running_loop().time
        self.rates = SharedSendRates(buckets, SendRates(lambda tenant: rate, now), lambda tenant: rate, now)
        self.sent = 0

    async def send(self, seconds: float) -> None:
        running = asyncio.create_task(self.rates.run())
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            with contextlib.suppress(RateLimited):
                while True:
                    self.rates.take("acme", 1)
                    self.sent += 1
            await asyncio.sleep(0.001)
        running.cancel()


async def test_replicas_share_a_tenants_rate(buckets: SharedBuckets) -> None:
    """A second's worth that was there and what comes in two, not for each of them.

    But for the first moment, in which none knows of the others.
    """
    senders = [Sender(buckets, 200) for _ in range(3)]
    await asyncio.gather(*(sender.send(2.0) for sender in senders))
    assert 550 <= sum(sender.sent for sender in senders) <= 1_200, "alone each would have sent 600"


async def test_each_replica_goes_by_its_own_while_it_is_away(
    buckets: SharedBuckets, server: Valkey, tmp_path: Path
) -> None:
    await server.kill()
    sender = Sender(buckets, 50)
    await sender.send(1.0)
    # Twice a bucket that was full at first: what was spent before it was known to be away is not counted again.
    assert 50 <= sender.sent <= 160
