"""Connections to Postgres: how they are opened, and how statements reach them.

Rows go in as one JSON parameter, whose text is the same for any number of them, and keys as one array. So the texts are
few, and each connection keeps them prepared.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, TypeVar

import psycopg
from msgspec import json
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from tocsin_server.store.sql import Blob, Cursor, Insert, Parameters, Select, Update

CONNECT_TIMEOUT_SECONDS = 5

STATEMENT_TIMEOUT_SECONDS = 15
"""A statement that takes longer is given up, and so is waiting for a commit: what was asked for is refused."""

LOCK_TIMEOUT_SECONDS = 5

IDLE_TIMEOUT_SECONDS = 15
"""A transaction whose process has stopped gives up its locks after this."""

LOST_AFTER_SECONDS = 10
"""A connection that nothing comes back on is lost after this."""

ANSWER_TIMEOUT_SECONDS = STATEMENT_TIMEOUT_SECONDS + 5
"""The server has given up a statement by then, so that a connection without its answer is lost: what is between may
keep it open, and answer for itself whatever TCP asks."""

_SETTINGS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_SECONDS}s",
    "synchronous_commit": "on",
    "default_transaction_isolation": r"read\ committed",
    "jit": "off",
}

Result = TypeVar("Result")

_STATEMENTS_KEPT = 512

_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_STALE_TABLES = """
    SELECT relid::regclass::text FROM pg_stat_user_tables
    WHERE relid = ANY(%s::text[]::regclass[]::oid[]) AND n_mod_since_analyze > 1000 + n_live_tup / 10"""
"""As autovacuum does by default: a tenth of the rows are other ones than when they were last looked at."""

_MARKERS = {
    "{in_keys}": "= ANY(?)",
    "{in_pairs}": "IN (SELECT * FROM unnest(?::text[], ?::text[]))",
    "{for_update}": "FOR UPDATE",
    "{for_share}": "FOR KEY SHARE",
    "{skip_locked}": "FOR UPDATE SKIP LOCKED",
}

_PLACES = re.compile(r"\?|(?<!:):([a-z_][a-z0-9_]*)|INDEXED BY \w+|%")
"""Of values, the hint that SQLite takes, and what would be taken for a place."""


def options_of(url: str, *, patient: bool = False) -> dict[str, Any]:
    """What a connection is opened with; what the URL says wins, but for what the store relies on.

    A patient one waits for locks and statements as long as they take.
    """
    given = conninfo_to_dict(url)
    chosen = {name: value for name, value in _SETTINGS.items() if not (patient and name.endswith("timeout"))}
    settings = " ".join(f"-c {name}={value}" for name, value in chosen.items())
    return {
        "application_name": "tocsin",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "tcp_user_timeout": LOST_AFTER_SECONDS * 1000,
        "keepalives_idle": LOST_AFTER_SECONDS,
        # A standby is as good as no database: it cannot be written to, and what it shows may be old.
        "target_session_attrs": "read-write",
        **given,
        "client_encoding": "UTF8",
        "options": f"{given.get('options', '')} {settings}".strip(),
    }


class _Bounded(psycopg.Connection[Any]):
    """Waits no longer for an answer than one can take to come."""

    def wait(self, gen: PQGen[Result], *arguments: Any, **options: Any) -> Result:
        """See psycopg.Connection."""
        return super().wait(self._until_late(gen), *arguments, **options)

    def _until_late(self, gen: PQGen[Result]) -> PQGen[Result]:
        """Goes on with what is waited for, which is looked at now and then, until it has taken too long."""
        late = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > late:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"nothing was answered for {ANSWER_TIMEOUT_SECONDS} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            result: Result = done.value
            return result


def connect(options: Mapping[str, Any]) -> psycopg.Connection[Any]:
    """A connection that begins no transaction by itself. Raises psycopg.OperationalError."""
    raw = _Bounded.connect(**options, autocommit=True)
    raw.prepared_max = _STATEMENTS_KEPT
    return raw


class PostgresConnection:
    """Implements `sql.Connection`."""

    row_locks = True

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw

    @property
    def lost(self) -> bool:
        """See `sql.Connection`."""
        return self._raw.broken

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor:
        """See `sql.Connection`."""
        return self._run(_translated(sql), parameters)

    def execute_all(self, sql: str) -> list[Any]:
        """Runs statements without values at once; the last one's row, or what it is called when done."""
        cursor = self._raw.execute(sql, prepare=False)
        while cursor.nextset():
            pass
        return list(cursor.fetchone() or ()) if cursor.description else [cursor.statusmessage]

    def select(self, select: Select, parameters: Parameters = (), /) -> list[Any]:
        """See `sql.Connection`."""
        return self.execute(_select_text(select), parameters).fetchall()

    def select_in(
        self, select: Select, fixed: Sequence[Any], keys: Sequence[Any], after: Sequence[Any] = (), /
    ) -> list[Any]:
        """See `sql.Connection`."""
        if not keys:
            return []
        return self.execute(_select_text(select), (*fixed, list(keys), *after)).fetchall()

    def select_pairs(self, select: Select, pairs: Sequence[tuple[Any, Any]], /) -> list[Any]:
        """See `sql.Connection`."""
        if not pairs:
            return []
        firsts, seconds = zip(*pairs, strict=True)
        return self.execute(_select_text(select), (list(firsts), list(seconds))).fetchall()

    def rows_in(self, sql: str, fixed: Sequence[Any], keys: Sequence[Any], /) -> list[Any]:
        """See `sql.Connection`."""
        if not keys:
            return []
        return _rows_of(self._run(_translated(sql), (*fixed, list(keys))))

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], /) -> list[Any]:
        """See `sql.Connection`."""
        if not rows:
            return []
        return _rows_of(self._run(insert_text(insert), (records(insert.columns, rows),)))

    def update(self, update: Update, rows: Sequence[Sequence[Any]], /) -> None:
        """See `sql.Connection`."""
        if rows:
            self._run(_update_text(update), (records((update.key, *update.columns), rows),))

    def text_in(self, column: str, key: str, /) -> str:
        """See `sql.Connection`."""
        return f"""(({column}::jsonb ->> CAST({key} AS text)) COLLATE "C")"""

    def number_in(self, text: str, /) -> str:
        """See `sql.Connection`."""
        return f"""(SELECT CASE WHEN v ~ '^(-|)(0|[1-9][0-9]*)([.][0-9]+|)$'
            AND length(v) <= 15 THEN v::float8 END FROM (SELECT {text} AS v) AS text)"""

    def analyze(self, tables: Sequence[str], /) -> None:
        """See `sql.Connection`. Autovacuum comes by once a minute; what another process analyzes is left to it."""
        stale = self._run(_STALE_TABLES, (list(tables),)).fetchall()
        for (table,) in stale:
            self._raw.execute(f"ANALYZE (SKIP_LOCKED) {table}", prepare=False)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `sql.Connection`."""
        self.execute(_SNAPSHOT)
        yield
        self.execute("COMMIT")

    def close(self) -> None:
        """See `sql.Connection`."""
        self._raw.close()

    def _run(self, text: str, parameters: Parameters) -> psycopg.Cursor[Any]:
        """Every statement with values, and what keeps it prepared."""
        return self._raw.execute(text, parameters, binary=True)


def _rows_of(cursor: psycopg.Cursor[Any]) -> list[Any]:
    return cursor.fetchall() if cursor.description else []


@lru_cache(1_024)
def _translated(sql: str) -> str:
    """A text in Postgres's words, with psycopg's places for values."""
    for marker, words in _MARKERS.items():
        sql = sql.replace(marker, words)
    return _PLACES.sub(_place, sql)


def _place(found: re.Match[str]) -> str:
    match found[0]:
        case "?":
            return "%s"
        case "%":
            return "%%"
        case hint if hint.startswith("INDEXED"):
            return ""
        case _:
            return f"%({found[1]})s"


@lru_cache(1_024)
def _select_text(select: Select) -> str:
    columns = ", ".join(
        column.within.format(column.column) if isinstance(column, Blob) else column
        for column in select.columns
    )
    return f"SELECT {columns} {select.source} {select.locking}"


@cache
def insert_text(insert: Insert) -> str:
    """A record is read by the types of the table's own columns."""
    table, columns = insert.table, ", ".join(insert.columns)
    return (
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{table}, %s)"
        f" {insert.ending}"
    )


@cache
def _update_text(update: Update) -> str:
    table, key = update.table, update.key
    changes = ", ".join(f"{column} = changed.{column}" for column in update.columns)
    return (
        f"UPDATE {table} SET {changes} FROM json_populate_recordset(NULL::{table}, %s) AS changed"
        f" WHERE {table}.{key} = changed.{key}"
    )


def records(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as JSON, bytes in the form that a column of them reads."""
    return json.encode([
        {
            column: "\\x" + value.hex() if type(value) is bytes else value
            for column, value in zip(columns, row, strict=True)
        }
        for row in rows
    ]).decode()  # fmt: skip
