"""Audiences as SQL: the recipients that are meant, by conditions whose values are parameters.

What a caller wrote never becomes part of a text, but for the shape of a filter: its operators and fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tocsin_server.domain.audience import (
    And,
    Comparison,
    Field,
    FieldName,
    Filter,
    Not,
    Or,
    Presence,
    matches,
    parse_filter,
)
from tocsin_server.domain.recipient import Recipient
from tocsin_server.domain.time import Micros
from tocsin_server.store.sql import Connection, Insert
from tocsin_server.store.transaction import Transaction

_FILTERING = """
    SELECT pk, filter, position, create_time FROM broadcasts
    WHERE tenant = ? AND finish_time IS NULL AND filter IS NOT NULL"""

_INSERT_EXCEPTIONS = Insert(
    "broadcast_exceptions", ("broadcast_pk", "recipient", "included", "tenant"), "ON CONFLICT DO NOTHING"
)

_EVERYONE = """FROM recipients AS r
    WHERE r.tenant = :tenant AND r.recipient > :after AND r.recipient <= :upto AND r.create_time <= :created"""

# By the members, however few of the tenant's recipients these are. A CROSS JOIN keeps SQLite to this order.
_MEMBERS = """FROM topic_members AS m CROSS JOIN recipients AS r
    WHERE m.topic_id = :topic_id AND m.recipient > :after AND m.recipient <= :upto AND m.create_time <= :created
    AND (m.remove_time IS NULL OR m.remove_time > :created) AND r.tenant = :tenant AND r.recipient = m.recipient"""

# Of whom the profile has changed since, it was noted who they were.
_FILTERED = """ AND CASE WHEN r.update_time <= :created THEN {condition} ELSE coalesce(
    (SELECT e.included = 1 FROM broadcast_exceptions AS e WHERE e.broadcast_pk = :pk AND e.recipient = r.recipient),
    {condition}) END"""

LAST_KEY = "\U0010ffff" * 128
"""No recipient's key sorts above this."""


@dataclass(slots=True)
class Condition:
    """A condition on a row `r` of recipients, which is never NULL, and the values of its parameters."""

    sql: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def audience_of(
    connection: Connection, pk: int, tenant: str, topic_id: int | None, filter: str | None, created: Micros
) -> Condition:
    """The recipients of a broadcast as rows `r`: from FROM on, those after `:after` and up to `:upto`.

    They are those who were meant at `created`; of these not those who have been erased since.
    """
    values: dict[str, Any] = {"pk": pk, "tenant": tenant, "created": created}
    if topic_id is not None:
        return Condition(_MEMBERS, values | {"topic_id": topic_id})
    if filter is None:
        return Condition(_EVERYONE, values)
    condition = condition_of(connection, parse_filter(filter))
    return Condition(_EVERYONE + _FILTERED.format(condition=condition.sql), values | condition.values)


def keep_audiences(transaction: Transaction, tenant: str, before: Sequence[Recipient]) -> None:
    """Recipients as they were are about to change: notes for broadcasts that are under way whether they are meant."""
    rows = transaction.connection.execute(_FILTERING, (tenant,)).fetchall() if before else ()
    for pk, text, position, create_time in rows:
        filter = parse_filter(text)
        exceptions = [
            (pk, recipient.key, int(matches(filter, recipient.key, recipient.profile)), tenant)
            for recipient in before
            if recipient.key > position and max(recipient.create_time, recipient.update_time) <= create_time
        ]
        transaction.connection.insert(_INSERT_EXCEPTIONS, exceptions)


def condition_of(connection: Connection, filter: Filter) -> Condition:
    """The condition that a recipient is one that the filter names."""
    condition = Condition()
    condition.sql = f"({_sql(connection, filter, condition.values)})"
    return condition


def _sql(
    connection: Connection,
    filter: Filter,
    values: dict[str, Any],
    *,
    negated: bool = False,
    in_and: bool = False,
) -> str:
    """The filter, or its opposite, nested as little as can be: SQLite's parser remembers a hundred things."""
    match filter:
        case Not(operand):
            return _sql(connection, operand, values, negated=not negated, in_and=in_and)
        case And(operands) | Or(operands):
            # No part is ever NULL, so that the opposite of an AND is the OR of the opposites. The deepest goes first:
            # while it is read, nothing but a parenthesis is remembered of what it stands in.
            as_and = isinstance(filter, And) is not negated
            parts = [
                _sql(connection, each, values, negated=negated, in_and=as_and)
                for each in sorted(operands, key=_depth, reverse=True)
            ]
            joined = (" AND " if as_and else " OR ").join(parts)
            return f"({joined})" if in_and and not as_and else joined
        case Presence(asked):
            return f"{_column(connection, asked, values)} IS {'' if negated else 'NOT '}NULL"
        case Comparison(asked, comparator, value):
            found = _column(connection, asked, values)
            if isinstance(value, float):
                found = connection.number_in(found)
            # `IS TRUE`: what is not there compares to nothing.
            unequal = comparator == "!="
            compared = f"({found} {'=' if unequal else comparator} {_place(values, value)})"
            return f"{compared} IS {'NOT ' if unequal is not negated else ''}TRUE"


def _depth(filter: Filter) -> int:
    match filter:
        case Not(operand):
            return _depth(operand)
        case And(operands) | Or(operands):
            return 1 + max(map(_depth, operands))
        case _:
            return 0


def _column(connection: Connection, asked: Field, values: dict[str, Any]) -> str:
    if asked.name is FieldName.ATTRIBUTES:
        return connection.text_in("r.attributes", _place(values, asked.attribute))
    return f"r.{asked.name.value}"


def _place(values: dict[str, Any], value: str | float) -> str:
    name = f"filter_{len(values)}"
    values[name] = value
    return f":{name}"
