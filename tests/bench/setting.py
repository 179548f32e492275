"""What a line is measured with: its servers, its size, and a folder that goes when it is done."""

import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench.backbone import Backbone, backbone
from tests.bench.http2 import Connection
from tests.support.processes import SERVE, ServerProcess
from tests.support.waiting import eventually

HUB_SERVER = (sys.executable, "-m", "tests.bench.hub_server")
CONTROL_VARIABLE = "BENCH_CONTROL"
"""Names the path of a hub server's control socket."""

_RAW_SERVER = Path(__file__).with_name("raw_server.py")
_START_S = 30

Size = TypeVar("Size")


@dataclass(frozen=True, slots=True)
class Setting:
    """How a run of the bench was asked for."""

    quick: bool
    rounds: int
    folder: Path
    """Of this line only. On disk, as the database of a server would be."""

    def by_size(self, quick: Size, full: Size) -> Size:
        """The one of the two that was asked for."""
        return quick if self.quick else full

    def subfolder(self) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def prepare(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = SERVE,
    ) -> ServerProcess:
        """A server that is not started yet; whoever starts it ends it."""
        return ServerProcess(
            self.subfolder(),
            {"TOCSIN_LOG_LEVEL": "warning", **(settings or {})},
            # A server runs in a folder of its own, and keeps its bytecode as an installed one does.
            {
                "PYTHONPATH": os.pathsep.join(sys.path),
                "PYTHONDONTWRITEBYTECODE": "",
                **(environment or {}),
            },
            command,
        )

    @asynccontextmanager
    async def server(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = SERVE,
    ) -> AsyncIterator[ServerProcess]:
        """A Tocsin server: with an empty database on the embedded default, unless settings say otherwise."""
        server = self.prepare(settings, environment=environment, command=command)
        try:
            await server.start()
            yield server
            if log := server.log():
                print(f"the server said:\n{log[-4000:]}", file=sys.stderr)
        except BaseException:
            print(f"the server's log ends:\n{server.log()[-8000:]}", file=sys.stderr)
            raise
        finally:
            if server.running:
                await server.kill()

    @asynccontextmanager
    async def backbone(self, *, bus: bool = True) -> AsyncIterator[Backbone]:
        """A Postgres and a Valkey, with nothing in them; without `bus`, the Postgres alone."""
        async with backbone(self.subfolder(), bus=bus) as made:
            yield made

    @asynccontextmanager
    async def raw_server(self) -> AsyncIterator["RawServer"]:
        """A server that does nothing but gRPC."""
        port_file = self.subfolder() / "port"
        process = await asyncio.create_subprocess_exec(sys.executable, str(_RAW_SERVER), str(port_file))
        try:
            await eventually(port_file.exists, "the raw server", _START_S)
            yield RawServer(process.pid, f"127.0.0.1:{port_file.read_text()}")
        finally:
            process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class RawServer:
    """A raw server that runs."""

    pid: int
    address: str


@asynccontextmanager
async def connections(address: str, count: int) -> AsyncIterator[list[Connection]]:
    """Connections to one server."""
    opened: list[Connection] = []
    try:
        for _ in range(count):
            opened.append(await Connection.open(address))  # noqa: PERF401  # what was opened is closed
        yield opened
    finally:
        for each in opened:
            each.close()


@contextmanager
def undisturbed() -> Iterator[None]:
    """No garbage collection of ours within it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
