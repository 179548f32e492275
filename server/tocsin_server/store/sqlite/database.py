"""Connections to the embedded database: how it is opened, and what its errors mean."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peewee import DatabaseError as PeeweeDatabaseError
from peewee import SqliteDatabase

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.store.sqlite.connection import SqliteConnection

BUSY_TIMEOUT_SECONDS = 2.0
"""How long a statement waits for another process that holds the file's lock."""

CACHED_STATEMENTS = 512
"""Prepared statements kept a connection: every power-of-two size of every hot statement fits."""

WAL_AUTOCHECKPOINT_PAGES = 16_000
"""64 MB. Pages that are written again and again meanwhile are copied once, and a checkpoint syncs the database file:
four times as many of them cost each notification a tenth of its time. After a crash so much is read again."""

_UNAVAILABLE_CODES = frozenset({
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
})  # fmt: skip


def open_database(path: Path, *, cache_bytes: int, read_only: bool = False) -> SqliteDatabase:
    """A database of one connection a thread, not connected yet.

    `synchronous=FULL` with a write-ahead log means that a commit is on disk when it returns.
    """
    pragmas: dict[str, object] = {
        "journal_mode": "wal",
        "synchronous": "full",
        "cache_size": -cache_bytes // 1024,
        "wal_autocheckpoint": WAL_AUTOCHECKPOINT_PAGES,
        "temp_store": "memory",
    }
    if read_only:
        pragmas["query_only"] = 1
    return SqliteDatabase(
        str(path),
        pragmas=pragmas,
        timeout=BUSY_TIMEOUT_SECONDS,
        cached_statements=CACHED_STATEMENTS,
        factory=SqliteConnection,
        check_same_thread=False,
    )


def connection_of(database: SqliteDatabase) -> SqliteConnection:
    """The calling thread's connection, opened when it is not."""
    if database.is_closed():
        database.connect()
    connection: SqliteConnection = database.connection()  # type: ignore[no-untyped-call]
    return connection


def is_unavailable(error: BaseException) -> bool:
    """Whether an error means that storage does not work at the moment, rather than that a statement is wrong."""
    cause = error.__cause__ or error.__context__ if isinstance(error, PeeweeDatabaseError) else error
    code = getattr(cause, "sqlite_errorcode", None)
    # The low byte is the primary code; the rest tells apart kinds of it (https://www.sqlite.org/rescode.html).
    return code is not None and code & 0xFF in _UNAVAILABLE_CODES


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns errors that mean trouble with storage into StorageUnavailable; others pass."""
    try:
        yield
    except (sqlite3.Error, PeeweeDatabaseError) as error:
        if is_unavailable(error):
            raise StorageUnavailable(detail=str(error)) from error
        raise
