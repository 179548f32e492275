"""The command line, called as `main(arguments)`, against servers that are processes of their own."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.processes import ServerProcess, Servers
from tocsin_server.cli.main import main


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document that was printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON documents that were printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def _not_of_the_shared_poller(record: logging.LogRecord) -> bool:
    """grpc.aio has one poller a process: the test's event loop learns of events of the command's, which is closed by
    then. A command that runs alone has a process, and so a poller, to itself."""
    return "PollerCompletionQueue._handle_events" not in record.getMessage()


class Cli:
    """Runs commands, each on a thread of its own, against one target."""

    def __init__(self, capsys: pytest.CaptureFixture[str], target: str = "") -> None:
        self._capsys = capsys
        self._target = target

    def at(self, target: str) -> "Cli":
        """The same against another target."""
        return Cli(self._capsys, target)

    async def __call__(self, *arguments: str, code: int = 0) -> Result:
        """Runs a command, which must end with this exit code."""
        target = ["--target", self._target] if self._target else []
        self._capsys.readouterr()
        asyncio_log = logging.getLogger("asyncio")
        asyncio_log.addFilter(_not_of_the_shared_poller)
        try:
            with pytest.raises(SystemExit) as ended:
                await asyncio.to_thread(main, [*target, *arguments])
        finally:
            asyncio_log.removeFilter(_not_of_the_shared_poller)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        result = Result(int(ended.value.code or 0), captured.out, captured.err)
        assert result.code == code, result
        return result


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of whoever runs the tests are not settings of the test."""
    for name in ("TOCSIN_TARGET", "TOCSIN_API_KEY", "TOCSIN_TLS_CA", "TOCSIN_CONFIG", "TOCSIN_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server without keys, for all tests of a module; each has recipients of its own."""
    async with Servers(tmp_path_factory.mktemp("server")) as servers:
        yield await servers.start({"TOCSIN_DRAIN_DELAY": "0"})


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    """For tests that need servers of their own."""
    async with Servers(tmp_path) as servers:
        yield servers


@pytest.fixture
def cli(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Commands against the module's server."""
    return Cli(capsys, server.address)


@pytest.fixture
def alone(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Commands that need no server."""
    return Cli(capsys)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Any]], None]:
    """Gives the next command a JSON document on standard input."""
    return lambda document: monkeypatch.setattr("sys.stdin", StringIO(json.dumps(document)))
