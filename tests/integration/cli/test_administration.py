"""`tocsin tenants` and `recipients`."""

from io import StringIO

import pytest

from tests.integration.cli.conftest import Cli

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_tenant_from_its_creation_to_its_end(cli: Cli) -> None:
    made = await cli(
        "tenants", "create", "acme", "--display-name", "Acme", "--quota", "max_streams=5", "--json"
    )
    assert (made.json["state"], made.json["quotas"]["maxStreams"]) == ("TENANT_STATE_ACTIVE", 5)
    assert "TENANT_EXISTS" in (await cli("tenants", "create", "acme", code=1)).err

    changed = await cli("tenants", "quotas", "acme", "--quota", "max_pending=7", "--json")
    assert (changed.json["quotas"]["maxStreams"], changed.json["quotas"]["maxPending"]) == (5, "7")
    assert "Acme" in (await cli("tenants", "list")).out
    assert "max streams" in (await cli("tenants", "get", "acme")).out

    assert "suspended" in (await cli("tenants", "suspend", "acme")).out
    assert "active" in (await cli("tenants", "resume", "acme")).out
    assert "deleting" in (await cli("tenants", "delete", "acme", "--yes")).out


async def test_an_unknown_tenant_is_told(cli: Cli) -> None:
    assert "TENANT_NOT_FOUND" in (await cli("tenants", "get", "nobody", code=1)).err


@pytest.mark.parametrize("quota", ["max_streams", "max_streams=many", "max_dreams=1", "max_streams=-1"])
async def test_a_quota_that_is_none_ends_with_2(cli: Cli, quota: str) -> None:
    await cli("tenants", "quotas", "default", "--quota", quota, code=2)


async def test_a_recipient_from_its_profile_to_its_erasure(cli: Cli) -> None:
    arguments = ("--locale", "pt-BR", "--time-zone", "Europe/Lisbon", "--attribute", "team=a")
    await cli("recipients", "upsert", "zoe", *arguments)
    changed = (await cli("recipients", "upsert", "zoe", "--locale", "de", "--json")).json
    assert (changed["locale"], changed["timeZone"], changed["attributes"]) == (
        "de",
        "Europe/Lisbon",
        {"team": "a"},
    )
    assert "Europe/Lisbon" in (await cli("recipients", "get", "zoe")).out
    assert "zoe" in (await cli("recipients", "list", "--prefix", "z")).out

    await cli("send", "zoe", "--category", "c", "--title", "t")
    parts = (await cli("recipients", "export", "zoe")).lines
    assert [next(iter(part)) for part in parts] == ["recipient", "summary", "notification"]

    assert "erased, with 1 notifications" in (await cli("recipients", "delete", "zoe", "--yes")).out
    assert "RECIPIENT_NOT_FOUND" in (await cli("recipients", "get", "zoe", code=1)).err


async def test_a_bad_profile_is_told(cli: Cli) -> None:
    refused = await cli("recipients", "upsert", "zoe", "--time-zone", "Europe/Atlantis", code=1)
    assert "time_zone" in refused.err
    await cli("recipients", "upsert", "zoe", code=2)


async def test_without_a_yes_nothing_is_erased(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    await cli("recipients", "upsert", "yan", "--locale", "de")
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    await cli("recipients", "delete", "yan", code=1)
    await cli("recipients", "get", "yan")


async def test_a_topic_is_filled_and_broadcast_to(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    await cli("topics", "create", "releases", "--display-name", "New versions")
    assert "2 added" in (await cli("topics", "add", "releases", "top-1", "top-2")).out
    monkeypatch.setattr("sys.stdin", StringIO("top-3\n\n top-1 \n"))
    added = await cli("topics", "add", "releases", "--file", "-", "--json")
    assert added.json == {"addedCount": 1}
    assert "1 removed" in (await cli("topics", "remove", "releases", "top-2")).out
    listed = (await cli("topics", "members", "releases", "--json")).json
    assert [member["recipient"] for member in listed["members"]] == ["top-1", "top-3"]
    assert "New versions" in (await cli("topics", "list")).out

    arguments = ("--topic", "releases", "--category", "news", "--title", "Version 2")
    made = (await cli("broadcast", "create", *arguments, "--json")).json
    assert (made["state"], made["progress"]["deliveredCount"]) == ("BROADCAST_STATE_COMPLETED", "2")
    assert "Version 2" in (await cli("inbox", "top-1")).out
    shown = (await cli("broadcast", "get", made["broadcastId"])).out
    assert "topic releases" in shown
    assert "2 of 2" in shown
    assert made["broadcastId"] in (await cli("broadcast", "list")).out
    assert "BROADCAST_FINAL" in (await cli("broadcast", "cancel", made["broadcastId"], code=1)).err
    assert "releases" in (await cli("topics", "delete", "releases", "--yes")).out
    assert "TOPIC_NOT_FOUND" in (await cli("topics", "get", "releases", code=1)).err


async def test_a_broadcast_that_is_not_understood_ends_with_2(cli: Cli) -> None:
    await cli("broadcast", "create", "--category", "news", "--title", "t", code=2)
    await cli("broadcast", "create", "--everyone", "--topic", "t", "--category", "c", "--title", "t", code=2)
    await cli("broadcast", "create", "--everyone", "--title", "t", code=2)
    refused = await cli(
        "broadcast", "create", "--filter", "plan = pro", "--category", "c", "--title", "t", code=1
    )
    assert "position 0" in refused.err
