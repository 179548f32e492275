"""Quiet hours: when they hold, and when they end."""

from datetime import datetime, time, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.domain.test_local_time import ZONES, at
from tocsin_server.domain.local_time import instant, local, zone
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.quiet_hours import QuietHours, QuietWindow, quiet_until
from tocsin_server.domain.time import DAY, MINUTE, Micros

EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
WEEKDAYS = (1, 2, 3, 4, 5)


def hours(*windows: tuple[tuple[int, ...], str, str], email: bool = False) -> QuietHours:
    """Windows as (days, HH:MM, HH:MM)."""
    return QuietHours(
        tuple(QuietWindow(days, minutes(start), minutes(end)) for days, start, end in windows), email=email
    )


def minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    return 60 * int(hour) + int(minute)


NIGHTS = hours((EVERY_DAY, "22:00", "07:00"))


@pytest.mark.parametrize(
    ("quiet", "place", "now", "until"),
    [
        # 2026-11-16 is a Monday.
        (hours(), "UTC", "2026-11-16T23:00:00+00:00", None),  # no windows: never
        (NIGHTS, "UTC", "2026-11-16T21:59:59+00:00", None),  # just before the start
        (NIGHTS, "UTC", "2026-11-16T22:00:00+00:00", "2026-11-17T07:00:00+00:00"),  # the start belongs to it
        (NIGHTS, "UTC", "2026-11-17T00:00:00+00:00", "2026-11-17T07:00:00+00:00"),  # it crosses midnight
        (NIGHTS, "UTC", "2026-11-17T06:59:59+00:00", "2026-11-17T07:00:00+00:00"),  # its last second
        (NIGHTS, "UTC", "2026-11-17T07:00:00+00:00", None),  # the end does not belong to it
        (NIGHTS, "", "2026-11-16T23:00:00+00:00", "2026-11-17T07:00:00+00:00"),  # without a zone: UTC
        (NIGHTS, "Asia/Kathmandu", "2026-11-16T16:14:59+00:00", None),  # 21:59:59 there
        (NIGHTS, "Asia/Kathmandu", "2026-11-16T16:15:00+00:00", "2026-11-17T01:15:00+00:00"),  # 22:00 there
        # A window belongs to the day on which it starts.
        (
            hours((WEEKDAYS, "22:00", "07:00")),
            "UTC",
            "2026-11-21T06:00:00+00:00",
            "2026-11-21T07:00:00+00:00",
        ),
        (hours((WEEKDAYS, "22:00", "07:00")), "UTC", "2026-11-21T23:00:00+00:00", None),  # Saturday night
        (hours((WEEKDAYS, "22:00", "07:00")), "UTC", "2026-11-23T06:00:00+00:00", None),  # after Sunday night
        # A window within a day.
        (hours(((1,), "12:00", "13:00")), "UTC", "2026-11-16T12:30:00+00:00", "2026-11-16T13:00:00+00:00"),
        (hours(((1,), "12:00", "13:00")), "UTC", "2026-11-17T12:30:00+00:00", None),  # on another day
        # Start and end are equal: 24 hours.
        (hours(((1,), "09:00", "09:00")), "UTC", "2026-11-16T08:59:59+00:00", None),
        (hours(((1,), "09:00", "09:00")), "UTC", "2026-11-17T08:59:59+00:00", "2026-11-17T09:00:00+00:00"),
        (hours(((7,), "00:00", "00:00")), "UTC", "2026-11-22T12:00:00+00:00", "2026-11-23T00:00:00+00:00"),
        # Windows that touch are one; so are those that overlap, in whatever order they are said.
        (
            hours(((6, 7), "00:00", "00:00")),  # a week-end
            "UTC",
            "2026-11-21T01:00:00+00:00",
            "2026-11-23T00:00:00+00:00",
        ),
        (
            hours(((1,), "13:00", "14:00"), ((1,), "12:00", "13:00")),
            "UTC",
            "2026-11-16T12:30:00+00:00",
            "2026-11-16T14:00:00+00:00",
        ),
        (
            hours(
                ((6, 7), "00:00", "00:00"), (EVERY_DAY, "22:00", "07:00")
            ),  # Friday night to Monday morning
            "UTC",
            "2026-11-20T22:00:00+00:00",
            "2026-11-23T07:00:00+00:00",
        ),
        (
            hours(((1,), "08:00", "20:00"), ((1,), "09:00", "10:00")),  # the one within the other
            "UTC",
            "2026-11-16T09:30:00+00:00",
            "2026-11-16T20:00:00+00:00",
        ),
        (
            hours(((1,), "12:00", "13:00"), ((1,), "13:01", "14:00")),  # a minute between them
            "UTC",
            "2026-11-16T12:30:00+00:00",
            "2026-11-16T13:00:00+00:00",
        ),
        # Clocks go forward at 01:00 to 02:00, on Sunday 2026-03-29.
        (
            NIGHTS,
            "Europe/Lisbon",
            "2026-03-28T22:00:00+00:00",
            "2026-03-29T07:00:00+01:00",
        ),  # an hour shorter
        (  # ends in the gap: at its end
            hours((EVERY_DAY, "22:00", "01:30")),
            "Europe/Lisbon",
            "2026-03-29T00:59:59+00:00",
            "2026-03-29T01:00:00+00:00",
        ),
        (  # starts in the gap: at its end
            hours((EVERY_DAY, "01:30", "05:00")),
            "Europe/Lisbon",
            "2026-03-29T01:00:00+00:00",
            "2026-03-29T05:00:00+01:00",
        ),
        (
            hours((EVERY_DAY, "01:10", "01:50")),
            "Europe/Lisbon",
            "2026-03-29T01:00:00+00:00",
            None,
        ),  # all of it
        # Clocks go back at 02:00 to 01:00, on Sunday 2026-10-25.
        (NIGHTS, "Europe/Lisbon", "2026-10-24T22:00:00+01:00", "2026-10-25T07:00:00+00:00"),  # an hour longer
        (  # ends in what repeats: at the first occurrence
            hours((EVERY_DAY, "22:00", "01:30")),
            "Europe/Lisbon",
            "2026-10-25T01:00:00+01:00",
            "2026-10-25T01:30:00+01:00",
        ),
        (
            hours((EVERY_DAY, "22:00", "01:30")),
            "Europe/Lisbon",
            "2026-10-25T01:00:00+00:00",
            None,
        ),  # the second
        (  # starts in what repeats: at the first, and goes on through the second
            hours((EVERY_DAY, "01:30", "05:00")),
            "Europe/Lisbon",
            "2026-10-25T01:10:00+00:00",
            "2026-10-25T05:00:00+00:00",
        ),
        # Lord Howe moves its clocks by half an hour: forward at 02:00 on 2026-10-04, back at 02:00 on 2026-04-05.
        (
            hours((EVERY_DAY, "01:00", "02:15")),
            "Australia/Lord_Howe",
            "2026-10-04T01:59:00+10:30",
            "2026-10-04T02:30:00+11:00",
        ),
        (
            hours((EVERY_DAY, "01:00", "02:15")),
            "Australia/Lord_Howe",
            "2026-04-05T01:45:00+10:30",  # the second 01:45
            "2026-04-05T02:15:00+10:30",
        ),
        # Samoa left out Friday 2011-12-30.
        (  # Thursday's night ends where Friday would have begun
            hours(((4,), "22:00", "07:00")),
            "Pacific/Apia",
            "2011-12-29T23:00:00-10:00",
            "2011-12-31T00:00:00+14:00",
        ),
        (
            NIGHTS,
            "Pacific/Apia",
            "2011-12-29T23:00:00-10:00",
            "2011-12-31T07:00:00+14:00",
        ),  # Friday's touches it
        (
            hours(((5,), "00:00", "00:00")),
            "Pacific/Apia",
            "2011-12-29T23:59:59-10:00",
            None,
        ),  # no such Friday
        (hours(((5,), "00:00", "00:00")), "Pacific/Apia", "2011-12-31T00:00:00+14:00", None),
        (  # Friday's night is left of it from Saturday's midnight on
            hours(((5,), "22:00", "07:00")),
            "Pacific/Apia",
            "2011-12-31T00:00:00+14:00",
            "2011-12-31T07:00:00+14:00",
        ),
        # Clocks go back over midnight, from 00:01 to 23:01: what started at the first midnight holds on.
        (
            hours(((7,), "00:00", "03:00")),
            "America/St_Johns",
            "2006-10-28T23:30:00-03:30",
            "2006-10-29T03:00:00-03:30",
        ),
    ],
)
def test_until_when_it_is_quiet(quiet: QuietHours, place: str, now: str, until: str | None) -> None:
    assert quiet_until(quiet, place, Channel.PUSH, at(now)) == (None if until is None else at(until))


@pytest.mark.parametrize(
    ("channel", "email", "held"),
    [
        (Channel.INBOX, True, False),  # never
        (Channel.EMAIL, False, False),  # only if asked
        (Channel.EMAIL, True, True),
        (Channel.PUSH, False, True),
        (Channel.SMS, False, True),
        (Channel.WEBHOOK, True, False),
        (Channel.CHAT, True, False),
    ],
)
def test_which_channels_are_held(channel: Channel, email: bool, held: bool) -> None:
    quiet = hours((EVERY_DAY, "22:00", "07:00"), email=email)
    assert (quiet_until(quiet, "UTC", channel, at("2026-11-16T23:00:00+00:00")) is not None) is held


@pytest.mark.parametrize(
    "quiet",
    [
        hours((EVERY_DAY, "00:00", "00:00")),  # days that touch
        hours((EVERY_DAY, "08:00", "20:00"), (EVERY_DAY, "20:00", "08:00")),  # days and nights
        hours((EVERY_DAY, "08:00", "20:00"), (EVERY_DAY, "19:00", "09:00")),  # so too, with overlaps
    ],
)
def test_a_week_that_is_quiet_throughout_is_cut_off_a_week_ahead(quiet: QuietHours) -> None:
    now = at("2026-11-16T12:00:00+00:00")
    until = quiet_until(quiet, "UTC", Channel.PUSH, now)
    assert until is not None
    assert now + 6 * DAY <= until <= now + 8 * DAY
    assert quiet_until(quiet, "UTC", Channel.PUSH, until) is not None


def clock_minutes() -> st.SearchStrategy[int]:
    # Near the hours at which clocks are changed, more often than by chance.
    return st.one_of(st.integers(0, 1439), st.integers(0, 240), st.integers(1380, 1439))


windows = st.builds(
    QuietWindow,
    st.sets(st.integers(1, 7), min_size=1).map(lambda days: tuple(sorted(days))),
    clock_minutes(),
    clock_minutes(),
)

CHANGES = [
    at("2026-03-29T01:00:00+00:00"),  # Lisbon, forward
    at("2026-10-25T01:00:00+00:00"),  # Lisbon, back
    at("2026-03-08T07:00:00+00:00"),  # New York, forward
    at("2026-11-01T06:00:00+00:00"),  # New York, back
    at("2026-10-03T15:30:00+00:00"),  # Lord Howe, forward
    at("2026-04-04T15:00:00+00:00"),  # Lord Howe, back
    at("2006-10-29T02:31:00+00:00"),  # St John's, back over midnight
    at("2011-12-30T10:00:00+00:00"),  # Samoa's missing day
]
instants = st.one_of(
    st.integers(at("2000-01-01T00:00:00+00:00"), at("2040-01-01T00:00:00+00:00")),
    st.builds(
        lambda change, minute: change + minute * MINUTE, st.sampled_from(CHANGES), st.integers(-3000, 3000)
    ),
)


def is_quiet(quiet: QuietHours, place: str, now: Micros) -> bool:
    """The rule as it is written: some window of some day near has begun and is not over."""
    today = datetime.combine(local(now, zone(place)).date(), time())
    for days in range(-3, 4):
        midnight = today + timedelta(days=days)
        for window in quiet.windows:
            length = (window.end - window.start) % 1440 or 1440
            start = midnight + timedelta(minutes=window.start)
            end = start + timedelta(minutes=length)
            if midnight.isoweekday() in window.days and (
                instant(start, zone(place)) <= now < instant(end, zone(place))
            ):
                return True
    return False


@given(st.lists(windows, max_size=4), st.sampled_from(ZONES), instants)
def test_it_is_quiet_until_the_end_and_not_at_it(some: list[QuietWindow], place: str, now: Micros) -> None:
    quiet = QuietHours(tuple(some))
    until = quiet_until(quiet, place, Channel.PUSH, now)
    assert (until is not None) == is_quiet(quiet, place, now)
    assume(until is not None and until < now + 6 * DAY)  # later ones may be cut off
    assert until is not None
    assert until > now
    assert quiet_until(quiet, place, Channel.PUSH, until) is None
    assert quiet_until(quiet, place, Channel.PUSH, until - 1) == until
    assert quiet_until(quiet, place, Channel.PUSH, (now + until) // 2) == until
