"""Set-based statements whose text, once built, is the same again: the connection keeps them prepared.

Few steps matter more than few bytes. Each `sqlite3_step` hands over the interpreter's lock, and getting it back from a
busy event loop costs more than the row.
"""

from collections.abc import Sequence
from functools import cache
from sqlite3 import Connection
from typing import Any

from msgspec import json

_MOST_PARAMETERS = 32_000
"""SQLite's limit is 32,766 since 3.32."""

_ROWS_OF_ANY_NUMBER = 32
"""Up to so many rows there is a statement for each number of them; above, for powers of two, filled up with nothing."""


def insert_rows(
    connection: Connection, insert: str, rows: Sequence[tuple[Any, ...]], conflict: str = ""
) -> None:
    """Runs `insert VALUES (…), (…) conflict` for all rows. Their first column is never null."""
    if not rows:
        return
    width = len(rows[0])
    most = 1 << ((_MOST_PARAMETERS // width).bit_length() - 1)
    for start in range(0, len(rows), most):
        chunk = rows[start : start + most]
        values = [value for row in chunk for value in row]
        if len(chunk) <= _ROWS_OF_ANY_NUMBER:
            text = _values_text(insert, width, len(chunk), conflict)
        else:
            size = 1 << (len(chunk) - 1).bit_length()
            values += [None] * (width * (size - len(chunk)))
            text = _filled_values_text(insert, width, size, conflict)
        connection.execute(text, values)


def select_in(
    connection: Connection, select: str, fixed: tuple[Any, ...], keys: Sequence[Any]
) -> list[list[Any]]:
    """Rows of `select`, whose only column is a `json_array(…)` and which ends in `IN`, for all keys.

    The rows come back as one, so that a thousand of them cost one step. Blobs must be selected through `hex()`.
    """
    rows: list[list[Any]] = []
    for start in range(0, len(keys), 1024):
        chunk = keys[start : start + 1024]
        size = 1 << (len(chunk) - 1).bit_length()
        padded = (*fixed, *chunk, *(chunk[-1],) * (size - len(chunk)))
        (gathered,) = connection.execute(_gathered_text(select, size), padded).fetchone()
        rows += json.decode(gathered)
    return rows


@cache
def _values_text(insert: str, width: int, count: int, conflict: str) -> str:
    return f"{insert} VALUES {_values(width, count)} {conflict}"


@cache
def _filled_values_text(insert: str, width: int, count: int, conflict: str) -> str:
    return f"{insert} SELECT * FROM (VALUES {_values(width, count)}) WHERE column1 IS NOT NULL {conflict}"


def _values(width: int, count: int) -> str:
    return ", ".join([f"({', '.join('?' * width)})"] * count)


@cache
def _gathered_text(select: str, size: int) -> str:
    return f"SELECT json_group_array(json(value)) FROM ({select} ({', '.join('?' * size)}))"
