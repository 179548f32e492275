"""When to try again."""

import random
from dataclasses import dataclass

from tocsin.errors import TocsinError, is_transient

__all__ = ("RetryPolicy",)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait between attempts: exponential, with full jitter, never less than the server asked for.

    A call is tried again when the server is unavailable, or refused it and said when to come back; every attempt
    carries the same request id, so that nothing happens twice. Streams reconnect by the same delays, without end.

    Attributes:
        initial_delay: upper bound of the first delay, in seconds; each further bound is `multiplier` times the last.
        max_delay: upper bound of every delay, in seconds. Does not cut short what the server asks for.
        multiplier: 1 to 100.
        max_attempts: how often a call is made in all; None: as often as its deadline allows. 1 turns retries off.
    """

    initial_delay: float = 0.1
    max_delay: float = 5.0
    multiplier: float = 2.0
    max_attempts: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.initial_delay <= self.max_delay:
            raise ValueError("initial_delay must be positive, and max_delay not below it")
        if not 1 <= self.multiplier <= 100:
            raise ValueError("multiplier must be from 1 to 100")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError("max_attempts must be at least 1")

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the `attempt`th failure in a row, counted from 1.

        Args:
            attempt: how many attempts have failed since the last success.
            retry_after: seconds the server asked for. The jitter comes on top, so that those who were turned away
                together do not come back together.
        """
        # Past 64 steps any bound is max_delay; without the limit the power would overflow.
        bound = min(self.max_delay, self.initial_delay * self.multiplier ** min(attempt - 1, 64))
        return (retry_after or 0.0) + random.random() * bound  # noqa: S311 (jitter, not a secret)

    def decide(self, attempt: int, error: TocsinError) -> float | None:
        """Seconds to wait before a call that failed with `error` is made again; None: give up."""
        if not is_transient(error) or (self.max_attempts is not None and attempt >= self.max_attempts):
            return None
        return self.delay(attempt, error.retry_after)
