"""Token buckets: how fast a tenant may send."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from tocsin_server.domain.errors import RateLimited
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import SharedBuckets


class Rates(Protocol):
    """Limits how fast tenants send. Called for every Send, and so it waits for nobody."""

    def take(self, tenant: str, count: int) -> None:
        """Takes tokens for so many notifications. Raises RateLimited; a full bucket serves a batch of any size."""


class SendRates:
    """One bucket a tenant, holding a second's worth. Buckets that are full again are forgotten."""

    _MAX_BUCKETS = 10_000

    def __init__(self, per_second: Callable[[str], int], now: Callable[[], float]) -> None:
        self._per_second = per_second
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str, count: int) -> None:
        """See `Rates`."""
        rate = self._per_second(tenant)
        if not rate:
            return
        now = self._now()
        tokens, since = self._buckets.get(tenant, (float(rate), now))
        tokens = min(rate, tokens + (now - since) * rate)
        if tokens < min(count, rate):
            raise _limited(min(count, rate) - tokens, rate)
        if len(self._buckets) >= self._MAX_BUCKETS:
            self._buckets = {
                name: (left, at)
                for name, (left, at) in self._buckets.items()
                if left + (now - at) * (full := self._per_second(name)) < full
            }
        self._buckets[tenant] = (tokens - count, now)


class _Advance:
    """What this replica has of a tenant's shared bucket."""

    __slots__ = ("at", "left", "tokens")

    def __init__(self, left: float, now: float) -> None:
        self.tokens = 0
        """Taken from the shared bucket and not spent; below zero: spent and not yet taken."""
        self.left = left
        """What the shared bucket held after the last drawing, whoever takes it."""
        self.at = now
        """When that was."""


class SharedSendRates:
    """One bucket a tenant for all replicas, from which each draws a little in advance, in the background.

    What is spent beyond the advance is drawn afterwards, as long as the shared bucket is known to have held it: so
    replicas together exceed the rate by no more than what they spend while a drawing is under way. While the shared
    buckets cannot be reached, each replica goes by its own. Run `run` as a task.
    """

    MAX_TENANTS = 10_000
    ADVANCE_SECONDS = 0.05
    """How much is drawn in advance: what the rate gives in this time."""
    DRAW_INTERVAL_SECONDS = 0.01
    RETRY_SECONDS = 1.0

    def __init__(
        self,
        shared: SharedBuckets,
        alone: SendRates,
        per_second: Callable[[str], int],
        now: Callable[[], float],
    ) -> None:
        self._shared = shared
        self._alone = alone
        self._per_second = per_second
        self._now = now
        self._away = False
        """The last drawing has failed."""
        self._look_at = 0.0
        """When it is tried again."""
        self._advances: dict[str, _Advance] = {}
        self._short: dict[str, None] = {}
        self._wake = asyncio.Event()

    def take(self, tenant: str, count: int) -> None:
        """See `Rates`."""
        rate = self._per_second(tenant)
        if not rate:
            return
        now = self._now()
        if self._away:
            self._alone.take(tenant, count)
            if now >= self._look_at:
                # It may be back: what is spent from here on is drawn from it.
                self._advance(tenant, rate, now).tokens -= count
                self._draw(tenant)
            return
        advance = self._advance(tenant, rate, now)
        if advance.tokens < count:
            there = advance.tokens + min(rate, advance.left + (now - advance.at) * rate)
            if there < min(count, rate):
                self._draw(tenant)
                raise _limited(min(count, rate) - there, rate)
        advance.tokens -= count
        if advance.tokens * 2 < rate * self.ADVANCE_SECONDS:
            self._draw(tenant)

    def _advance(self, tenant: str, rate: int, now: float) -> _Advance:
        advance = self._advances.get(tenant)
        if advance is None:
            if len(self._advances) >= self.MAX_TENANTS:
                self._advances.clear()
            advance = self._advances[tenant] = _Advance(rate, now)
        return advance

    def _draw(self, tenant: str) -> None:
        self._short[tenant] = None
        self._wake.set()

    async def run(self) -> None:
        """Draws what is wanted, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            short, self._short = self._short, {}
            wanted = {tenant: self._wanted(tenant) for tenant in short if tenant in self._advances}
            if not wanted:
                # Nothing is found out by it.
                continue
            drawn = await self._shared.draw(wanted)
            now = self._now()
            self._away = drawn is None
            if drawn is None:
                self._look_at = now + self.RETRY_SECONDS
                self._advances.clear()
                continue
            for tenant, (given, left) in drawn.items():
                advance = self._advances.get(tenant)
                if advance is not None:
                    advance.tokens += given
                    advance.left, advance.at = left, now
            await asyncio.sleep(self.DRAW_INTERVAL_SECONDS)

    def _wanted(self, tenant: str) -> tuple[int, int, int]:
        """As `SharedBuckets.draw` takes it; from here on what is spent is the next drawing's."""
        advance, rate = self._advances[tenant], max(self._per_second(tenant), 1)
        spent = max(-advance.tokens, 0)
        advance.tokens += spent
        # While it is under way, what it takes is not there a second time.
        advance.left -= spent
        return rate, spent, max(int(rate * self.ADVANCE_SECONDS) - advance.tokens, 1)


def _limited(missing: float, rate: int) -> RateLimited:
    error = RateLimited(limit=rate)
    error.retry_delay = _delay(missing, rate)
    return error


def _delay(missing: float, rate: int) -> Micros:
    return max(int(missing / rate * SECOND), SECOND // 100)
