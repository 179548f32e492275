"""Values as Liquid sees them: those of JSON, and nothing of Python. There are no attributes and no methods."""

from decimal import Decimal
from typing import Any

from tocsin_server.content.run import Missing, Run, Unrenderable

MAX_NUMBER = 2**53
"""Nothing is computed with numbers beyond: JSON's are not exact there."""

ABSENT: Any = object()


class Markup(str):
    """Text that is HTML already, and not escaped again."""

    __slots__ = ()


def item(value: Any, key: Any) -> Any:
    """What stands at a key of an object, or at an index of a list; ABSENT where nothing does."""
    kind = type(value)
    if kind is dict:
        if type(key) is str:
            found = value.get(key, ABSENT)
            return len(value) if found is ABSENT and key == "size" else found
    elif kind is list:
        if type(key) is int:
            return value[key] if -len(value) <= key < len(value) else ABSENT
        if key == "size":
            return len(value)
        if value and key in ("first", "last"):
            return value[0 if key == "first" else -1]
    elif isinstance(value, str) and key == "size":
        return len(value)
    return ABSENT


def text(run: Run, value: Any) -> str:
    """The value as it is printed. Raises Unrenderable for an object, or a list of them."""
    if isinstance(value, str):
        return value
    if type(value) is list:
        run.look_at(value)
        parts = [scalar_text(run, part) for part in value]
        run.reserve(sum(map(len, parts)))
        return "".join(parts)
    return scalar_text(run, value)


def scalar_text(run: Run, value: Any) -> str:
    """As `text`, but not for a list."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, Missing):
        return run.lacks(value)
    raise Unrenderable(f"{kind_name(value)} cannot be printed; name one of its fields")


def number(value: float) -> int | float:
    """A number within bounds; one without a fraction is an int. Raises Unrenderable."""
    bounded = _bounded(value)
    return int(bounded) if bounded == int(bounded) else bounded


def to_number(value: Any) -> int | float:
    """A number, or a text that is one. Raises Unrenderable."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _bounded(value)
    if isinstance(value, str) and len(value) <= 32:
        try:
            return number(float(value))
        except ValueError:
            pass
    raise Unrenderable(f"{_shown(value)} is not a number")


def to_whole(value: Any) -> int:
    """A whole number. Raises Unrenderable."""
    found = number(to_number(value))
    if isinstance(found, float):
        raise Unrenderable(f"{_shown(value)} is not a whole number")
    return found


def digits_of(value: Any) -> str:
    """As `to_number`, in the fewest digits that tell it from others."""
    return repr(to_number(value))


def to_decimal(value: Any) -> Decimal:
    """As `to_number`, without what binary fractions cannot say."""
    return Decimal(digits_of(value))


def truthy(value: Any) -> bool:
    """Everything is true but false, nothing and what is missing."""
    return not (value is False or value is None or isinstance(value, Missing))


def equal(run: Run, left: Any, right: Any) -> bool:
    """Whether two values are the same; what is missing is nothing."""
    if left is None or isinstance(left, Missing):
        return right is None or isinstance(right, Missing)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if type(left) in (list, dict):
        # As deep as they go: nothing that is done often.
        run.spend(2_000)
    return bool(left == right)


def less(left: Any, right: Any, *, or_equal: bool) -> bool:
    """Whether one number or text comes before the other. Raises Unrenderable for values of two kinds."""
    if None in (left, right) or isinstance(left, Missing) or isinstance(right, Missing):
        return False
    if kind_name(left) == kind_name(right) and isinstance(left, (str, int, float)):
        return bool(left <= right if or_equal else left < right)
    raise Unrenderable(f"{kind_name(left)} cannot be compared with {kind_name(right)}")


def contains(run: Run, left: Any, right: Any) -> bool:
    """Whether a text, a list or an object holds a text, an item or a key."""
    if not truthy(left) or not truthy(right):
        return False
    if isinstance(left, str):
        run.spend(1 + len(left) // 64)
        return text(run, right) in left
    if type(left) is list:
        run.look_at(left)
        return any(equal(run, one, right) for one in left)
    if type(left) is dict:
        return isinstance(right, str) and right in left
    raise Unrenderable(f"{kind_name(left)} contains nothing")


def kind_name(value: Any) -> str:
    """What a value is, for people."""
    if isinstance(value, str):
        return "a text"
    if value is None or isinstance(value, Missing):
        return "nothing"
    if isinstance(value, bool):
        return "a flag"
    if isinstance(value, (int, float)):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"


def _bounded(value: int | float) -> int | float:
    # What is no number at all is not within bounds, either.
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise Unrenderable("a number is too large")
    return value


def _shown(value: Any) -> str:
    return repr(str(value[:32])) if isinstance(value, str) else kind_name(value)


def _float_text(value: float) -> str:
    """As many digits as tell it apart, and no exponent."""
    return format(Decimal(format(value, ".15g")), "f")
