"""Token buckets, on a clock that is turned by hand."""

import pytest

from tocsin_server.domain.errors import RateLimited
from tocsin_server.domain.time import SECOND
from tocsin_server.service.rates import SendRates


class Rates:
    def __init__(self, **per_second: int) -> None:
        self.now = 100.0
        self.per_second = per_second
        self.rates = SendRates(lambda tenant: self.per_second.get(tenant, 0), lambda: self.now)

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
    assert set(rates.rates._buckets) == {"slow", "fast", "newcomer"}
    assert rates.taken("slow") == 0
