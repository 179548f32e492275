"""What replicas share: a Postgres that is as durable as it is by default, and a Valkey. Started for one line."""

import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.postgres import PostgresServer, postgres_server
from tests.support.valkey import Valkey

POSTGRES_SETTINGS = ("shared_buffers=512MB", "max_wal_size=4GB")
"""What anybody would set who stores more than a little; nothing that has to do with durability."""

_ERRORS = re.compile(r"^.*\b(?:ERROR|PANIC): .*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Backbone:
    """What servers are told to use."""

    postgres: PostgresServer
    valkey: Valkey | None

    @property
    def settings(self) -> dict[str, str]:
        """Those of a server."""
        settings = {"TOCSIN_DATABASE_URL": self.postgres.url("postgres")}
        if self.valkey is not None:
            settings["TOCSIN_REDIS_URL"] = self.valkey.url
        return settings

    def settle(self) -> None:
        """Does at once what Postgres does by and by after much was written."""
        with self.postgres.connect() as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def check(self) -> None:
        """Raises AssertionError for a Postgres that would lose what was committed."""
        with self.postgres.connect() as connection:
            for name in ("fsync", "full_page_writes", "synchronous_commit"):
                assert connection.execute(f"SHOW {name}").fetchone() == ("on",), name


@asynccontextmanager
async def backbone(folder: Path, *, bus: bool = True) -> AsyncIterator[Backbone]:
    """Both, or Postgres alone; gone at the end. What Postgres found wrong is printed."""
    async with AsyncExitStack() as stack:
        postgres = stack.enter_context(postgres_server(*POSTGRES_SETTINGS))
        # At once: in order would mean to write out all that it has in memory, only to remove it.
        stack.callback(postgres.stop, signal.SIGQUIT)
        valkey = await stack.enter_async_context(Valkey(folder)) if bus else None
        made = Backbone(postgres, valkey)
        made.check()
        yield made
        log = (postgres.folder / "log").read_text(encoding="utf-8", errors="replace")
        if errors := _ERRORS.findall(log):
            print(f"Postgres found {len(errors)} errors, such as:", *errors[-20:], sep="\n", file=sys.stderr)
