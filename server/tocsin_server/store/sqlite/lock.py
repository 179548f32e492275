"""The lock file that keeps a second process out of an embedded database."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StoreLocked(Exception):
    """Another process has the database open."""

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(
            f"{path} is in use by process {holder or 'unknown'}; talk to the running server instead."
        )


@contextmanager
def exclusive(database_path: Path) -> Iterator[None]:
    """Holds `<database>.lock` as long as the block runs. Raises StoreLocked.

    The kernel drops the lock with the process, so that a crash leaves nothing to clean up.
    """
    path = database_path.with_name(database_path.name + ".lock")
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreLocked(
                database_path, os.pread(file, 20, 0).decode("ascii", "replace").strip()
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(file)
