"""Token buckets: how fast a tenant may send."""

from collections.abc import Callable

from tocsin_server.domain.errors import RateLimited
from tocsin_server.domain.time import SECOND, Micros


class SendRates:
    """One bucket a tenant, holding a second's worth. Buckets that are full again are forgotten."""

    _MAX_BUCKETS = 10_000

    def __init__(self, per_second: Callable[[str], int], now: Callable[[], float]) -> None:
        self._per_second = per_second
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, tenant: str, count: int) -> None:
        """Takes tokens for so many notifications. Raises RateLimited; a full bucket serves a batch of any size."""
        rate = self._per_second(tenant)
        if not rate:
            return
        now = self._now()
        tokens, since = self._buckets.get(tenant, (float(rate), now))
        tokens = min(rate, tokens + (now - since) * rate)
        if tokens < min(count, rate):
            error = RateLimited(limit=rate)
            error.retry_delay = _delay(min(count, rate) - tokens, rate)
            raise error
        if len(self._buckets) >= self._MAX_BUCKETS:
            self._buckets = {
                name: (left, at)
                for name, (left, at) in self._buckets.items()
                if left + (now - at) * (full := self._per_second(name)) < full
            }
        self._buckets[tenant] = (tokens - count, now)


def _delay(missing: float, rate: int) -> Micros:
    return max(int(missing / rate * SECOND), SECOND // 100)
