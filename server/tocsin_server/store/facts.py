"""What the store knows of itself: the key of its cursors, its epoch, and how often it has committed.

A restored backup or a file copied back would let revisions be given out twice. A side file, `<database>.commits`, keeps
the commit count outside the database: found ahead of the database's own, it proves a rewind, and the epoch is bumped.
It is written behind and never synced, so that it can only lag.
"""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from sqlite3 import Connection

EPOCH_BYTES = 8
_CURSOR_KEY_BYTES = 32
_COUNT_BYTES = 8

_READ = "SELECT value FROM store_facts WHERE name = ?"
_WRITE = "INSERT INTO store_facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

# A position is kept with the incarnation as it is stored, which no epoch changes. One that matches no inbox has its
# consumer told of the reset, where a position that is gone would let it start as if it had never been there.
_VOID_POSITIONS = "UPDATE consumer_positions SET incarnation = randomblob(8)"


def read_fact(connection: Connection, name: str) -> bytes | None:
    """A fact's value; None: never written."""
    row = connection.execute(_READ, (name,)).fetchone()
    return row and bytes(row[0])


def write_epoch(connection: Connection) -> bytes:
    """Draws and writes a new epoch. Cursors are void by it; acknowledged positions are made so."""
    epoch = secrets.token_bytes(EPOCH_BYTES)
    connection.execute(_WRITE, ("epoch", epoch))
    connection.execute(_VOID_POSITIONS)
    return epoch


def write_commit_count(connection: Connection, count: int) -> None:
    """Part of every transaction."""
    connection.execute(_WRITE, ("commit_count", count.to_bytes(_COUNT_BYTES)))


def read_commit_count(connection: Connection) -> int:
    """How many transactions the database has seen."""
    return int.from_bytes(read_fact(connection, "commit_count") or b"")


def ensure_facts(connection: Connection, side_file: "CommitCountFile") -> bool:
    """Writes the facts of a new store; bumps the epoch of one that was rewound.

    Returns whether it was: then, once this is committed, `write` is to have the side file say so no more.
    """
    if read_fact(connection, "cursor_key") is None:
        connection.execute(_WRITE, ("cursor_key", secrets.token_bytes(_CURSOR_KEY_BYTES)))
        write_epoch(connection)
    rewound = side_file.read() > read_commit_count(connection)
    if rewound:
        write_epoch(connection)
    return rewound


class CommitCountFile:
    """The side file."""

    SECONDS_BEHIND = 1.0
    """After a crash, a rewind by less than this may go unnoticed."""

    def __init__(self, database_path: Path) -> None:
        self._path = database_path.with_name(database_path.name + ".commits")
        self._written_at = 0.0

    def read(self) -> int:
        """The count, 0 where there is none."""
        try:
            return int.from_bytes(self._path.read_bytes()[:_COUNT_BYTES])
        except FileNotFoundError:
            return 0

    def write_behind(self, count: int) -> None:
        """Writes a count that is committed, now and then; a full disk only makes it lag."""
        if time.monotonic() - self._written_at >= self.SECONDS_BEHIND:
            self.write(count)
            self._written_at = time.monotonic()

    def write(self, count: int) -> None:
        """Writes a count that is committed. Not atomic, and need not be: eight bytes in one write."""
        with suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(file, count.to_bytes(_COUNT_BYTES), 0)
            finally:
                os.close(file)
