"""Filters: functions of a value, each of which pays for what it looks at and for what it makes.

A filter never makes more than it has paid for beforehand, and none of them is slower than its input is long.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import quote

from tocsin_server.content import localized
from tocsin_server.content.run import Missing, Run, Unrenderable
from tocsin_server.content.values import (
    ABSENT,
    Markup,
    equal,
    item,
    kind_name,
    number,
    text,
    to_decimal,
    to_number,
    to_whole,
    truthy,
)

_SPACES = re.compile(r"\s+")
_LINE_BREAK = re.compile(r"\r?\n")
_LARGEST_EXPANSION = 6
"""Of a character by escaping: `&quot;`; by percent-encoding up to 12, which is asked for apart."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is applied, and what it takes."""

    apply: Callable[..., Any]
    """Takes the rendering, the value, the arguments, and options by name."""
    least: int = 0
    most: int = 0
    options: frozenset[str] = frozenset()
    takes_missing: bool = False
    zoned: bool = False
    """What it gives depends on the time zone."""


# --- texts ------------------------------------------------------------------------------------------------------------


def _made(run: Run, value: Any) -> str:
    """The text of a value, paid for once more: what comes out is at most as long."""
    found = text(run, value)
    run.reserve(len(found))
    return found


def _append(run: Run, value: Any, end: Any) -> str:
    first, second = text(run, value), text(run, end)
    run.reserve(len(first) + len(second))
    return first + second


def _prepend(run: Run, value: Any, start: Any) -> str:
    return _append(run, start, value)


def _cased(change: Callable[[str], str]) -> Callable[[Run, Any], str]:
    def cased(run: Run, value: Any) -> str:
        found = text(run, value)
        # Some letters become up to three.
        run.reserve(3 * len(found))
        return change(found)

    return cased


def _shortened(change: Callable[[str], str]) -> Callable[[Run, Any], str]:
    return lambda run, value: change(_made(run, value))


def _replace(run: Run, value: Any, old: Any, new: Any = "", count: int = -1) -> str:
    found, wanted, put = text(run, value), text(run, old), text(run, new)
    if not wanted:
        return found
    run.reserve(len(found))
    times = found.count(wanted)
    times = times if count < 0 else min(times, count)
    run.reserve(len(found) + times * max(len(put) - len(wanted), 0))
    return found.replace(wanted, put, count)


def _replace_first(run: Run, value: Any, old: Any, new: Any = "") -> str:
    return _replace(run, value, old, new, 1)


def _remove(run: Run, value: Any, old: Any) -> str:
    return _replace(run, value, old)


def _remove_first(run: Run, value: Any, old: Any) -> str:
    return _replace(run, value, old, "", 1)


def _truncate(run: Run, value: Any, length: Any = 50, end: Any = "…") -> str:
    found, most, tail = text(run, value), max(to_whole(length), 0), text(run, end)
    if len(found) <= most:
        return found
    run.reserve(most + len(tail))
    return found[: max(most - len(tail), 0)] + tail


def _truncate_words(run: Run, value: Any, count: Any = 15, end: Any = "…") -> str:
    words, most, tail = _made(run, value).split(), max(to_whole(count), 1), text(run, end)
    run.look_at(words)
    shown = " ".join(words[:most])
    run.reserve(len(shown) + len(tail))
    return shown if len(words) <= most else shown + tail


def _split(run: Run, value: Any, by: Any) -> list[str]:
    found, separator = text(run, value), text(run, by)
    if not found:
        return []
    parts = found.count(separator) + 1 if separator else len(found)
    run.look_at(parts)
    run.reserve(len(found))
    return found.split(separator) if separator else list(found)


def _slice(run: Run, value: Any, start: Any, length: Any = 1) -> Any:
    first, count = to_whole(start), max(to_whole(length), 0)
    found = value if isinstance(value, list) else _made(run, value)
    if first < 0:
        first += len(found)
        if first < 0:
            return found[:0]
    part = found[first : first + count]
    run.look_at(part if isinstance(part, list) else 0)
    return part


def _escape(run: Run, value: Any) -> Markup:
    found = text(run, value)
    run.reserve(_LARGEST_EXPANSION * len(found))
    return Markup(html.escape(found))


def _newline_to_br(run: Run, value: Any) -> Markup:
    found = value if isinstance(value, Markup) else _escape(run, value)
    run.reserve(7 * len(found))
    return Markup(_LINE_BREAK.sub("<br />\n", found))


def _url_encode(run: Run, value: Any) -> str:
    found = text(run, value)
    run.reserve(12 * len(found))
    return quote(found, safe="")


def _default(run: Run, value: Any, other: Any = "") -> Any:
    return other if not truthy(value) or value in ("", [], {}) else value


# --- numbers ----------------------------------------------------------------------------------------------------------


def _plus(run: Run, value: Any, other: Any) -> int | float:
    return _exact(to_decimal(value) + to_decimal(other))


def _minus(run: Run, value: Any, other: Any) -> int | float:
    return _exact(to_decimal(value) - to_decimal(other))


def _times(run: Run, value: Any, other: Any) -> int | float:
    return _exact(to_decimal(value) * to_decimal(other))


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
    return _exact(to_decimal(value).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def _ceil(run: Run, value: Any) -> int | float:
    return _exact(to_decimal(value).to_integral_value(ROUND_CEILING))


def _floor(run: Run, value: Any) -> int | float:
    return _exact(to_decimal(value).to_integral_value(ROUND_FLOOR))


def _abs(run: Run, value: Any) -> int | float:
    return abs(to_number(value))


def _at_least(run: Run, value: Any, other: Any) -> int | float:
    return max(to_number(value), to_number(other))


def _at_most(run: Run, value: Any, other: Any) -> int | float:
    return min(to_number(value), to_number(other))


def _exact(value: Decimal) -> int | float:
    return number(float(value))


# --- lists ------------------------------------------------------------------------------------------------------------


def _list(run: Run, value: Any) -> list[Any]:
    """The list that a value is, paid for. Raises Unrenderable."""
    if isinstance(value, list):
        run.look_at(value)
        return value
    if value is None or value == "":
        return []
    raise Unrenderable(f"{kind_name(value)} is not a list")


def _size(run: Run, value: Any) -> int:
    return len(value) if isinstance(value, (str, list, dict)) else 0


def _join(run: Run, value: Any, separator: Any = " ") -> str:
    parts, between = [text(run, part) for part in _list(run, value)], text(run, separator)
    run.reserve(sum(map(len, parts)) + len(between) * max(len(parts) - 1, 0))
    return between.join(parts)


def _first(run: Run, value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _last(run: Run, value: Any) -> Any:
    return value[-1] if isinstance(value, list) and value else None


def _concat(run: Run, value: Any, other: Any) -> list[Any]:
    joined = _list(run, value) + _list(run, other)
    run.look_at(joined)
    return joined


def _reverse(run: Run, value: Any) -> list[Any]:
    return _list(run, value)[::-1]


def _compact(run: Run, value: Any) -> list[Any]:
    return [one for one in _list(run, value) if one is not None]


def _map(run: Run, value: Any, key: Any) -> list[Any]:
    return [_at(one, key) for one in _list(run, value)]


def _where(run: Run, value: Any, key: Any, wanted: Any = ABSENT) -> list[Any]:
    return [one for one in _list(run, value) if _matches(run, one, key, wanted)]


def _reject(run: Run, value: Any, key: Any, wanted: Any = ABSENT) -> list[Any]:
    return [one for one in _list(run, value) if not _matches(run, one, key, wanted)]


def _matches(run: Run, one: Any, key: Any, wanted: Any) -> bool:
    found = _at(one, key)
    return truthy(found) if wanted is ABSENT else equal(run, found, wanted)


def _sort(run: Run, value: Any, key: Any = None) -> list[Any]:
    return _sorted(run, value, key, lambda one: one)


def _sort_natural(run: Run, value: Any, key: Any = None) -> list[Any]:
    return _sorted(run, value, key, lambda one: text(run, one).casefold())


def _sorted(run: Run, value: Any, key: Any, fold: Callable[[Any], Any]) -> list[Any]:
    found = _list(run, value)
    # Each is compared with a dozen others.
    run.spend(3 * len(found))
    ranked = [(one if key is None else _at(one, key), one) for one in found]
    known = [(fold(rank), one) for rank, one in ranked if rank is not None]
    kinds = {kind_name(rank) for rank, _ in known}
    if len(kinds) > 1 or not kinds <= {"a text", "a number"}:
        raise Unrenderable("only texts, or only numbers, can be sorted")
    run.spend(sum(len(rank) // 32 for rank, _ in known if isinstance(rank, str)))
    known.sort(key=lambda pair: pair[0])
    return [one for _, one in known] + [one for rank, one in ranked if rank is None]


def _uniq(run: Run, value: Any, key: Any = None) -> list[Any]:
    seen: set[tuple[str, Any]] = set()
    kept = []
    for one in _list(run, value):
        mark = one if key is None else _at(one, key)
        if isinstance(mark, (list, dict)):
            raise Unrenderable("only texts, numbers and flags can be told apart; name a field")
        marked = (kind_name(mark), mark)
        if marked not in seen:
            seen.add(marked)
            kept.append(one)
    return kept


def _sum(run: Run, value: Any, key: Any = None) -> int | float:
    found = _list(run, value)
    run.spend(len(found))
    numbers = [one if key is None else _at(one, key) for one in found]
    return _exact(sum((to_decimal(one) for one in numbers if one is not None), Decimal(0)))


def _at(one: Any, key: Any) -> Any:
    found = item(one, key)
    return None if found is ABSENT or isinstance(found, Missing) else found


_TEXT_FILTERS = {
    "append": Filter(_append, 1, 1),
    "capitalize": Filter(_cased(str.capitalize)),
    "default": Filter(_default, 0, 1, takes_missing=True),
    "downcase": Filter(_cased(str.lower)),
    "escape": Filter(_escape),
    "lstrip": Filter(_shortened(str.lstrip)),
    "newline_to_br": Filter(_newline_to_br),
    "prepend": Filter(_prepend, 1, 1),
    "remove": Filter(_remove, 1, 1),
    "remove_first": Filter(_remove_first, 1, 1),
    "replace": Filter(_replace, 1, 2),
    "replace_first": Filter(_replace_first, 1, 2),
    "rstrip": Filter(_shortened(str.rstrip)),
    "slice": Filter(_slice, 1, 2),
    "split": Filter(_split, 1, 1),
    "squish": Filter(_shortened(lambda found: _SPACES.sub(" ", found).strip())),
    "strip": Filter(_shortened(str.strip)),
    "strip_newlines": Filter(_shortened(lambda found: _LINE_BREAK.sub("", found))),
    "truncate": Filter(_truncate, 0, 2),
    "truncatewords": Filter(_truncate_words, 0, 2),
    "upcase": Filter(_cased(str.upper)),
    "url_encode": Filter(_url_encode),
}

_NUMBER_FILTERS = {
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

_LIST_FILTERS = {
    "compact": Filter(_compact),
    "concat": Filter(_concat, 1, 1),
    "first": Filter(_first),
    "join": Filter(_join, 0, 1),
    "last": Filter(_last),
    "map": Filter(_map, 1, 1),
    "reject": Filter(_reject, 1, 2),
    "reverse": Filter(_reverse),
    "size": Filter(_size),
    "sort": Filter(_sort, 0, 1),
    "sort_natural": Filter(_sort_natural, 0, 1),
    "sum": Filter(_sum, 0, 1),
    "uniq": Filter(_uniq, 0, 1),
    "where": Filter(_where, 1, 2),
}

_LOCALIZED_FILTERS = {
    "currency": Filter(localized.currency, 1, 1),
    "date": Filter(localized.date, 0, 1, zoned=True),
    "datetime": Filter(localized.date_and_time, 0, 1, zoned=True),
    "number": Filter(localized.decimal, 0, 1),
    "percent": Filter(localized.percent, 0, 1),
    "plural": Filter(localized.plural, 0, 0, options=frozenset(localized.PLURAL_FORMS)),
    "time": Filter(localized.time_of_day, 0, 1, zoned=True),
}

FILTERS = _TEXT_FILTERS | _NUMBER_FILTERS | _LIST_FILTERS | _LOCALIZED_FILTERS
"""By name: all that a template can use."""
