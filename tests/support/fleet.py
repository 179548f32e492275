"""A fleet: replicas as processes of their own on one Postgres and one Valkey, each reached through proxies."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.postgres import postgres_server
from tests.support.processes import SERVE, ServerProcess, Servers
from tests.support.proxy import Proxy
from tests.support.valkey import Valkey

REPLICAS = 3
SETTINGS = {"TOCSIN_DRAIN_DELAY": "100ms", "TOCSIN_DRAIN_TIMEOUT": "10s"}


@dataclass(frozen=True, slots=True)
class Replica:
    """One server of the fleet, and its ways to Postgres and to Valkey."""

    server: ServerProcess
    postgres: Proxy
    valkey: Proxy


class Fleet:
    """Replicas on one database. An async context manager, which leaves no process."""

    def __init__(
        self,
        folder: Path,
        *,
        replicas: int = REPLICAS,
        settings: Mapping[str, str] | None = None,
        environments: Sequence[Mapping[str, str]] = (),
        command: Sequence[str] = SERVE,
    ) -> None:
        """`environments` are those of the first replicas, one each; `command` starts a replica."""
        self.valkey = Valkey(folder / "valkey")
        self.replicas: list[Replica] = []
        self._folder = folder
        self._environments = [*environments, *({},) * (replicas - len(environments))]
        self._command = command
        self._settings = {**SETTINGS, **(settings or {})}
        self._stack = AsyncExitStack()

    @property
    def addresses(self) -> list[str]:
        """Where the replicas listen."""
        return [replica.server.address for replica in self.replicas]

    async def valkey_command(self, *words: str) -> None:
        """Has Valkey do something."""
        async with self.valkey.client() as client:
            await client.execute_command(*words)

    async def kill_postgres(self) -> None:
        """As in a crash."""
        await asyncio.to_thread(self.postgres.stop, signal.SIGQUIT)

    async def start_postgres(self) -> None:
        """Returns when it answers."""
        await asyncio.to_thread(self.postgres.start)

    def postgres_connections(self) -> int:
        """How many connections there are besides the one that asks."""
        with self.postgres.connect() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            row = connection.execute(query).fetchone()
            assert row is not None
            return int(row[0]) - 1

    async def __aenter__(self) -> Self:
        self.postgres = self._stack.enter_context(postgres_server())
        socket = self.postgres.folder / ".s.PGSQL.5432"
        await self._stack.enter_async_context(self.valkey)
        servers = await self._stack.enter_async_context(Servers(self._folder))
        for environment in self._environments:
            postgres = await self._stack.enter_async_context(Proxy(socket))
            valkey = await self._stack.enter_async_context(Proxy(self.valkey.port))
            settings = {
                **self._settings,
                "TOCSIN_DATABASE_URL": f"postgresql://postgres@{postgres.address}/postgres",
                "TOCSIN_REDIS_URL": f"redis://{valkey.address}",
            }
            server = await servers.prepare(settings, environment=environment, command=self._command)
            self.replicas.append(Replica(server, postgres, valkey))
        await asyncio.gather(*(replica.server.start() for replica in self.replicas))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
