"""`tocsin plan`, and the channels of `tocsin send`."""

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.integration.cli.conftest import Cli
from tests.support.processes import ServerProcess, Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

Stdin = Callable[[Mapping[str, Any]], None]

BUILD = ("--category", "build", "--title", "Build 17 failed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ServerProcess]:
    """A server whose e-mail goes to the log."""
    async with Servers(tmp_path_factory.mktemp("server")) as servers:
        yield await servers.start({"TOCSIN_DRAIN_DELAY": "0", "TOCSIN_LOG_CHANNELS": "email"})


@pytest.fixture
async def ada(cli: Cli) -> str:
    """A recipient with a mailbox, who wants no text messages."""
    await cli("recipients", "upsert", "ada", "--address", "email=ada@example.com")
    await cli("prefs", "deny", "ada", "--channel", "sms")
    return "ada"


async def test_a_plan_is_shown_with_what_decided_it(cli: Cli, ada: str) -> None:
    channels = ("--channel", "inbox", "--channel", "email", "--channel", "sms")
    shown = (await cli("plan", ada, *BUILD, *channels)).out
    disposition, *rest = shown.splitlines()
    assert disposition == "stored"
    rows = [line.split() for line in rest]
    assert rows[0] == ["channel", "address", "provider", "due"]
    assert rows[1] == ["inbox", "at", "once"]
    assert rows[2][:3] == ["email", "ada@example.com", "log"]
    assert rows[3] == ["rule", "channel", "outcome", "layer", "key", "due", "why"]
    assert rows[4][:6] == ["preference", "sms", "suppressed", "recipient", "*", "SMS"]
    assert rest[4].endswith("The recipient denies everything on SMS.")
    assert "none" in (await cli("inbox", ada)).out


async def test_a_plan_for_later_says_until_when(cli: Cli) -> None:
    shown = (await cli("plan", "bob", *BUILD, "--at", "2026-12-24T09:00")).out
    assert shown.startswith("scheduled")
    assert "2026-12-24 09:00:00" in shown
    assert "schedule" in shown


async def test_json_has_the_names_of_the_contract(cli: Cli, ada: str) -> None:
    plan = (await cli("plan", ada, *BUILD, "--channel", "email", "--json")).json
    assert (plan["disposition"], plan["entersInbox"]) == ("DISPOSITION_STORED", False)
    (delivery,) = plan["deliveries"]
    assert (delivery["channel"], delivery["address"]) == ("CHANNEL_EMAIL", "ada@example.com")
    assert plan["content"]["simple"]["title"] == "Build 17 failed"
    assert plan["decisions"] == []


async def test_a_spec_is_planned_as_it_is_sent(cli: Cli, ada: str, stdin: Stdin, tmp_path: Path) -> None:
    spec = {
        "recipient": ada,
        "category": "build",
        "channels": ["CHANNEL_EMAIL"],
        "content": {"card": {"title": "Build 17"}},
        "channelOverrides": [{"channel": "CHANNEL_EMAIL", "subject": "Now"}],
    }
    stdin(spec)
    plan = (await cli("plan", "--spec", "-", "--json")).json
    stdin(spec)
    sent = (await cli("send", "--spec", "-", "--json")).json
    assert plan["disposition"] == sent["disposition"]
    found = (await cli("notification", sent["notificationId"], "--json")).json
    assert [each["address"] for each in found["deliveries"]] == [
        each["address"] for each in plan["deliveries"]
    ]


async def test_send_takes_channels(cli: Cli, ada: str) -> None:
    sent = (await cli("send", ada, *BUILD, "--channel", "email", "--json")).json
    assert (sent["disposition"], sent["cursor"]) == ("DISPOSITION_STORED", "")
    denied = await cli("send", ada, *BUILD, "--channel", "sms")
    assert denied.out.startswith("suppressed")
    assert "The recipient denies everything on SMS." in denied.out


@pytest.mark.parametrize("command", ["plan", "send"])
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="nothing"),
        pytest.param(("ada",), id="neither category nor title"),
        pytest.param(("ada", *BUILD, "--channel", "fax"), id="no channel"),
        pytest.param(("ada", *BUILD, "--attribute", "a"), id="no pair"),
        pytest.param(("ada", "--spec", "-"), id="a recipient beside a spec"),
    ],
)
async def test_what_is_not_understood_ends_with_2(cli: Cli, command: str, arguments: tuple[str, ...]) -> None:
    await cli(command, *arguments, code=2)


async def test_what_would_be_refused_is_told(cli: Cli) -> None:
    refused = await cli("plan", "ada", "--category", "two words", "--title", "t", code=1)
    assert "notification.category" in refused.err
