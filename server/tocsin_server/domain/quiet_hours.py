"""Quiet hours: weekly local windows in which interrupting channels stay silent."""

from enum import IntEnum

from tocsin_server.domain.value import Value


class QuietAction(IntEnum):
    """What becomes of an interrupting channel in quiet hours; numbered as in the contract."""

    DEFER = 1
    DROP = 2
    BATCH = 3


class QuietWindow(Value, frozen=True):
    """From `start` on each of the days until `end`, which is on the next day where it is not after the start."""

    days: tuple[int, ...]
    """ISO weekdays on which it starts: 1 is Monday."""
    start: int
    """Minutes after local midnight, 0 to 1439."""
    end: int
    """Minutes after local midnight, 0 to 1439; equal to `start`: 24 hours."""


class QuietHours(Value, frozen=True):
    """When to be left alone; no windows: never."""

    windows: tuple[QuietWindow, ...] = ()
    action: QuietAction = QuietAction.DEFER
    email: bool = False
    """EMAIL is held back too."""
