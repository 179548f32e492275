"""How long to wait after a failure."""

FIRST_SECONDS = 0.05
LONGEST_SECONDS = 2.0


def backoff_seconds(failures: int, chance: float) -> float:
    """After so many failures in a row; twice as long each time, and anything from half of it by chance (0 to 1)."""
    longest = min(FIRST_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_SECONDS)
    return longest * (0.5 + chance / 2)
