"""The tools that make storage refuse to write, tried on SQLite itself."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.shims import compile_shim
from tests.support.storage import FullDisk, files_limited, locked

# Commits a row for every line it is given, and says what became of it.
WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE rows (filling TEXT)")
print("ready", flush=True)
for line in sys.stdin:
    try:
        connection.execute("INSERT INTO rows VALUES (?)", ("x" * 10_000,))
        print("ok", flush=True)
    except sqlite3.Error as error:
        print(error, flush=True)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and preloading are Linux's")


class Writer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def commit(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def writer(database: Path, environment: Mapping[str, str]) -> Iterator[Writer]:
    process = subprocess.Popen(
        (sys.executable, "-c", WRITER, str(database)),
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Writer(process)


def row_count(database: Path) -> int:
    connection = sqlite3.connect(database)
    try:
        return int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])
    finally:
        connection.close()


def test_a_full_disk_fails_and_heals(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    disk = FullDisk(
        compile_shim("diskfull", tmp_path_factory.mktemp("shim")), tmp_path / "data", tmp_path / "full"
    )
    disk.folder.mkdir()
    database = disk.folder / "rows.db"

    with writer(database, disk.environment()) as rows:
        assert rows.commit() == "ok"
        with disk.full():
            assert rows.commit() == "database or disk is full"
            assert rows.commit() == "database or disk is full"
        assert rows.commit() == "ok"
        assert row_count(database) == 2


def test_a_limit_on_files_fails_and_heals(tmp_path: Path) -> None:
    database = tmp_path / "rows.db"

    with writer(database, {}) as rows:
        assert rows.commit() == "ok"
        with files_limited(rows.pid, 4096):
            assert rows.commit() == "disk I/O error"
        assert rows.commit() == "ok"
        assert row_count(database) == 2


async def test_a_locked_database_fails_and_heals(tmp_path: Path) -> None:
    database = tmp_path / "rows.db"

    with writer(database, {}) as rows:
        assert rows.commit() == "ok"
        async with locked(database):
            assert rows.commit() == "database is locked"
        assert rows.commit() == "ok"
        assert row_count(database) == 2
