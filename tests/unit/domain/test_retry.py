"""When what failed is tried again, and when no more."""

import pytest

from tocsin_server.domain.retry import GiveUp, RetryAt, RetryPolicy, retry
from tocsin_server.domain.time import DAY, HOUR, MINUTE, SECOND, Micros

NOW: Micros = 1_800_000_000_000_000
POLICY = RetryPolicy(max_attempts=5, first_delay=10 * SECOND, longest_delay=MINUTE, longest_retry_after=HOUR)


@pytest.mark.parametrize(
    ("attempts", "jitter", "retry_after", "expire_time", "decision"),
    [
        # Twice as long each time, from half of it up, and never longer than the longest.
        (1, 0.0, None, None, RetryAt(NOW + 5 * SECOND)),
        (1, 0.5, None, None, RetryAt(NOW + 7_500_000)),
        (2, 0.0, None, None, RetryAt(NOW + 10 * SECOND)),
        (3, 0.0, None, None, RetryAt(NOW + 20 * SECOND)),
        (4, 0.0, None, None, RetryAt(NOW + 30 * SECOND)),
        # Not before the provider wants to hear of it, nor all at that moment.
        (1, 0.0, MINUTE, None, RetryAt(NOW + MINUTE)),
        (1, 0.5, MINUTE, None, RetryAt(NOW + MINUTE + 5 * SECOND)),
        (4, 0.0, SECOND, None, RetryAt(NOW + 30 * SECOND)),
        # A provider does not decide that it is never asked again.
        (1, 0.0, 365 * DAY, None, RetryAt(NOW + HOUR)),
        (5, 0.0, None, None, GiveUp("Given up after 5 attempts.")),
        (6, 0.0, None, None, GiveUp("Given up after 6 attempts.")),
        # Nothing starts at the expire time or later.
        (1, 0.0, None, NOW + 5 * SECOND + 1, RetryAt(NOW + 5 * SECOND)),
        (1, 0.0, None, NOW + 5 * SECOND, GiveUp("It expires before its next attempt.")),
        (1, 0.0, MINUTE, NOW + MINUTE, GiveUp("It expires before its next attempt.")),
        (1, 0.0, None, NOW - 1, GiveUp("It expires before its next attempt.")),
    ],
)
def test_when_it_is_tried_again(
    attempts: int,
    jitter: float,
    retry_after: Micros | None,
    expire_time: Micros | None,
    decision: RetryAt | GiveUp,
) -> None:
    assert retry(POLICY, attempts, retry_after, expire_time, NOW, jitter) == decision
