"""A writer's connection: rows of several tables go to the server together, as each message there and back costs as much
as writing them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import psycopg

from tocsin_server.store.postgres.connection import PostgresConnection, insert_text, records
from tocsin_server.store.sql import Insert, Parameters

_COMBINATIONS_KEPT = 256
"""Of tables that are written together, each of which has a text."""


class WritingConnection(PostgresConnection):
    """Implements `sql.Connection`. Rows that nothing is given back for are held until the next statement or the commit.

    Nothing that is read or changed misses what was inserted, and a statement inserts into each table once at most. It
    does so in no order of the tables: what two transactions may both insert they lock before, or insert alone.
    """

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        super().__init__(raw)
        self._held: dict[str, tuple[Insert, str]] = {}

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], /) -> list[Any]:
        """See `sql.Connection`."""
        if not rows or insert.answers:
            return super().insert(insert, rows)
        if insert.table in self._held:
            self.write_held()
        self._held[insert.table] = (insert, records(insert.columns, rows))
        return []

    def execute_all(self, sql: str) -> list[Any]:
        """See `PostgresConnection`."""
        self.write_held()
        return super().execute_all(sql)

    def write_held(self) -> None:
        """Sends what is held."""
        if self._held:
            held, self._held = list(self._held.values()), {}
            text = _together(tuple(insert for insert, _ in held))
            super()._run(text, [rows for _, rows in held])

    def forget_held(self) -> None:
        """What is held is not to be written."""
        self._held.clear()

    def _run(self, text: str, parameters: Parameters) -> psycopg.Cursor[Any]:
        self.write_held()
        return super()._run(text, parameters)


@lru_cache(_COMBINATIONS_KEPT)
def _together(inserts: tuple[Insert, ...]) -> str:
    """One statement that does all of it: https://www.postgresql.org/docs/current/queries-with.html, 7.8.4.

    No part sees the rows of another; none needs to, as each has a table of its own.
    """
    *first, last = map(insert_text, inserts)
    parts = ", ".join(f"part_{number} AS ({text})" for number, text in enumerate(first))
    return f"WITH {parts} {last}" if first else last
