"""Filters of numbers. Sums and products are computed in decimals: 0.1 and 0.2 are 0.3."""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from tocsin_server.content.filters.filter import Filter
from tocsin_server.content.run import Run, Unrenderable
from tocsin_server.content.values import number, to_decimal, to_number, to_whole


def _plus(run: Run, value: Any, other: Any) -> int | float:
    return exact(to_decimal(value) + to_decimal(other))


def _minus(run: Run, value: Any, other: Any) -> int | float:
    return exact(to_decimal(value) - to_decimal(other))


def _times(run: Run, value: Any, other: Any) -> int | float:
    return exact(to_decimal(value) * to_decimal(other))


def _divided_by(run: Run, value: Any, other: Any) -> int | float:
    one, by = to_number(value), to_number(other)
    if not by:
        raise Unrenderable("cannot be divided by 0")
    # As in every Liquid: whole numbers give whole numbers.
    return one // by if isinstance(one, int) and isinstance(by, int) else number(one / by)


def _modulo(run: Run, value: Any, other: Any) -> int | float:
    one, by = to_number(value), to_number(other)
    if not by:
        raise Unrenderable("cannot be divided by 0")
    return number(one % by)


def _round(run: Run, value: Any, digits: Any = 0) -> int | float:
    places = to_whole(digits)
    if not 0 <= places <= 10:
        raise Unrenderable("can be rounded to 0 to 10 digits")
    return exact(to_decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def _ceil(run: Run, value: Any) -> int | float:
    return exact(to_decimal(value).to_integral_value(ROUND_CEILING))


def _floor(run: Run, value: Any) -> int | float:
    return exact(to_decimal(value).to_integral_value(ROUND_FLOOR))


def _abs(run: Run, value: Any) -> int | float:
    return abs(to_number(value))


def _at_least(run: Run, value: Any, other: Any) -> int | float:
    return max(to_number(value), to_number(other))


def _at_most(run: Run, value: Any, other: Any) -> int | float:
    return min(to_number(value), to_number(other))


def exact(value: Decimal) -> int | float:
    """A result of decimal arithmetic, as templates have numbers."""
    return number(float(value))


NUMBER_FILTERS = {
    "abs": Filter(_abs),
    "at_least": Filter(_at_least, 1, 1),
    "at_most": Filter(_at_most, 1, 1),
    "ceil": Filter(_ceil),
    "divided_by": Filter(_divided_by, 1, 1),
    "floor": Filter(_floor),
    "minus": Filter(_minus, 1, 1),
    "modulo": Filter(_modulo, 1, 1),
    "plus": Filter(_plus, 1, 1),
    "round": Filter(_round, 0, 1),
    "times": Filter(_times, 1, 1),
}
