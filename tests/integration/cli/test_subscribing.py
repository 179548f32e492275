"""`tocsin subscribe`, `sessions` and `status`."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import tocsin
from tests.integration.cli.conftest import Cli, Result
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def subscribed(
    cli: Cli, server: ServerProcess, *arguments: str
) -> AsyncIterator["asyncio.Task[Result]"]:
    """A tail that is running; it has to end by itself."""
    async with tocsin.connect(server.address) as client:
        before = (await client.system.status()).session_count
        tail = asyncio.create_task(cli("subscribe", *arguments))

        async def connected() -> bool:
            return tail.done() or (await client.system.status()).session_count > before

        await eventually(connected, "the subscription")
        yield tail


async def send(server: ServerProcess, recipient: str, *titles: str) -> None:
    async with tocsin.connect(server.address) as client:
        for title in titles:
            await client.send(recipient=recipient, category="c", content=(title, ""))


async def taken(events: tocsin.Subscription) -> None:
    async for _ in events:
        pass


async def test_a_tail_shows_what_arrives(cli: Cli, server: ServerProcess) -> None:
    async with subscribed(cli, server, "ada", "--count", "2") as tail:
        await send(server, "ada", "first", "second")
        shown = (await tail).out
    assert shown.index("first") < shown.index("second")


async def test_json_lines_are_inbox_events(cli: Cli, server: ServerProcess) -> None:
    await send(server, "bob", "t1", "t2")
    lines = (await cli("subscribe", "bob", "--start", "beginning", "--count", "2", "--json")).lines
    entries = [line["notification"] for line in lines if "notification" in line]
    assert [entry["content"]["simple"]["title"] for entry in entries] == ["t1", "t2"]
    assert [entry["revision"] for entry in entries] == ["1", "2"]
    assert {line["recipient"] for line in lines} == {"bob"}


async def test_a_named_consumer_goes_on_where_it_was(cli: Cli, server: ServerProcess) -> None:
    for title in ("t1", "t2"):
        await send(server, "cem", title)
        lines = (
            await cli(
                "subscribe", "cem", "--consumer", "bot", "--start", "beginning", "--count", "1", "--json"
            )
        ).lines
        entries = [line["notification"] for line in lines if "notification" in line]
        assert [entry["content"]["simple"]["title"] for entry in entries] == [title]


async def test_ctrl_c_ends_a_tail_without_complaint(server: ServerProcess) -> None:
    await send(server, "dan", "t1")
    arguments = (
        "-m",
        "tocsin_server",
        "--target",
        server.address,
        "subscribe",
        "dan",
        "--start",
        "beginning",
        "--json",
    )
    tail = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert tail.stdout is not None
    assert b'"t1"' in await tail.stdout.readline()
    tail.send_signal(signal.SIGINT)
    _, errors = await tail.communicate()
    assert (tail.returncode, errors) == (0, b"")


async def test_an_open_stream_is_listed_and_can_be_ended(cli: Cli, server: ServerProcess) -> None:
    async with (
        tocsin.connect(server.address) as client,
        client.subscribe(["eve", "fay"], consumer="bot") as events,
    ):
        waiting = asyncio.create_task(taken(events))
        session_id = await eventually(lambda: events.session_id, "the session")
        (session,) = (await cli("sessions", "list", "--recipient", "eve", "--json")).json["sessions"]
        assert (session["sessionId"], session["consumer"]) == (session_id, "bot")
        assert "eve, fay" in (await cli("sessions", "list")).out
        assert "terminated" in (await cli("sessions", "terminate", session_id)).out
        with pytest.raises(tocsin.AbortedError, match="SESSION_TERMINATED"):
            await waiting
    assert "SESSION_NOT_FOUND" in (await cli("sessions", "terminate", session_id, code=1)).err


async def test_status_for_people_and_for_programs(cli: Cli) -> None:
    shown = (await cli("status")).out
    assert shown.startswith("serving")
    assert "storage" in shown
    status = (await cli("status", "--json")).json
    assert status["draining"] is False
    assert {part["name"]: part["state"] for part in status["components"]}["storage"] == "COMPONENT_STATE_OK"


async def test_a_server_that_is_not_there_is_told_in_one_line(alone: Cli) -> None:
    failed = await alone("--target", "127.0.0.1:1", "status", code=1)
    (line,) = failed.err.splitlines()
    assert line.startswith("tocsin: UNAVAILABLE: no server answers at 127.0.0.1:1 ")
    assert "tocsin serve" in line


async def test_the_target_may_stand_anywhere_and_the_nearest_counts(
    alone: Cli, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_TARGET", "127.0.0.1:1")
    await alone("--target", server.address, "status")
    await alone("status", "--target", server.address)
    await alone("--target", "127.0.0.1:1", "status", "--target", server.address)
    monkeypatch.setenv("TOCSIN_TARGET", server.address)
    await alone("status")
