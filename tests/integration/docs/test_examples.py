"""The examples of README.md and docs/: they run, against a real server, in the order in which they stand.

A fence of `sh` or `python` is run; one of `console` is not. What a shell block exports holds in the blocks after it.
`<!-- server: stopped -->` before a block means what it says.
"""

import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import listening_to, output_of
from tests.support.node import NODE, ROOT, Offline, installed_client
from tests.support.processes import ServerProcess, Servers

PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^(<!-- server: stopped -->\n)?```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
_TARGET = "localhost:7700"


@dataclass(frozen=True)
class Block:
    """An example."""

    language: str
    code: str
    stopped: bool


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(language, code, bool(stopped)) for stopped, language, code in _BLOCK.findall(text)]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    async with Servers(tmp_path) as servers:
        yield await servers.start({"TOCSIN_DRAIN_DELAY": "0"})


class Shell:
    """Runs blocks in the folder of the server's database, as a user of this checkout would."""

    def __init__(self, server: ServerProcess, tree: Path) -> None:
        self._server = server
        self._folder = server.data
        for name in ("clients", "proto", "third_party"):
            if not (self._folder / name).exists():
                (self._folder / name).symlink_to(tree / name)
        # Its packages are installed already; npm itself is not what is shown.
        tools = server.folder / "tools"
        tools.mkdir()
        (tools / "npm").write_text("#!/bin/sh\n")
        (tools / "npm").chmod(0o755)
        self._path = os.pathsep.join(
            [str(tools), str(Path(sys.executable).parent), str(NODE.parent), os.environ["PATH"]]
        )

    async def run(self, block: Block) -> str:
        if block.stopped and self._server.running:
            await self._server.stop()
        if not block.stopped and not self._server.running:
            await self._server.start()
        state = self._server.folder / "exported"
        state.touch()
        code = block.code.replace(_TARGET, self._server.address)
        script = f"set -euo pipefail\nsource {state}\n{code}\ncd {self._folder}\nexport -p | grep TOCSIN_ >{state}\n"
        environment = {**os.environ, "PATH": self._path, "TOCSIN_TARGET": self._server.address}
        return await output_of("bash", "-c", script, cwd=self._folder, environment=environment)


@pytest.mark.parametrize("page", PAGES)
async def test_shell_examples_run(page: str, server: ServerProcess, pytestconfig: pytest.Config) -> None:
    examples = [block for block in blocks(page) if block.language == "sh"]
    tree = ROOT
    if any("node " in block.code for block in examples):
        try:
            tree = installed_client(pytestconfig.cache.mkdir("node")).parents[1]
        except Offline as error:
            pytest.skip(f"the packages of the Node example cannot be fetched: {error}")
    shell = Shell(server, tree)
    for block in examples:
        await shell.run(block)


async def test_the_python_examples_of_the_readme_send_and_subscribe(
    server: ServerProcess, tmp_path: Path
) -> None:
    programs = []
    for number, block in enumerate(block for block in blocks("README.md") if block.language == "python"):
        assert len(block.code.splitlines()) <= 20
        program = tmp_path / f"example{number}.py"
        program.write_text(block.code.replace(_TARGET, server.address), encoding="utf-8")
        programs.append(program)
    send, subscribe = programs

    assert len((await output_of(sys.executable, send)).strip()) == 36
    async with listening_to(sys.executable, "-u", subscribe) as output:
        assert (await output.readline()).decode().startswith("Build 17 failed")
        assert (await output.readline()).decode().startswith("2 of 340 tests")
        await output_of(sys.executable, send)
        assert (await output.readline()).decode().startswith("Build 17 failed")


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "docs/adr/README.md", "clients/node/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    here = ROOT / page
    for path, anchor in _LINK.findall(here.read_text(encoding="utf-8")):
        target = (here.parent / path) if path else here
        assert target.exists(), path
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, anchor
