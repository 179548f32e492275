"""Quiet hours: weekly local windows in which interrupting channels stay silent."""

from datetime import datetime, time, timedelta
from enum import IntEnum

from tocsin_server.domain.category import INTERRUPTING
from tocsin_server.domain.local_time import instant, local, zone
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value

_DAYS_AHEAD = 7


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

    @property
    def minutes(self) -> int:
        """How long it lasts on the clock: 1 to 1440."""
        return (self.end - self.start - 1) % 1440 + 1


class QuietHours(Value, frozen=True):
    """When to be left alone; no windows: never."""

    windows: tuple[QuietWindow, ...] = ()
    action: QuietAction = QuietAction.DEFER
    email: bool = False
    """EMAIL is held back too."""

    def hold(self, channel: Channel) -> bool:
        """Whether the channel stays silent in them."""
        return channel in INTERRUPTING or (self.email and channel is Channel.EMAIL)


def quiet_until(hours: QuietHours, zone_name: str, channel: Channel, now: Micros) -> Micros | None:
    """When the channel may speak again in this zone; None: it may now.

    A window holds from its first instant up to, and without, its end. Windows that touch or overlap are one. Where that
    never ends, because the whole week is quiet, it is cut off at the end of a window about a week ahead: whoever waits
    for it meets the same rule again then.
    """
    if not hours.windows or not hours.hold(channel):
        return None
    place = zone(zone_name)
    # What holds now started yesterday or later; or tomorrow, where clocks have gone back over midnight.
    midnight = datetime.combine(local(now, place).date(), time()) - timedelta(days=1)
    windows = sorted(hours.windows, key=lambda window: window.start)
    end = now
    for _ in range(1 + _DAYS_AHEAD):
        for window in windows:
            if midnight.isoweekday() not in window.days:
                continue
            start = midnight + timedelta(minutes=window.start)
            # Later on the clock is never earlier in time, so that nothing after this one touches either.
            if instant(start, place) > end:
                return end if end > now else None
            end = max(end, instant(start + timedelta(minutes=window.minutes), place))
        midnight += timedelta(days=1)
    return end if end > now else None
