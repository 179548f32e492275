"""Storage that refuses to write: a full disk, a disk with errors, a database that somebody else has locked."""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.shims import preloading

LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@dataclass(frozen=True)
class FullDisk:
    """A disk that can be filled, for a process that runs with tests/faults/diskfull.c preloaded."""

    shim: Path
    folder: Path
    """No file in here can grow while the disk is full."""
    flag: Path
    """Not within the folder."""

    def environment(self) -> Mapping[str, str]:
        """What to start the process with."""
        return {
            **preloading(self.shim),
            "DISKFULL_FOLDER": str(self.folder),
            "DISKFULL_WHILE": str(self.flag),
        }

    @contextmanager
    def full(self) -> Iterator[None]:
        """Nothing can be written (ENOSPC, to SQLite "database or disk is full")."""
        self.flag.touch()
        try:
            yield
        finally:
            self.flag.unlink()


@contextmanager
def files_limited(pid: int, size_bytes: int) -> Iterator[None]:
    """No file of the process can be written beyond this size (EFBIG, to SQLite "disk I/O error").

    Needs no privileges for a process of the same user. Python ignores the SIGXFSZ that comes with it.
    """
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """Another process holds the database's write lock."""
    locker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOCKER, str(database)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert locker.stdin is not None
    assert locker.stdout is not None
    try:
        if await locker.stdout.readline() != b"locked\n":
            raise RuntimeError(f"{database} could not be locked")
        yield
    finally:
        locker.stdin.close()
        await locker.wait()
