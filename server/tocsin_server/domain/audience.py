"""Who is meant by a broadcast, and the filters that say so: a subset of https://google.aip.dev/160.

    filter      = factor { AND factor }
    factor      = term { OR term }            OR binds tighter than AND, as the AIP has it
    term        = [ NOT | - ] ( "(" filter ")" | restriction )
    restriction = field comparator value | attributes:NAME | field:*
    field       = recipient | locale | time_zone | attributes.NAME
    comparator  = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"      ":" with a value is "="
    value       = text in single or double quotes | word | number

A comparison with a text goes by code points. One with a number holds for values that are numbers, too. What is not
there compares to nothing: only `!=` holds for it.
"""

import operator
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeAlias

from tocsin_server.domain.errors import FilterInvalid
from tocsin_server.domain.recipient import Profile
from tocsin_server.domain.value import Value

MAX_FILTER_CHARS = 2_048
MAX_DEPTH = 32
"""Of parentheses and negations."""
MAX_NUMBER_CHARS = 15
"""What has more is a text: so many digits a floating-point number holds exactly."""


class FieldName(StrEnum):
    """What filters can ask for."""

    RECIPIENT = "recipient"
    LOCALE = "locale"
    TIME_ZONE = "time_zone"
    ATTRIBUTES = "attributes"


class Comparator(StrEnum):
    """How a field is compared."""

    EQUAL = "="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="


class Field(Value, frozen=True):
    """A field of a recipient."""

    name: FieldName
    attribute: str = ""
    """Of ATTRIBUTES: which one."""


class Comparison(Value, frozen=True):
    """The field compares so to the value."""

    field: Field
    comparator: Comparator
    value: str | float


class Presence(Value, frozen=True):
    """There is such a field."""

    field: Field


class Not(Value, frozen=True):
    """The opposite."""

    operand: "Filter"


class And(Value, frozen=True):
    """All of them."""

    operands: tuple["Filter", ...]


class Or(Value, frozen=True):
    """Any of them."""

    operands: tuple["Filter", ...]


Filter: TypeAlias = Comparison | Presence | Not | And | Or


class TopicAudience(Value, frozen=True, tag="topic"):
    """The members of a topic."""

    topic: str


class FilterAudience(Value, frozen=True, tag="filter"):
    """Whom a filter names."""

    filter: str


class EveryoneAudience(Value, frozen=True, tag="everyone"):
    """All recipients of the tenant."""


Audience: TypeAlias = TopicAudience | FilterAudience | EveryoneAudience


def parse_filter(text: str) -> Filter:
    """What a filter says. Raises FilterInvalid with the position, counted from 0, and what was expected there."""
    if len(text) > MAX_FILTER_CHARS:
        raise _invalid(MAX_FILTER_CHARS, f"its end: a filter has up to {MAX_FILTER_CHARS} characters")
    return _Parser(text).whole()


def matches(filter: Filter, recipient: str, profile: Profile) -> bool:
    """Whether a filter names a recipient."""
    match filter:
        case And(operands):
            return all(matches(each, recipient, profile) for each in operands)
        case Or(operands):
            return any(matches(each, recipient, profile) for each in operands)
        case Not(operand):
            return not matches(operand, recipient, profile)
        case Presence(field):
            return _value_of(field, recipient, profile) is not None
        case Comparison(field, comparator, value):
            return _compares(_value_of(field, recipient, profile), comparator, value)


def _value_of(field: Field, recipient: str, profile: Profile) -> str | None:
    match field.name:
        case FieldName.RECIPIENT:
            return recipient
        case FieldName.LOCALE:
            return profile.locale or None
        case FieldName.TIME_ZONE:
            return profile.time_zone or None
        case FieldName.ATTRIBUTES:
            return profile.attributes.get(field.attribute)


def _compares(found: str | None, comparator: Comparator, value: str | float) -> bool:
    known = _number(found) if isinstance(value, float) and found is not None else found
    if known is None:
        return comparator is Comparator.NOT_EQUAL
    return _COMPARE[comparator](known, value)


_COMPARE: dict[Comparator, Callable[[Any, Any], bool]] = {
    Comparator.EQUAL: operator.eq,
    Comparator.NOT_EQUAL: operator.ne,
    Comparator.LESS: operator.lt,
    Comparator.LESS_OR_EQUAL: operator.le,
    Comparator.GREATER: operator.gt,
    Comparator.GREATER_OR_EQUAL: operator.ge,
}

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def _number(text: str) -> float | None:
    """The number that a text is; None: it is none."""
    return float(text) if len(text) <= MAX_NUMBER_CHARS and _NUMBER.fullmatch(text) else None


_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_WORD = re.compile(r"""[^\s()<>=!:,"']+""")
_COMPARATOR = re.compile(r"<=|>=|!=|=|<|>|:")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|' + r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_FIELD_NAMES = frozenset(map(str, FieldName))
_KEYWORDS = frozenset(("AND", "OR", "NOT"))
_FIELDS = "recipient, locale, time_zone or attributes.NAME"


class _Parser:
    """By recursive descent, one method a line of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def whole(self) -> Filter:
        found = self._filter()
        self._skip_space()
        if self._at < len(self._text):
            raise self._expected("AND, OR or the end")
        return found

    def _filter(self) -> Filter:
        operands = [self._factor()]
        while self._keyword("AND"):
            operands.append(self._factor())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _factor(self) -> Filter:
        operands = [self._term()]
        while self._keyword("OR"):
            operands.append(self._term())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _term(self) -> Filter:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._expected(f"at most {MAX_DEPTH} parentheses and negations within each other")
        found: Filter
        if self._keyword("NOT") or self._sign("-"):
            found = Not(self._term())
        elif self._sign("("):
            found = self._filter()
            if not self._sign(")"):
                raise self._expected("AND, OR or a closing parenthesis")
        else:
            found = self._restriction()
        self._depth -= 1
        return found

    def _restriction(self) -> Filter:
        self._skip_space()
        start = self._at
        name = self._take(_NAME)
        if name not in _FIELD_NAMES or name is None:
            self._at = start
            raise self._expected(f"a field: {_FIELDS}")
        if name != FieldName.ATTRIBUTES:
            return self._compared(Field(FieldName(name)))
        if self._text.startswith(".", self._at):
            self._at += 1
            return self._compared(Field(FieldName.ATTRIBUTES, self._attribute()))
        if self._sign(":"):
            self._skip_space()
            return Presence(Field(FieldName.ATTRIBUTES, self._attribute()))
        raise self._expected("a point or colon and the name of an attribute")

    def _compared(self, field: Field) -> Filter:
        self._skip_space()
        comparator = self._take(_COMPARATOR)
        if comparator is None:
            raise self._expected("one of = != < <= > >= :")
        if comparator == ":" and self._sign("*"):
            return Presence(field)
        return Comparison(field, Comparator("=" if comparator == ":" else comparator), self._value())

    def _attribute(self) -> str:
        name = self._quoted()
        if name is None:
            name = self._take(_NAME)
        if not name:
            raise self._expected(
                "the name of an attribute, in quotes unless it is of letters, digits, _ and -"
            )
        return name

    def _value(self) -> str | float:
        self._skip_space()
        start = self._at
        quoted = self._quoted()
        if quoted is not None:
            return quoted
        word = self._take(_WORD)
        if word is None or word in _KEYWORDS:
            self._at = start
            raise self._expected("a text or a number")
        number = _number(word)
        if number is None and _NUMBER.fullmatch(word):
            self._at = start
            raise self._expected(f"a number of up to {MAX_NUMBER_CHARS} characters, or a text in quotes")
        return word if number is None else number

    def _quoted(self) -> str | None:
        if not self._text.startswith(('"', "'"), self._at):
            return None
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise self._expected("a closing quote")
        self._at = found.end()
        return _ESCAPED.sub(r"\1", found[1] if found[1] is not None else found[2])

    def _keyword(self, word: str) -> bool:
        self._skip_space()
        found = _WORD.match(self._text, self._at)
        if found is None or found[0] != word:
            return False
        self._at = found.end()
        return True

    def _sign(self, sign: str) -> bool:
        self._skip_space()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += len(sign)
        return True

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _skip_space(self) -> None:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _expected(self, what: str) -> FilterInvalid:
        return _invalid(self._at, what)


def _invalid(position: int, expected: str) -> FilterInvalid:
    message = f"The filter is not understood at position {position}: expected {expected}."
    return FilterInvalid(message, position=position, expected=expected)
