"""Local wall time and instants, the same everywhere: quiet hours, schedules, digests, local deliver times.

A local time that does not exist is the first instant after the gap, which is not what `fold=0` gives. One that repeats
is its first occurrence. So the instant never falls while the wall time rises.

Zones are those of the tzdata wheel, whatever the machine has: its files may be a year old, and two replicas with
different ones would disagree. Nothing is read before the first zone is asked for, and each is read once.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

from tocsin_server.domain.time import SECOND, Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WALL_EPOCH = _EPOCH.replace(tzinfo=None)
_MICROSECOND = timedelta(microseconds=1)


@cache
def zone_names() -> frozenset[str]:
    """Every IANA zone that there is, links among them."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("ascii").split())


def zone(name: str) -> ZoneInfo:
    """The zone of this name; UTC for an empty one, and for one that the data no longer has.

    Names are checked against `zone_names` when they are written.
    """
    return _read(name if name in zone_names() else "UTC")


def local(instant: Micros, zone: ZoneInfo) -> datetime:
    """What clocks show in the zone: the wall time without a zone."""
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone).replace(tzinfo=None, fold=0)


def instant(local: datetime, zone: ZoneInfo) -> Micros:
    """The first instant at which clocks in the zone show this wall time, or, where they skip it, a later one."""
    wall = (local - _WALL_EPOCH) // _MICROSECOND
    before, after = _offset(local.replace(fold=0), zone), _offset(local.replace(fold=1), zone)
    if after <= before:
        # It is there once; or it repeats, and the offset before is that of its first occurrence.
        return wall - before
    return _end_of_gap(wall - after, wall - before, before, zone)


def _end_of_gap(low: Micros, high: Micros, before: Micros, zone: ZoneInfo) -> Micros:
    """When the offset `before` ends: after `low`, and at `high` at the latest. Clocks change on whole seconds."""
    low, high = low // SECOND, -(-high // SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        at_middle = (_EPOCH + timedelta(seconds=middle)).astimezone(zone)
        if _offset(at_middle, zone) == before:
            low = middle
        else:
            high = middle
    return high * SECOND


def _offset(moment: datetime, zone: ZoneInfo) -> Micros:
    return (zone.utcoffset(moment.replace(tzinfo=zone)) or timedelta()) // _MICROSECOND


@cache
def _read(name: str) -> ZoneInfo:
    """A zone that there is, so that there are no more of them than zones."""
    with resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, name)
