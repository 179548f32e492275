"""Wall time and instants: gaps, repeats, and whose data wins."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_server.domain.local_time import instant, local, zone, zone_names
from tocsin_server.domain.time import HOUR, SECOND, Micros

ZONES = [
    "UTC",
    "Europe/Lisbon",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Africa/Casablanca",
]


def at(text: str) -> Micros:
    """An instant, in ISO 8601 with its offset."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("place", "wall", "expected"),
    [
        ("UTC", "2026-03-29T01:30:00", "2026-03-29T01:30:00+00:00"),
        ("Europe/Lisbon", "2026-01-15T12:00:00", "2026-01-15T12:00:00+00:00"),  # winter
        ("Europe/Lisbon", "2026-07-15T12:00:00", "2026-07-15T12:00:00+01:00"),  # summer
        ("Europe/Lisbon", "2026-03-29T00:59:59", "2026-03-29T00:59:59+00:00"),  # the last before the gap
        (
            "Europe/Lisbon",
            "2026-03-29T01:00:00",
            "2026-03-29T01:00:00+00:00",
        ),  # does not exist: the gap's end
        (
            "Europe/Lisbon",
            "2026-03-29T01:30:00",
            "2026-03-29T01:00:00+00:00",
        ),  # so too: fold=0 would give 01:30Z
        ("Europe/Lisbon", "2026-03-29T01:59:59", "2026-03-29T01:00:00+00:00"),  # so too
        ("Europe/Lisbon", "2026-03-29T02:00:00", "2026-03-29T01:00:00+00:00"),  # the first after it
        ("Europe/Lisbon", "2026-10-25T00:59:59", "2026-10-25T00:59:59+01:00"),  # the last that is there once
        (
            "Europe/Lisbon",
            "2026-10-25T01:00:00",
            "2026-10-25T01:00:00+01:00",
        ),  # repeats: its first occurrence
        ("Europe/Lisbon", "2026-10-25T01:30:00", "2026-10-25T01:30:00+01:00"),  # so too
        ("Europe/Lisbon", "2026-10-25T02:00:00", "2026-10-25T02:00:00+00:00"),  # once again
        ("America/New_York", "2026-03-08T02:30:00", "2026-03-08T03:00:00-04:00"),  # in the gap
        ("America/New_York", "2026-11-01T01:30:00", "2026-11-01T01:30:00-04:00"),  # the first of two
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-04T02:30:00+11:00"),  # a gap of half an hour
        ("Australia/Lord_Howe", "2026-10-04T02:30:00", "2026-10-04T02:30:00+11:00"),  # the first after it
        (
            "Australia/Lord_Howe",
            "2026-04-05T01:45:00",
            "2026-04-05T01:45:00+11:00",
        ),  # repeats for half an hour
        ("America/St_Johns", "2006-04-02T00:30:00", "2006-04-02T01:01:00-02:30"),  # a gap from 00:01
        (
            "Pacific/Apia",
            "2011-12-29T23:59:59",
            "2011-12-29T23:59:59-10:00",
        ),  # the last before the missing day
        ("Pacific/Apia", "2011-12-30T00:00:00", "2011-12-31T00:00:00+14:00"),  # the day that Samoa left out
        ("Pacific/Apia", "2011-12-30T17:00:00", "2011-12-31T00:00:00+14:00"),  # so too
        ("Pacific/Apia", "2011-12-31T00:00:00", "2011-12-31T00:00:00+14:00"),  # the first after it
    ],
)
def test_a_wall_time_is_an_instant(place: str, wall: str, expected: str) -> None:
    assert instant(datetime.fromisoformat(wall), zone(place)) == at(expected)


@pytest.mark.parametrize(
    ("place", "when", "wall"),
    [
        ("Europe/Lisbon", "2026-03-29T01:00:00+00:00", "2026-03-29T02:00:00"),
        (
            "Europe/Lisbon",
            "2026-10-25T01:30:00+00:00",
            "2026-10-25T01:30:00",
        ),  # the second of two looks the same
        ("Asia/Kathmandu", "2026-01-01T00:00:00+00:00", "2026-01-01T05:45:00"),
        ("Pacific/Apia", "2011-12-30T10:00:00+00:00", "2011-12-31T00:00:00"),
        ("Europe/Lisbon", "1960-01-01T00:00:00+00:00", "1960-01-01T00:00:00"),  # before the epoch
    ],
)
def test_an_instant_is_a_wall_time(place: str, when: str, wall: str) -> None:
    assert local(at(when), zone(place)) == datetime.fromisoformat(wall)


walls = st.datetimes(datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2060-01-01"))


@given(walls, st.sampled_from(ZONES))
def test_clocks_show_a_wall_time_at_its_instant_and_never_before(wall: datetime, place: str) -> None:
    found = instant(wall, zone(place))
    assert local(found, zone(place)) >= wall
    for earlier in (1, SECOND, HOUR // 4, HOUR, 26 * HOUR):
        assert local(found - earlier, zone(place)) < wall


@given(walls, st.timedeltas(timedelta(), timedelta(days=2)), st.sampled_from(ZONES))
def test_later_on_the_clock_is_never_earlier_in_time(wall: datetime, more: timedelta, place: str) -> None:
    assert instant(wall, zone(place)) <= instant(wall + more, zone(place))


@pytest.mark.parametrize("name", ["", "Nowhere/Here", "../../etc/passwd", "Europe", "europe/lisbon", "zones"])
def test_what_is_no_zone_counts_as_utc(name: str) -> None:
    assert name not in zone_names()
    assert zone(name) is zone("UTC")


def test_every_zone_can_be_read() -> None:
    for name in zone_names():
        assert zone(name).key == name


def test_the_wheels_data_wins_over_the_machines() -> None:
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(())
    try:
        expected = zoneinfo.ZoneInfo.no_cache("America/Vancouver")
    finally:
        zoneinfo.reset_tzpath(before)
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert (
        zone("America/Vancouver").utcoffset(moment.replace(tzinfo=None))
        == moment.astimezone(expected).utcoffset()
    )
