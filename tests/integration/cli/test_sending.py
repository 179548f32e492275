"""`tocsin send`, `inbox` and `mark`."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.integration.cli.conftest import Cli

pytestmark = pytest.mark.asyncio(loop_scope="module")

Stdin = Callable[[Mapping[str, Any]], None]


async def test_what_is_sent_is_in_the_inbox(cli: Cli) -> None:
    sent = await cli("send", "ada", "--category", "build", "--title", "Build 17 failed", "--body", "2 of 340")
    assert sent.out.startswith("stored")
    inbox = await cli("inbox", "ada")
    assert "Build 17 failed" in inbox.out
    assert "1 unread, 1 unseen, 1 in all" in inbox.out


async def test_json_has_the_names_of_the_contract(cli: Cli) -> None:
    sent = (
        await cli(
            "send",
            "bob",
            "--category",
            "build",
            "--title",
            "t",
            "--attribute",
            "a=b",
            "--thread",
            "x",
            "--json",
        )
    ).json
    assert sent["disposition"] == "DISPOSITION_STORED"
    assert sent["replayed"] is False
    inbox = (await cli("inbox", "bob", "--json")).json
    (entry,) = inbox["entries"]
    assert entry["id"] == sent["notificationId"]
    assert (entry["attributes"], entry["thread"], entry["content"]["simple"]["title"]) == (
        {"a": "b"},
        "x",
        "t",
    )
    assert inbox["summary"] == {"unread": 1, "unseen": 1, "total": 1}
    assert inbox["cursor"] == sent["cursor"]


async def test_a_spec_comes_as_json_on_standard_input(cli: Cli, stdin: Stdin) -> None:
    stdin({"recipient": "cem", "category": "orders", "content": {"card": {"title": "Order 4711"}}})
    await cli("send", "--spec", "-")
    (entry,) = (await cli("inbox", "cem", "--json")).json["entries"]
    assert entry["content"]["card"]["title"] == "Order 4711"


async def test_a_spec_with_an_unknown_field_is_refused(cli: Cli, stdin: Stdin) -> None:
    stdin({"recipient": "cem", "categry": "orders"})
    refused = await cli("send", "--spec", "-", code=1)
    assert "categry" in refused.err


async def test_a_notification_is_shown_with_what_became_of_it(cli: Cli) -> None:
    sent = (await cli("send", "eli", "--category", "orders", "--title", "Shipped", "--json")).json
    shown = (await cli("notification", sent["notificationId"])).out
    assert all(word in shown for word in ("Shipped", "eli", "orders", "stored", "new"))
    document = (await cli("notification", sent["notificationId"], "--json")).json
    assert (document["state"], document["deliveries"]) == ("NOTIFICATION_STATE_STORED", [])
    assert [step["kind"] for step in document["timeline"]] == ["TIMELINE_EVENT_KIND_STORED"]
    unknown = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert "NOTIFICATION_NOT_FOUND" in (await cli("notification", unknown, code=1)).err


async def test_a_delayed_notification_is_scheduled_and_says_why(cli: Cli) -> None:
    sent = await cli("send", "dan", "--category", "build", "--title", "t", "--delay", "2h")
    assert sent.out.startswith("scheduled")
    assert "deliver time" in sent.out
    assert "none" in (await cli("inbox", "dan")).out


async def test_the_same_request_id_sends_once(cli: Cli) -> None:
    arguments = ("send", "eve", "--category", "build", "--title", "t", "--request-id", "order-17")
    first, second = await cli(*arguments), await cli(*arguments)
    assert first.out.split()[1] == second.out.split()[1]
    assert "sent before" in second.out
    other = await cli(
        "send", "eve", "--category", "build", "--title", "u", "--request-id", "order-17", code=1
    )
    assert "REQUEST_ID_REUSED" in other.err


async def test_a_broken_rule_is_one_line_with_the_field(cli: Cli) -> None:
    refused = await cli("send", "ada", "--category", "two words", "--title", "t", code=1)
    (line,) = refused.err.splitlines()
    assert line.startswith("tocsin: INVALID_FIELD: ")
    assert "notification.category" in line


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="nothing"),
        pytest.param(("ada",), id="neither category nor title"),
        pytest.param(("ada", "--category", "c", "--title", "t", "--delay", "soon"), id="no duration"),
        pytest.param(("ada", "--category", "c", "--title", "t", "--at", "soon"), id="no instant"),
        pytest.param(("ada", "--category", "c", "--title", "t", "--attribute", "a"), id="no pair"),
        pytest.param(("ada", "--spec", "-"), id="a recipient beside a spec"),
        pytest.param(("ada", "--file", "x.jsonl"), id="a recipient beside a file"),
        pytest.param(("ada", "--priority", "top"), id="no priority"),
        pytest.param(("--no-such-option",), id="no option"),
    ],
)
async def test_what_is_not_understood_ends_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    await cli("send", *arguments, code=2)


async def test_entries_are_marked_by_id_by_thread_and_all(cli: Cli) -> None:
    ids = []
    for number in range(4):
        arguments = ("--category", "c", "--title", f"t{number}", "--thread", "odd" if number % 2 else "even")
        ids.append((await cli("send", "fay", *arguments, "--json")).json["notificationId"])
    by_id = (await cli("mark", "fay", "read", "--id", ids[0], "--json")).json
    assert (by_id["changedCount"], by_id["summary"]["unread"]) == (1, 3)
    assert "2 marked as archived; 1 unread" in (await cli("mark", "fay", "archived", "--thread", "odd")).out
    assert "3 marked as read; 0 unread" in (await cli("mark", "fay", "read", "--all")).out
    assert "archived" in (await cli("inbox", "fay", "--view", "archived")).out
    snoozed = await cli("mark", "fay", "snoozed", "--id", ids[0], "--until", "2h")
    assert "1 marked as snoozed" in snoozed.out
    assert len((await cli("inbox", "fay", "--json")).json["entries"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("read",), id="no selection"),
        pytest.param(("read", "--all", "--thread", "x"), id="two selections"),
        pytest.param(("snoozed", "--all"), id="snoozed without an end"),
        pytest.param(("read", "--all", "--until", "2h"), id="an end without snoozed"),
        pytest.param(("loved", "--all"), id="no mark"),
    ],
)
async def test_marks_that_make_no_sense_end_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    await cli("mark", "ada", *arguments, code=2)


async def test_a_list_is_cut_at_the_limit(cli: Cli) -> None:
    for number in range(3):
        await cli("send", "gus", "--category", f"c{number % 2}", "--title", f"t{number}")
    newest = (await cli("inbox", "gus", "--limit", "2", "--json")).json["entries"]
    assert [entry["content"]["simple"]["title"] for entry in newest] == ["t2", "t1"]
    assert len((await cli("inbox", "gus", "--category", "c0", "--json")).json["entries"]) == 2


async def test_an_unknown_recipient_is_told(cli: Cli) -> None:
    assert "RECIPIENT_NOT_FOUND" in (await cli("inbox", "nobody", code=1)).err
