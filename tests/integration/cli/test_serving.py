"""`tocsin serve`, `config`, `demo`, `bench`, and the help."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.cli.conftest import Cli
from tests.support.calls import channel_to
from tests.support.processes import SERVE, START_TIMEOUT_S, Servers, is_serving
from tests.support.waiting import eventually
from tocsin_server import __version__
from tocsin_server.bootstrap.member import READY, Member
from tocsin_server.bootstrap.port import held

COMMANDS = ["serve", "demo", "seed", "send", "plan", "subscribe", "inbox", "notification", "mark", "status"]
COMMANDS += ["sessions", "keys", "templates", "tenants", "recipients", "topics", "broadcast", "categories"]
COMMANDS += ["prefs", "migrate", "epoch", "config", "bench"]


async def run(*arguments: str, cwd: Path) -> tuple[int | None, str, str]:
    """`tocsin` as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tocsin_server",
        *arguments,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_help_lists_every_command_with_what_it_is_for(alone: Cli) -> None:
    shown = (await alone("--help")).out
    assert re.findall(r"^│ ([a-z]+) {2,}\w", shown, re.MULTILINE) == COMMANDS
    assert (await alone("--version")).out == f"tocsin {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS[:-1])
async def test_every_command_explains_itself(alone: Cli, command: str) -> None:
    assert f"Usage: tocsin {command}" in (await alone(command, "--help")).out


async def test_an_unknown_command_ends_with_2(alone: Cli) -> None:
    assert "No such command" in (await alone("sernd", code=2)).err


async def test_settings_are_shown_with_where_they_come_from(
    alone: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tocsin.toml"
    file.write_text('retention = "30d"\n')
    monkeypatch.setenv("TOCSIN_LOG_LEVEL", "debug")
    arguments = ("--config", str(file), "--set", "drain-timeout=5s")
    settings = {
        each["name"]: (each["value"], each["source"])
        for each in (await alone("config", *arguments, "--json")).json["settings"]
    }
    assert settings["retention"] == (30 * 86400, str(file))
    assert settings["log_level"] == ("debug", "TOCSIN_LOG_LEVEL")
    assert settings["drain_timeout"] == (5, "command line")
    assert settings["listen"] == ("127.0.0.1:7700", "default")
    assert "Path of the SQLite file" in (await alone("config", *arguments)).out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(("--set", "retention=soon"), "retention (from command line)", id="no duration"),
        pytest.param(("--set", "retension=5d"), "there is no setting 'retension'", id="no setting"),
        pytest.param(("--set", "retention"), "is not NAME=VALUE", id="no value"),
        pytest.param(("--config", "nowhere.toml"), "nowhere.toml: cannot be read", id="no file"),
        pytest.param(("--listen", "0.0.0.0:0"), "needs an API key", id="open to everyone"),
        pytest.param(("--database", "nowhere/x.db"), "nowhere/x.db", id="no folder"),
        pytest.param(("--workers", "2"), "workers: more than one need redis_url", id="no fleet"),
        pytest.param(
            ("--roles", "api"), "roles: less than all need database_url", id="no database for roles"
        ),
        pytest.param(("--roles", "cook"), "there is no role 'cook'", id="no role"),
        pytest.param(("--tls-cert", "c.pem"), "tls_cert and tls_key: one needs the other", id="no key"),
        pytest.param(
            ("--tls-cert", "c.pem", "--tls-key", "k.pem"), "c.pem: No such file", id="no certificate"
        ),
    ],
)
async def test_a_server_that_cannot_start_says_why(
    arguments: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    code, _, errors = await run("serve", *arguments, cwd=tmp_path)
    assert (code, told in errors, "Traceback" in errors) == (1, True, False), errors


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has this policy")
async def test_no_thread_of_a_server_interrupts_another(servers: Servers) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    threads = [thread.id for thread in psutil.Process(server.pid).threads()]
    assert len(threads) > 1
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}


async def test_a_fleet_that_cannot_start_says_why_once(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = str(taken.getsockname()[1])
        urls = ("--set", "database_url=postgresql://nowhere", "--set", "redis_url=redis://nowhere")
        arguments = ("--listen", "127.0.0.1:0", "--workers", "2", "--metrics-port", port, *urls)
        code, _, errors = await run("serve", *arguments, cwd=tmp_path)
    assert (code, errors.count("Address already in use"), "Traceback" in errors) == (1, 1, False), errors


async def test_a_process_of_a_fleet_shares_its_port_and_ends_with_its_supervisor(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(START_TIMEOUT_S)
    with ours, held("127.0.0.1:0") as (listen, port):
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *SERVE,
                "--log-format=json",
                cwd=tmp_path,
                env={**os.environ, **Member(3, listen).environ(), "TOCSIN_DRAIN_DELAY": "0"},
                stdin=theirs.fileno(),
                stderr=asyncio.subprocess.PIPE,
            )
        assert await asyncio.to_thread(ours.recv, 100) == READY
        async with channel_to(f"127.0.0.1:{port}") as channel:
            assert await is_serving(channel)
        ours.shutdown(socket.SHUT_WR)
        _, errors = await process.communicate()
    assert process.returncode == 0
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {line["worker"] for line in lines} == {3}
    assert lines[-1]["event"] == "stopped"


async def test_the_demo_shows_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code, out, err = await run("demo", "--recipients", "2000", cwd=tmp_path)
    assert (code, err) == (0, ""), out
    for kind in ("simple", "rich media", "interactive", "card", "list", "timeline"):
        assert f"✓ {kind}" in out
    assert "resumed behind #6 and received #7 to #26" in out
    assert "none missing, none twice, all in order" in out
    assert "23 unread of 26" in out
    assert "2,000 people, 100 of them with preferences" in out
    assert re.search("preference +email +suppressed +recipient +approvals EMAIL", out)
    assert re.search("quiet hours +push +deferred +recipient +quiet_hours", out)
    assert "“Grace Hopper bittet um Freigabe: Refund 4711”" in out
    assert re.search("chat +https://chat.example.com/people/ada +log +sent", out)
    delivered, suppressed = (
        int(found.replace(",", ""))
        for found in re.findall(r"✓ ([0-9,]+) (?:inboxes in|did not get it because of a preference)", out)
    )
    assert delivered + suppressed == 2001
    assert re.search(r"user-000001 received “(Neu|New): Quiet hours”", out)
    assert "serving" in out
    assert "ended with exit code 0" in out


async def test_a_demo_that_is_kept_goes_on_and_says_how_to_talk_to_it(alone: Cli, tmp_path: Path) -> None:
    code, out, err = await run("demo", "--keep", "--recipients", "100", cwd=tmp_path)
    assert (code, err) == (0, ""), out
    pid, folder = re.findall(r"process (\d+), (.+)", out)[0]
    (target,) = re.findall(r"export TOCSIN_TARGET=(.+)", out)
    server = psutil.Process(int(pid))
    try:
        for line in re.findall(r"^  python -m tocsin_server ((?:send|inbox|plan) .+)$", out, re.MULTILINE):
            await alone.at(target)(*re.findall(r'[^ "]+', line))
    finally:
        os.kill(int(pid), signal.SIGTERM)
        await eventually(
            lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "its end"
        )
    assert "stopped" in (Path(folder) / "server.log").read_text()
    shutil.rmtree(folder)


async def test_benchmarks_outside_a_checkout_are_explained(alone: Cli) -> None:
    assert "checkout" in (await alone("bench", code=1)).err
