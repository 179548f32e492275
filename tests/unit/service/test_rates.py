"""Token buckets, on a clock that is turned by hand."""

import asyncio
from collections.abc import Mapping

import pytest

from tocsin_server.domain.errors import RateLimited
from tocsin_server.domain.time import SECOND
from tocsin_server.service.rates import Rates as AnyRates
from tocsin_server.service.rates import SendRates, SharedSendRates


class Rates:
    def __init__(self, **per_second: int) -> None:
        self.now = 100.0
        self.per_second = per_second
        self.local = SendRates(lambda tenant: self.per_second.get(tenant, 0), lambda: self.now)
        self.rates: AnyRates = self.local

    def taken(self, tenant: str, count: int = 1) -> int:
        """How often so many can be taken at once."""
        times = 0
        while times < 1_000:
            try:
                self.rates.take(tenant, count)
            except RateLimited:
                return times
            times += 1
        return times


def test_a_bucket_holds_a_second() -> None:
    rates = Rates(acme=10)
    assert rates.taken("acme") == 10
    rates.now += 0.5
    assert rates.taken("acme") == 5
    rates.now += 60
    assert rates.taken("acme") == 10, "it does not hold more than a second's worth"


def test_a_full_bucket_serves_a_batch_of_any_size() -> None:
    rates = Rates(acme=10)
    assert rates.taken("acme", 25) == 1
    rates.now += 1.5
    assert rates.taken("acme") == 0, "and is then in debt"
    rates.now += 1.1
    assert rates.taken("acme") == 10
    rates.now += 60
    assert rates.taken("acme", 25) == 1


def test_a_refusal_says_when_to_come_back() -> None:
    rates = Rates(acme=10)
    rates.taken("acme")
    with pytest.raises(RateLimited) as refused:
        rates.rates.take("acme", 5)
    assert refused.value.retry_delay == SECOND // 2
    assert refused.value.metadata == {"limit": "10"}
    rates.now += 0.5
    rates.rates.take("acme", 5)


def test_tenants_have_buckets_of_their_own() -> None:
    rates = Rates(acme=2, other=3)
    assert (rates.taken("acme"), rates.taken("other"), rates.taken("free")) == (2, 3, 1_000)


def test_what_is_full_is_forgotten_and_what_is_not_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rate of each: a slow tenant does not refill at the pace of a fast one."""
    monkeypatch.setattr(SendRates, "_MAX_BUCKETS", 3)
    rates = Rates(slow=1, full=100, fast=1_000, newcomer=1_000)
    rates.taken("slow")
    rates.rates.take("full", 1)
    rates.now += 0.5
    rates.rates.take("fast", 1)
    rates.rates.take("newcomer", 1)
    assert set(rates.local._buckets) == {"slow", "fast", "newcomer"}
    assert rates.taken("slow") == 0


# --- shared by replicas -----------------------------------------------------------------------------------------------


class Bucket:
    """A shared bucket as Redis keeps it, on the same clock; `away`: it cannot be reached."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        self._tokens: dict[str, tuple[float, float]] = {}
        self.away = False
        self.drawings: list[dict[str, tuple[int, int, int]]] = []

    async def draw(self, wanted: Mapping[str, tuple[int, int, int]]) -> dict[str, tuple[int, float]] | None:
        self.drawings.append(dict(wanted))
        if self.away:
            return None
        drawn = {}
        for tenant, (rate, spent, count) in wanted.items():
            tokens, at = self._tokens.get(tenant, (float(rate), self._rates.now))
            tokens = min(rate, tokens + (self._rates.now - at) * rate) - spent
            given = max(min(count, int(tokens)), 0)
            self._tokens[tenant] = (tokens - given, self._rates.now)
            drawn[tenant] = (given, tokens - given)
        return drawn


class Replica(Rates):
    """One of several that take from one bucket."""

    def __init__(self, clock: Rates, bucket: Bucket) -> None:
        super().__init__(**clock.per_second)
        quota = (lambda tenant: clock.per_second.get(tenant, 0), lambda: clock.now)
        self.rates = self.shared = SharedSendRates(bucket, SendRates(*quota), *quota)

    async def draw(self) -> None:
        """Whatever is wanted by now."""
        running = asyncio.create_task(self.shared.run())
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()


async def test_a_first_send_waits_for_no_one_and_is_drawn_for_afterwards() -> None:
    clock = Rates(acme=100)
    bucket = Bucket(clock)
    replica = Replica(clock, bucket)
    assert replica.taken("acme", 10) == 10, "what the bucket must hold"
    assert bucket.drawings == []
    await replica.draw()
    assert bucket.drawings == [{"acme": (100, 100, 5)}]
    assert replica.taken("acme") == 0


async def test_what_one_replica_has_taken_another_does_not_get() -> None:
    clock = Rates(acme=100)
    bucket = Bucket(clock)
    one, other = Replica(clock, bucket), Replica(clock, bucket)
    one.rates.take("acme", 70)
    await one.draw()
    other.rates.take("acme", 1)
    await other.draw()
    assert other.taken("acme") == 24, "all that there is but the advance of the other"
    await other.draw()
    one.rates.take("acme", 4)
    await one.draw()
    assert one.taken("acme") == 1
    assert other.taken("acme") == 0


async def test_a_refusal_by_the_shared_bucket_says_when_to_come_back() -> None:
    clock = Rates(acme=10)
    replica = Replica(clock, Bucket(clock))
    replica.rates.take("acme", 10)
    await replica.draw()
    with pytest.raises(RateLimited) as refused:
        replica.rates.take("acme", 5)
    assert refused.value.retry_delay == SECOND // 2


async def test_while_the_shared_bucket_is_away_each_replica_has_its_own() -> None:
    clock = Rates(acme=10)
    bucket = Bucket(clock)
    replica = Replica(clock, bucket)
    bucket.away = True
    replica.rates.take("acme", 1)
    await replica.draw()
    assert replica.taken("acme") == 10
    bucket.away = False
    clock.now += SharedSendRates.RETRY_SECONDS
    replica.rates.take("acme", 10)
    await replica.draw()
    assert bucket.drawings[-1] == {"acme": (10, 10, 1)}
    assert replica.taken("acme") == 0
    assert replica.taken("free") == 1_000


async def test_a_shared_bucket_that_is_silent_lets_nobody_send_faster() -> None:
    """Each look whether it is back takes a second, in which nothing is known but what was sent here."""
    clock = Rates(acme=100)

    class Silent(Bucket):
        async def draw(
            self, wanted: Mapping[str, tuple[int, int, int]]
        ) -> dict[str, tuple[int, float]] | None:
            if not wanted:
                return {}
            looked.append(clock.now)
            answer.clear()
            await answer.wait()
            return None

    answer = asyncio.Event()
    looked: list[float] = []
    replica = Replica(clock, Silent(clock))
    running = asyncio.create_task(replica.shared.run())
    sent = 0
    for _ in range(100):
        sent += replica.taken("acme")
        for _ in range(5):
            await asyncio.sleep(0)
        clock.now += 0.1
        if looked and clock.now >= looked[-1] + 1:
            answer.set()
    running.cancel()
    assert len(looked) > 3
    assert 1_000 <= sent <= 1_300, "ten seconds' worth, and what was spent before it was known to be away"


async def test_advances_of_many_tenants_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedSendRates, "MAX_TENANTS", 2)
    clock = Rates(one=10, two=10, three=10)
    replica = Replica(clock, Bucket(clock))
    for tenant in clock.per_second:
        replica.rates.take(tenant, 1)
    assert set(replica.shared._advances) == {"three"}
