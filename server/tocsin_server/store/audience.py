"""Audiences as SQL: the recipients that are meant, by conditions whose values are parameters.

What a caller wrote never becomes part of a text, but for the shape of a filter: its operators and fields.
"""

from dataclasses import dataclass, field
from typing import Any

from tocsin_server.domain.audience import And, Comparison, Field, FieldName, Filter, Not, Or, Presence
from tocsin_server.store.sql import Connection


@dataclass(slots=True)
class Condition:
    """A condition on a row `r` of recipients, which is never NULL, and the values of its parameters."""

    sql: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def condition_of(connection: Connection, filter: Filter) -> Condition:
    """The condition that a recipient is one that the filter names."""
    condition = Condition()
    condition.sql = _sql(connection, filter, condition.values)
    return condition


def _sql(connection: Connection, filter: Filter, values: dict[str, Any]) -> str:
    match filter:
        case And(operands):
            return f"({' AND '.join(_sql(connection, each, values) for each in operands)})"
        case Or(operands):
            return f"({' OR '.join(_sql(connection, each, values) for each in operands)})"
        case Not(operand):
            return f"(NOT {_sql(connection, operand, values)})"
        case Presence(asked):
            return f"({_column(connection, asked, values)} IS NOT NULL)"
        case Comparison(asked, comparator, value):
            found = _column(connection, asked, values)
            if isinstance(value, float):
                found = connection.number_in(found)
            # `IS TRUE`: what is not there compares to nothing.
            negated = comparator == "!="
            compared = f"(({found} {'=' if negated else comparator} {_place(values, value)}) IS TRUE)"
            return f"(NOT {compared})" if negated else compared


def _column(connection: Connection, asked: Field, values: dict[str, Any]) -> str:
    if asked.name is FieldName.ATTRIBUTES:
        return connection.text_in("r.attributes", _place(values, asked.attribute))
    return f"r.{asked.name.value}"


def _place(values: dict[str, Any], value: str | float) -> str:
    name = f"filter_{len(values)}"
    values[name] = value
    return f":{name}"
