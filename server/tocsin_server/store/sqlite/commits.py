"""How often an embedded database has committed, in it and beside it.

A restored backup or a file copied back would let revisions be given out twice. A side file, `<database>.commits`, keeps
the commit count outside the database: found ahead of the database's own, it proves a rewind, and the epoch is bumped.
It is written behind and never synced, so that it can only lag.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from tocsin_server.store.facts import read_fact, write_fact
from tocsin_server.store.sql import Connection

_COUNT_BYTES = 8


def write_commit_count(connection: Connection, count: int) -> None:
    """Part of every transaction."""
    write_fact(connection, "commit_count", count.to_bytes(_COUNT_BYTES))


def read_commit_count(connection: Connection) -> int:
    """How many transactions the database has seen."""
    return int.from_bytes(read_fact(connection, "commit_count") or b"")


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
