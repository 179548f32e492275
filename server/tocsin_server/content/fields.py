"""Fields that are not text, read from what Liquid makes of them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any

from tocsin_server.content.localized import to_moment
from tocsin_server.content.run import Run, Unrenderable
from tocsin_server.content.values import to_number, to_whole
from tocsin_server.domain.content import ActionStyle, InputKind, TimelineEntryState
from tocsin_server.domain.time import SECOND

MAX_ELEMENTS = {"media": 20, "actions": 10, "inputs": 20, "fields": 50, "items": 100, "entries": 100}
"""How many of each the contract lets a content have."""

_MAX_COUNT = 2**32 - 1


def field_value(run: Run, field: str, said: str) -> Any:
    """The value of a field, one of FIELD_TYPES. Raises Unrenderable."""
    return FIELD_TYPES[field](run, said)


def _count(run: Run, said: str) -> int:
    count = to_whole(said)
    if not 0 <= count <= _MAX_COUNT:
        raise Unrenderable("must be from 0 to 4,294,967,295")
    return count


def _flag(run: Run, said: str) -> bool:
    if said not in ("true", "false"):
        raise Unrenderable(f"must be true or false, not {said[:20]!r}")
    return said == "true"


def _time(run: Run, said: str) -> int:
    try:
        moment = to_moment(run, to_number(said))
    except Unrenderable:
        moment = to_moment(run, said)
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=run.zone)
    return round(moment.timestamp() * SECOND)


def _named(kind: type[IntEnum]) -> Callable[[Run, str], IntEnum]:
    def named(run: Run, said: str) -> IntEnum:
        try:
            return kind[said.upper()]
        except KeyError:
            raise Unrenderable(f"{said[:40]!r} is none of {', '.join(kind.__members__)}") from None

    return named


FIELD_TYPES: Mapping[str, Callable[[Run, str], Any]] = {
    "total_count": _count,
    "width": _count,
    "height": _count,
    "required": _flag,
    "time": _time,
    "state": _named(TimelineEntryState),
    "style": _named(ActionStyle),
    "kind": _named(InputKind),
}
"""By the field's name, which is the same in all kinds of content."""
