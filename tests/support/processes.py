"""Servers as real processes: started, watched, stopped, killed and started again on the same database and port."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import psutil
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from tests.support.waiting import eventually

SERVE = (sys.executable, "-m", "tocsin_server", "serve")

# A loaded machine may take long to import the server; a broken server does not get better after this.
START_TIMEOUT_S = 30
# Longer than the default `drain_timeout`.
STOP_TIMEOUT_S = 30
HEALTH_TIMEOUT_S = 2


class ServerEnded(Exception):
    """The server's process ended while something was still expected of it."""


@dataclass
class ServerProcess:
    """A server in `folder`, whose database outlives the process. An async context manager, which leaves no process.

    `settings` are environment variables of the server, `environment` those of the process that are not settings.
    """

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = SERVE
    port: int = 0
    """Drawn by the first start, kept by all later ones."""
    _process: asyncio.subprocess.Process | None = None

    @property
    def data(self) -> Path:
        """The folder of the database's files, and of nothing else."""
        return self.folder / "data"

    @property
    def database(self) -> Path:
        """The database."""
        return self.data / "tocsin.db"

    @property
    def log_path(self) -> Path:
        """What all runs wrote to standard output and standard error."""
        return self.folder / "server.log"

    @property
    def address(self) -> str:
        """Where the server listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process, for as long as it has not been waited for."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, *, ready: bool = True, environment: Mapping[str, str] | None = None) -> None:
        """Start the process, on the port it had before if it had one, and wait until it serves.

        `environment` is added for this run only. With `ready` false, only the process is started.
        """
        if self.running:
            raise RuntimeError(f"process {self.pid} is still running")
        self.data.mkdir(parents=True, exist_ok=True)
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.folder,
                env={
                    # Settings of whoever runs the tests are not settings of the test.
                    **{name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
                    **self.environment,
                    **(environment or {}),
                    "PYTHONUNBUFFERED": "1",
                    "TOCSIN_LISTEN": self.address,
                    "TOCSIN_DATABASE": str(self.database),
                    "TOCSIN_PORT_FILE": str(port_file),
                    **self.settings,
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        if ready:
            await self.wait_until_ready()

    async def wait_until_ready(self) -> None:
        """Return once the server's health check says SERVING. Raises ServerEnded if the process ends before."""
        self.port = await eventually(self._announced_port, "the port file", START_TIMEOUT_S)
        async with grpc.aio.insecure_channel(self.address) as channel:

            async def serving() -> bool:
                self._running()
                try:
                    return await is_serving(channel)
                except grpc.aio.AioRpcError:
                    return False

            await eventually(serving, f"the server on {self.address} to be healthy", START_TIMEOUT_S)

    async def kill(self) -> None:
        """SIGKILL: the process has no say. Returns when it is gone."""
        if self.running:
            self.send_signal(signal.SIGKILL)
        await self.wait()

    async def stop(self, within_s: float = STOP_TIMEOUT_S) -> int:
        """SIGTERM: the process drains and ends. Its exit code."""
        self.send_signal(signal.SIGTERM)
        return await self.wait(within_s)

    async def wait(self, within_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the process to end by itself. Its exit code, negative for the signal that killed it."""
        if self._process is None:
            raise RuntimeError("the process was never started")
        async with asyncio.timeout(within_s):
            return await self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: the process stands still, its connections stay open."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after pause."""
        self.send_signal(signal.SIGCONT)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other."""
        self._running().send_signal(number)

    def usage(self) -> psutil.Process:
        """Memory, descriptors and threads of the process."""
        return psutil.Process(self.pid)

    def log(self) -> str:
        """What all runs have written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self.kill()
        # pytest shows it where a test failed.
        sys.stdout.write(f"--- {self.log_path} (end)\n{self.log()[-8000:]}\n")

    def _running(self) -> asyncio.subprocess.Process:
        """The process. Raises ServerEnded, with the end of its log, if there is none."""
        if self._process is None:
            raise RuntimeError("the process was never started")
        if self._process.returncode is not None:
            raise ServerEnded(f"exit code {self._process.returncode}; its log ends:\n{self.log()[-4000:]}")
        return self._process

    def _announced_port(self) -> int:
        self._running()
        port_file = self.folder / "port"
        return int(port_file.read_text()) if port_file.exists() else 0


async def is_serving(channel: grpc.aio.Channel, service: str = "") -> bool:
    """What the health check says of a service; of the whole server, if none is named."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    reply = await check(HealthCheckRequest(service=service), timeout=HEALTH_TIMEOUT_S)
    return bool(reply.status == HealthCheckResponse.SERVING)


class Servers:
    """Makes servers, each in a folder of its own, and leaves none behind. An async context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self._count = 0

    async def start(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = SERVE,
        folder: Path | None = None,
        ready: bool = True,
    ) -> ServerProcess:
        """Start a server; in a given folder, to open the database that lies in its `data`."""
        server = await self.prepare(settings, environment=environment, command=command, folder=folder)
        await server.start(ready=ready)
        return server

    async def prepare(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = SERVE,
        folder: Path | None = None,
    ) -> ServerProcess:
        """A server that is not started yet."""
        self._count += 1
        server = ServerProcess(
            folder=folder or self._folder / f"server-{self._count}",
            settings=settings or {},
            environment=environment or {},
            command=command,
        )
        server.data.mkdir(parents=True, exist_ok=True)
        return await self._stack.enter_async_context(server)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
