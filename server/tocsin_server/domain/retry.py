"""Retries: when what failed is tried again, and when no more. The policy returns a decision, and applies none."""

from tocsin_server.domain.time import DAY, HOUR, SECOND, Micros
from tocsin_server.domain.value import Value


class RetryPolicy(Value, frozen=True):
    """When a call that failed is made again: after twice as long each time, and never the same for all."""

    max_attempts: int
    first_delay: Micros
    longest_delay: Micros
    longest_retry_after: Micros
    """A provider that wants more is asked again after this."""


RETRIES = RetryPolicy(max_attempts=12, first_delay=10 * SECOND, longest_delay=HOUR, longest_retry_after=DAY)
"""Twelve attempts within three and a half hours, and longer where a provider asks for it."""


class RetryAt(Value, frozen=True):
    """Another attempt is made."""

    time: Micros


class GiveUp(Value, frozen=True):
    """No other attempt is made."""

    reason: str
    """A sentence for people."""


def retry(
    policy: RetryPolicy,
    attempts: int,
    retry_after: Micros | None,
    expire_time: Micros | None,
    now: Micros,
    jitter: float,
) -> RetryAt | GiveUp:
    """What follows a call that failed, the `attempts`-th one; `jitter` is random, from 0 to below 1."""
    if attempts >= policy.max_attempts:
        return GiveUp(f"Given up after {attempts} attempts.")
    bound = min(policy.first_delay << (attempts - 1), policy.longest_delay)
    delay = bound // 2 + int(bound / 2 * jitter)
    if retry_after is not None:
        # Not all at the very moment that they were all told.
        wanted = min(retry_after, policy.longest_retry_after) + int(policy.first_delay * jitter)
        delay = max(delay, wanted)
    if expire_time is not None and now + delay >= expire_time:
        return GiveUp("It expires before its next attempt.")
    return RetryAt(now + delay)
