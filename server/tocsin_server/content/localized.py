"""Filters that write dates, numbers and plurals as the recipient's locale and time zone have them, through Babel."""

import datetime as dt
from collections.abc import Callable
from copy import copy
from decimal import Decimal
from functools import lru_cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_skeleton, format_time
from babel.numbers import NumberPattern, format_currency

from tocsin_server.content.run import Run, Unrenderable
from tocsin_server.content.values import digits_of, text, to_number, to_whole
from tocsin_server.domain.local_time import instant, local

FALLBACK_LOCALE = "en"

PLURAL_FORMS = ("zero", "one", "two", "few", "many", "other")
"""Of CLDR; each language has some of them, and all have `other`."""

_LENGTHS = ("short", "medium", "long", "full")
_LOCALIZED_STEPS = 100
"""What Babel takes for one value."""

_KEPT = 4_096
"""Numbers as they were written, up to some 300 characters each."""

_FIRST_YEAR = 3
_LAST_YEAR = 9997
_DAY_CHARS = len("2027-01-31")
_MAX_TIME_CHARS = 40

Moment = dt.datetime | dt.date


@lru_cache(maxsize=256)
def locale_of(tag: str) -> Locale:
    """Babel's locale for a BCP 47 tag, shortened until Babel knows it; English where it knows none of it."""
    wanted = tag
    while wanted:
        try:
            return Locale.parse(wanted, sep="-")
        except (UnknownLocaleError, ValueError, TypeError):
            wanted = wanted.rpartition("-")[0]
    return Locale.parse(FALLBACK_LOCALE)


def read_data(tag: str) -> None:
    """Has Babel read what it knows of a locale, which it does when that is first used."""
    locale = locale_of(tag)
    locale.decimal_formats, locale.plural_form(1), locale.date_formats


def date(run: Run, value: Any, form: Any = "medium") -> str:
    """A day: `short`, `medium`, `long`, `full`, or a skeleton of CLDR such as `MMMd`."""

    def write(moment: Moment, length: str) -> str:
        return format_date(moment, length, run.locale)

    return _written(run, value, form, write, needs_time=False)


def time_of_day(run: Run, value: Any, form: Any = "short") -> str:
    """A time of day, in the recipient's time zone."""

    def write(moment: Moment, length: str) -> str:
        assert isinstance(moment, dt.datetime)
        return format_time(moment, length, run.zone, run.locale)

    return _written(run, value, form, write, needs_time=True)


def date_and_time(run: Run, value: Any, form: Any = "medium") -> str:
    """A day and a time of day, in the recipient's time zone."""

    def write(moment: Moment, length: str) -> str:
        return format_datetime(moment, length, run.zone, run.locale)

    return _written(run, value, form, write, needs_time=True)


def decimal(run: Run, value: Any, digits: Any = None) -> str:
    """A number with the locale's separators; `digits` after the point, otherwise as many as it has, at most 3."""
    return _number(run, value, digits, as_percent=False)


def percent(run: Run, value: Any, digits: Any = 0) -> str:
    """A share of 1 in per cent."""
    return _number(run, value, digits, as_percent=True)


def currency(run: Run, value: Any, code: Any) -> str:
    """An amount of money; the code is that of ISO 4217."""
    run.spend(_LOCALIZED_STEPS)
    unit = text(run, code)
    if len(unit) != 3 or not (unit.isascii() and unit.isalpha() and unit.isupper()):
        raise Unrenderable(f"{unit[:8]!r} is no currency, such as EUR")
    return _amount(run.locale, digits_of(value), unit)


def plural(run: Run, value: Any, **forms: Any) -> str:
    """The form of the language for a number, whose `#` becomes the number itself."""
    run.spend(_LOCALIZED_STEPS)
    found = forms.get(_plural_form(run.locale, to_number(value)), forms.get("other"))
    if found is None:
        raise Unrenderable("a plural needs `other`")
    shape = text(run, found)
    if "#" not in shape:
        return shape
    written = decimal(run, value)
    run.reserve(len(shape) + shape.count("#") * len(written))
    return shape.replace("#", written)


def to_moment(run: Run, value: Any) -> Moment:
    """A time in the recipient's zone, or a day that no zone moves. Raises Unrenderable.

    It is told as seconds since 1970, or in ISO 8601; where that has no offset, it is a time in the recipient's zone.
    """
    moment = _told(run, value)
    # So far from both ends no time zone leads out of what can be written.
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise Unrenderable(f"a time is not in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    if not isinstance(moment, dt.datetime):
        return moment
    return _at_wall(run, moment) if moment.tzinfo is None else moment.astimezone(run.zone)


def _at_wall(run: Run, moment: dt.datetime) -> dt.datetime:
    """A wall time of the recipient's; where clocks skip it, the first after the gap."""
    return local(instant(moment, run.zone), run.zone).replace(tzinfo=run.zone)


def _told(run: Run, value: Any) -> Moment:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return dt.datetime.fromtimestamp(value, dt.UTC)
        except (ValueError, OverflowError, OSError):
            raise Unrenderable("a number is no time in seconds since 1970") from None
    written = text(run, value)
    if written == "now":
        return run.now
    try:
        if len(written) == _DAY_CHARS:
            return dt.date.fromisoformat(written)
        if len(written) <= _MAX_TIME_CHARS:
            return dt.datetime.fromisoformat(written)
    except ValueError:
        pass
    raise Unrenderable(f"{written[:40]!r} is not a time in ISO 8601, such as 2027-01-31T09:00:00Z")


def _written(
    run: Run,
    value: Any,
    form: Any,
    write: Callable[[Moment, str], str],
    *,
    needs_time: bool,
) -> str:
    run.spend(_LOCALIZED_STEPS)
    wanted, moment = text(run, form), to_moment(run, value)
    if needs_time and not isinstance(moment, dt.datetime):
        moment = _at_wall(run, dt.datetime.combine(moment, dt.time()))
    if wanted in _LENGTHS:
        return write(moment, wanted)
    if wanted not in run.locale.datetime_skeletons:
        raise Unrenderable(
            f"{wanted[:40]!r} is no form of a time: it is short, medium, long, full, or a skeleton such as yMMMd"
        )
    return format_skeleton(wanted, moment, run.zone if needs_time else None, False, run.locale)


def _number(run: Run, value: Any, digits: Any, *, as_percent: bool) -> str:
    run.spend(_LOCALIZED_STEPS)
    return _figure(run.locale, digits_of(value), as_percent, _digits(digits))


def _digits(digits: Any) -> int | None:
    if digits is None:
        return None
    count = to_whole(digits)
    if not 0 <= count <= 10:
        raise Unrenderable("a number is written with 0 to 10 digits after the point")
    return count


# Babel takes 10 to 20 µs for a number, and numbers come again: counts, prices, what is sent to many. What was written
# is kept by the digits, as numbers that are equal need not look the same: 0 and -0.


@lru_cache(maxsize=_KEPT)
def _amount(locale: Locale, digits: str, unit: str) -> str:
    return format_currency(Decimal(digits), unit, locale=locale)


@lru_cache(maxsize=_KEPT)
def _figure(locale: Locale, digits: str, as_percent: bool, after_the_point: int | None) -> str:
    written: str = _number_pattern(locale, as_percent, after_the_point).apply(Decimal(digits), locale)
    return written


@lru_cache(maxsize=_KEPT)
def _plural_form(locale: Locale, number: float) -> str:
    return locale.plural_form(number)


@lru_cache(maxsize=512)
def _number_pattern(locale: Locale, as_percent: bool, digits: int | None) -> NumberPattern:
    formats = locale.percent_formats if as_percent else locale.decimal_formats
    pattern: NumberPattern = copy(formats[None])
    if digits is not None:
        pattern.frac_prec = (digits, digits)
    return pattern
