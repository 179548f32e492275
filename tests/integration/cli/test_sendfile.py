"""`tocsin send --file`."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Cli
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually
from tocsin_server.cli.connection import Session
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.options import Connection
from tocsin_server.cli.output import Output
from tocsin_server.cli.sendfile import STATE_SUFFIX, request_id, send_file

pytestmark = pytest.mark.asyncio(loop_scope="module")


def written(path: Path, recipient: str, titles: Iterable[str]) -> Path:
    specs = ({"recipient": recipient, "category": "c", "content": {"simple": {"title": t}}} for t in titles)
    path.write_text("".join(json.dumps(spec) + "\n" for spec in specs), encoding="utf-8")
    return path


def state_of(file: Path) -> Path:
    return file.with_name(file.name + STATE_SUFFIX)


async def test_every_line_is_sent_and_a_second_run_sends_nothing(cli: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "every.jsonl", "ada", map(str, range(1500)))
    assert (await cli("send", "--file", str(file))).out == "1,500 sent\n"
    assert (await cli("send", "--file", str(file))).out == "0 sent, 1,500 had been sent before\n"
    assert (await cli("inbox", "ada", "--limit", "1", "--json")).json["summary"]["total"] == 1500
    assert not state_of(file).exists()


async def test_another_run_sends_all_of_it_again(cli: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "again.jsonl", "bob", ["1", "2"])
    await cli("send", "--file", str(file))
    assert (await cli("send", "--file", str(file), "--run", "tuesday")).out == "2 sent\n"


async def test_refused_lines_are_named_and_hold_up_nobody(cli: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "bad.jsonl", "cem", ["1", "", "3"])
    with file.open("a") as appended:
        appended.write('not JSON\n\n{"recipient": "cem", "categry": "c"}\n')
    refused = await cli("send", "--file", str(file), code=1)
    assert refused.out == "2 sent, 4 refused\n"
    assert [line.partition(":")[0] for line in refused.err.splitlines()[:-1]] == [
        f"line {n}" for n in (2, 4, 5, 6)
    ]
    assert "4 lines were refused" in refused.err.splitlines()[-1]
    mended = written(file, "cem", ["1", "2", "3"])
    assert (await cli("send", "--file", str(mended))).out == "1 sent, 2 had been sent before\n"


async def test_json_has_a_line_for_each(cli: Cli, tmp_path: Path) -> None:
    file = written(tmp_path / "json.jsonl", "dan", ["1", ""])
    first, second = (await cli("send", "--file", str(file), "--json", code=1)).lines
    assert (first["line"], first["result"]["disposition"]) == (1, "DISPOSITION_STORED")
    assert second["line"] == 2
    assert "INVALID_FIELD" in second["error"]


async def test_a_run_that_was_broken_off_goes_on_where_it_was(
    cli: Cli, server: ServerProcess, tmp_path: Path
) -> None:
    file = written(tmp_path / "long.jsonl", "eve", map(str, range(20_000)))
    state = state_of(file)
    session = Session(Connection(target=server.address), Output())
    sending = asyncio.create_task(send_file(session, file, file.name))
    await eventually(state.exists, "the first thousand lines to be answered")
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    done = json.loads(state.read_text())["lines"]
    assert 0 < done < 20_000

    rest = await cli("send", "--file", str(file), "--json")
    assert rest.lines[0]["line"] == done + 1
    assert (await cli("inbox", "eve", "--limit", "1", "--json")).json["summary"]["total"] == 20_000
    assert not state.exists()


async def test_a_state_that_is_not_the_files_is_not_gone_on_with(
    server: ServerProcess, tmp_path: Path
) -> None:
    file = written(tmp_path / "changed.jsonl", "fay", ["1", "2"])
    state = state_of(file)
    kept = {"run": "changed.jsonl", "lines": 1, "offset": 10, "sha256": "0" * 64}
    state.write_text(json.dumps(kept))
    session = Session(Connection(target=server.address), Output())
    with pytest.raises(Failure, match="the file has changed"):
        await send_file(session, file, "changed.jsonl")
    with pytest.raises(Failure, match="belongs to the run"):
        await send_file(session, file, "other")
    state.write_text("{")
    with pytest.raises(Failure, match="cannot be read"):
        await send_file(session, file, "changed.jsonl")


async def test_a_file_that_is_not_there_is_told(cli: Cli) -> None:
    assert "nowhere.jsonl: No such file" in (await cli("send", "--file", "nowhere.jsonl", code=1)).err


async def test_a_long_name_still_makes_a_request_id() -> None:
    assert request_id("x.jsonl", 7) == "x.jsonl:7"
    assert len(request_id("x" * 300, 10**9)) <= 128
