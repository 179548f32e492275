"""Filters of lists."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tocsin_server.content.filters.filter import Filter
from tocsin_server.content.filters.numbers import exact
from tocsin_server.content.run import Missing, Run, Unrenderable
from tocsin_server.content.values import ABSENT, equal, item, kind_name, text, to_decimal, truthy


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
    return exact(sum((to_decimal(one) for one in numbers if one is not None), Decimal(0)))


def _at(one: Any, key: Any) -> Any:
    found = item(one, key)
    return None if found is ABSENT or isinstance(found, Missing) else found


LIST_FILTERS = {
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
