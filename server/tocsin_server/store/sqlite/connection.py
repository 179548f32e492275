"""Connections whose set-based statements have texts that, once built, are the same again: they are kept prepared.

Few steps matter more than few bytes. Each `sqlite3_step` hands over the interpreter's lock, and getting it back from a
busy event loop costs more than the row. So rows go in many a statement, and come back gathered into one JSON text.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from msgspec import json

from tocsin_server.store.sql import Blob, Insert, Parameters, Select, Update

_MOST_PARAMETERS = 32_000
"""SQLite's limit is 32,766 since 3.32."""

_ROWS_OF_ANY_NUMBER = 32
"""Up to so many rows there is a statement for each number of them; above, for powers of two, filled up with nothing."""

_KEYS_PER_STATEMENT = 1_024

_SELECTS_KEPT = 1_024
"""Texts of queries, of which those that filter are made as they are asked for."""


class SqliteConnection(sqlite3.Connection):
    """Implements `sql.Connection`."""

    row_locks = False
    lost = False

    def select(self, select: Select, parameters: Parameters = (), /) -> list[Any]:
        """See `sql.Connection`."""
        (gathered,) = self.execute(_gathered_text(select), parameters).fetchone()
        return _decoded(select, gathered)

    def select_in(
        self, select: Select, fixed: Sequence[Any], keys: Sequence[Any], after: Sequence[Any] = (), /
    ) -> list[Any]:
        """See `sql.Connection`."""
        rows: list[Any] = []
        for chunk in _chunks(keys):
            text = _with_keys(_gathered_text(select), len(chunk))
            (gathered,) = self.execute(text, (*fixed, *chunk, *after)).fetchone()
            rows += _decoded(select, gathered)
        return rows

    def select_pairs(self, select: Select, pairs: Sequence[tuple[Any, Any]], /) -> list[Any]:
        """See `sql.Connection`."""
        rows: list[Any] = []
        for chunk in _chunks(pairs):
            text = _with_keys(_gathered_text(select), len(chunk))
            (gathered,) = self.execute(text, [key for pair in chunk for key in pair]).fetchone()
            rows += _decoded(select, gathered)
        return rows

    def rows_in(self, sql: str, fixed: Sequence[Any], keys: Sequence[Any], /) -> list[Any]:
        """See `sql.Connection`."""
        rows: list[Any] = []
        for chunk in _chunks(keys):
            rows += self.execute(_with_keys(sql, len(chunk)), (*fixed, *chunk)).fetchall()
        return rows

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], /) -> list[Any]:
        """See `sql.Connection`."""
        returned: list[Any] = []
        if not rows:
            return returned
        width = len(insert.columns)
        most = 1 << ((_MOST_PARAMETERS // width).bit_length() - 1)
        for start in range(0, len(rows), most):
            chunk = rows[start : start + most]
            values = [value for row in chunk for value in row]
            if len(chunk) <= _ROWS_OF_ANY_NUMBER:
                text = _values_text(insert, len(chunk))
            else:
                size = 1 << (len(chunk) - 1).bit_length()
                values += [None] * (width * (size - len(chunk)))
                text = _filled_values_text(insert, size)
            returned += self.execute(text, values).fetchall()
        return returned

    def update(self, update: Update, rows: Sequence[Sequence[Any]], /) -> None:
        """See `sql.Connection`."""
        if not rows:
            return
        create, insert, apply, empty = _update_texts(update)
        self.execute(create)
        self.insert(insert, rows)
        self.execute(apply)
        self.execute(empty)

    def text_in(self, column: str, key: str, /) -> str:
        """See `sql.Connection`. A path, as `->>` takes it, cannot name every key."""
        return f"(SELECT member.value FROM json_each({column}) AS member WHERE member.key = {key})"

    def number_in(self, text: str, /) -> str:
        """See `sql.Connection`."""
        return f"""(SELECT CASE WHEN v NOT GLOB '*[^-0-9.]*' AND length(v) <= 15 AND json_valid(v)
            THEN CAST(v AS REAL) END FROM (SELECT {text} AS v))"""

    def analyze(self, tables: Sequence[str], /) -> None:
        """See `sql.Connection`. What is asked here names its indexes or has no choice of them."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `sql.Connection`."""
        self.execute("BEGIN")
        yield
        self.execute("COMMIT")


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Keys in groups whose sizes are powers of two, filled up with the last key again."""
    for start in range(0, len(keys), _KEYS_PER_STATEMENT):
        chunk = keys[start : start + _KEYS_PER_STATEMENT]
        size = 1 << (len(chunk) - 1).bit_length()
        yield chunk if size == len(chunk) else (*chunk, *(chunk[-1],) * (size - len(chunk)))


@lru_cache(_SELECTS_KEPT)
def _gathered_text(select: Select) -> str:
    columns = ", ".join(_hex(column) if isinstance(column, Blob) else column for column in select.columns)
    return f"SELECT json_group_array(json_array({columns})) {select.source}"


def _hex(blob: Blob) -> str:
    # `hex` of NULL would be an empty text.
    column = (
        f"iif({blob.column} IS NULL, NULL, hex({blob.column}))" if blob.nullable else f"hex({blob.column})"
    )
    return blob.within.format(column)


def _decoded(select: Select, gathered: str) -> list[Any]:
    rows: list[Any] = json.decode(gathered)
    unhex = bytes.fromhex
    for place in _blob_places(select):
        for row in rows:
            value = row[place]
            if value is not None:
                row[place] = unhex(value)
    return rows


@lru_cache(_SELECTS_KEPT)
def _blob_places(select: Select) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(select.columns) if isinstance(column, Blob))


@lru_cache(_SELECTS_KEPT)
def _with_keys(sql: str, count: int) -> str:
    markers: Mapping[str, str] = {
        "{in_keys}": f"IN ({', '.join('?' * count)})",
        # With the bare VALUES it would look through the whole table.
        "{in_pairs}": f"IN (SELECT * FROM (VALUES {', '.join(['(?, ?)'] * count)}))",
        "{for_update}": "",
        "{for_share}": "",
        "{skip_locked}": "",
    }
    for marker, words in markers.items():
        sql = sql.replace(marker, words)
    return sql


@cache
def _values_text(insert: Insert, count: int) -> str:
    return f"{_insert_text(insert)} VALUES {_values(insert, count)} {insert.ending}"


@cache
def _filled_values_text(insert: Insert, count: int) -> str:
    values = _values(insert, count)
    return f"{_insert_text(insert)} SELECT * FROM (VALUES {values}) WHERE column1 IS NOT NULL {insert.ending}"


def _insert_text(insert: Insert) -> str:
    return f"INSERT INTO {insert.table} ({', '.join(insert.columns)})"


def _values(insert: Insert, count: int) -> str:
    return ", ".join([f"({', '.join('?' * len(insert.columns))})"] * count)


@cache
def _update_texts(update: Update) -> tuple[str, Insert, str, str]:
    """What makes a temporary table of changes, fills it, applies it, and empties it.

    The table costs one more step and no disk. With `UPDATE … FROM` SQLite would look through the whole table for rows
    that have changed; this way it looks up those that have.
    """
    table, key, columns = update.table, update.key, ", ".join(update.columns)
    # It outlives the transaction, and others may change other columns of the same table.
    changed = "_".join(("changed", table, *update.columns))
    return (
        f"CREATE TEMP TABLE IF NOT EXISTS {changed} ({key} INTEGER PRIMARY KEY, {columns})",
        Insert(f"temp.{changed}", (key, *update.columns)),
        f"""
            UPDATE {table} SET ({columns}) = (
                SELECT {columns} FROM temp.{changed} WHERE {changed}.{key} = {table}.{key})
            WHERE {key} IN (SELECT {key} FROM temp.{changed})""",
        f"DELETE FROM temp.{changed}",
    )
