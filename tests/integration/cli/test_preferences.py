"""`tocsin categories` and `prefs`."""

import pytest

from tests.integration.cli.conftest import Cli

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_category_from_its_definition_to_its_end(cli: Cli) -> None:
    options = ("--display-name", "Orders", "--channel", "inbox", "--channel", "push", "--retention", "30d")
    throttles = ("--throttle", "category:5/1h", "--throttle", "channel:20/1d:defer:push,email")
    made = (await cli("categories", "upsert", "orders", *options, *throttles, "--json")).json
    assert made["channels"] == ["CHANNEL_INBOX", "CHANNEL_PUSH"]
    assert made["retention"] == "2592000s"
    assert [(each["scope"], each["max"], each["window"], each["overflow"]) for each in made["throttles"]] == [
        ("THROTTLE_SCOPE_CATEGORY", 5, "3600s", "THROTTLE_OVERFLOW_DROP"),
        ("THROTTLE_SCOPE_CHANNEL", 20, "86400s", "THROTTLE_OVERFLOW_DEFER"),
    ]
    assert made["throttles"][1]["channels"] == ["CHANNEL_PUSH", "CHANNEL_EMAIL"]

    changes = ("--mandatory", "--priority", "high", "--description", "d", "--retention", "0")
    changed = (await cli("categories", "upsert", "orders", *changes, "--json")).json
    assert (changed["mandatory"], changed["priority"]) == (True, "PRIORITY_HIGH")
    assert "retention" not in changed
    assert len(changed["throttles"]) == 2
    shown = (await cli("categories", "get", "orders")).out
    assert "category: 5 in 1:00:00, then drop, on push, sms" in shown
    assert "the server's" in shown
    assert "Orders" in (await cli("categories", "list")).out
    assert [each["category"] for each in (await cli("categories", "list", "--json")).json["categories"]] == [
        "orders"
    ]
    await cli("categories", "delete", "orders", "--yes")
    assert "tocsin categories list" in (await cli("categories", "get", "orders", code=1)).err


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--throttle", "5/1h"),
        ("--throttle", "galaxy:5/1h"),
        ("--throttle", "category:5/soon"),
        ("--throttle", "category:5/1h:explode"),
        ("--throttle", "category:5/1h:drop:pigeon"),
        ("--channel", "pigeon"),
        ("--priority", "extreme"),
        ("--retention", "long"),
    ],
)
async def test_a_category_that_is_none_ends_with_2(cli: Cli, options: tuple[str, ...]) -> None:
    await cli("categories", "upsert", "bad", *options, code=2)


async def test_choices_are_made_resolved_and_taken_back(cli: Cli) -> None:
    await cli("categories", "upsert", "news", "--display-name", "News")
    denied = await cli("prefs", "deny", "zoe", "--category", "news", "--channel", "email", "--json")
    choice = {"category": "news", "channel": "CHANNEL_EMAIL", "allowed": False}
    assert denied.json["choices"] == [choice]
    await cli("prefs", "deny", "--default", "--channel", "sms")
    assert "sms" in (await cli("prefs", "get", "--default")).out
    resolved = (await cli("prefs", "resolve", "zoe", "--category", "news")).out
    assert "The recipient denies news on EMAIL." in resolved
    assert "The tenant's default denies everything on SMS." in resolved
    assert "No preference denies it." in resolved
    await cli("prefs", "allow", "zoe", "--channel", "sms")
    cells = (await cli("prefs", "resolve", "zoe", "--category", "news", "--json")).json["preferences"]
    assert [(cell["layer"], cell["allowed"]) for cell in cells if cell["channel"] == "CHANNEL_SMS"] == [
        ("recipient", True)
    ]
    cleared = await cli("prefs", "clear", "zoe", "--category", "news", "--channel", "email", "--json")
    assert cleared.json["choices"] == [{"category": "", "channel": "CHANNEL_SMS", "allowed": True}]
    await cli("prefs", "clear", "--default", "--channel", "sms")
    await cli("prefs", "clear", "zoe", "--channel", "sms")
    assert "none" in (await cli("prefs", "get", "zoe")).out
    assert "CATEGORY_NOT_FOUND" in (await cli("prefs", "deny", "zoe", "--category", "nows", code=1)).err


async def test_quiet_hours_and_digest_time(cli: Cli) -> None:
    windows = (
        "--window",
        "fri-mon 22:00-07:00",
        "--window",
        "12:00-13:00",
        "--window",
        "tue,thu 00:00-00:00",
    )
    said = (await cli("prefs", "quiet", "yan", *windows, "--email", "--action", "drop", "--json")).json
    hours = said["quietHours"]
    assert (hours["action"], hours["email"]) == ("QUIET_ACTION_DROP", True)
    days = [[day.removeprefix("WEEKDAY_")[:2] for day in each["days"]] for each in hours["windows"]]
    assert days == [["MO", "FR", "SA", "SU"], ["MO", "TU", "WE", "TH", "FR", "SA", "SU"], ["TU", "TH"]]
    assert "drop push, sms, email" in (await cli("prefs", "get", "yan")).out
    await cli("prefs", "digest", "08:30", "yan")
    resolved = (await cli("prefs", "resolve", "yan")).out
    assert "08:30 (recipient)" in resolved
    assert "never" in (await cli("prefs", "quiet", "yan", "--never")).out
    assert "quietHours" not in (await cli("prefs", "quiet", "yan", "--unset", "--json")).json
    assert (await cli("prefs", "digest", "none", "yan", "--json")).json["digestTime"] == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("get",),  # whose?
        ("get", "ada", "--default"),
        ("deny", "ada", "--channel", "pigeon"),
        ("quiet", "ada"),
        ("quiet", "ada", "--never", "--unset"),
        ("quiet", "ada", "--window", "22-07"),
        ("quiet", "ada", "--window", "mon-foo 22:00-07:00"),
        ("quiet", "ada", "--window", "22:00-07:00", "--action", "batch"),
    ],
)
async def test_what_is_not_understood_ends_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    await cli("prefs", *arguments, code=2)


async def test_a_token_is_made_and_redeemed(cli: Cli) -> None:
    token = (await cli("prefs", "token", "xia", "--category", "offers", "--channel", "email")).out.strip()
    assert token.isascii()
    assert "xia gets no offers on email any more" in (await cli("prefs", "unsubscribe", token)).out
    choices = (await cli("prefs", "get", "xia", "--json")).json["choices"]
    assert choices == [{"category": "offers", "channel": "CHANNEL_EMAIL", "allowed": False}]
    assert "UNSUBSCRIBE_TOKEN_INVALID" in (await cli("prefs", "unsubscribe", "nonsense", code=1)).err
