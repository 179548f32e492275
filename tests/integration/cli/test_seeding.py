"""`tocsin seed`: what it loads, that it loads it once, and that a broadcast reaches it."""

from collections import Counter

from tests.integration.cli.conftest import Cli
from tests.support.processes import ServerProcess, Servers
from tocsin import Client, connect
from tocsin.v1.broadcast_service_pb2 import Broadcast, BroadcastState
from tocsin.v1.inbox_service_pb2 import EntryView
from tocsin.v1.notification_pb2 import DecisionRule
from tocsin_server.cli.default_templates import default_templates
from tocsin_server.cli.seed.catalogue import TOPICS, categories
from tocsin_server.cli.seed.people import person

COUNT = 1_500
"""More than one message."""


async def test_a_tenant_is_loaded_once(cli: Cli, server: ServerProcess) -> None:
    people = [person(number) for number in range(COUNT)]
    said = [each for each in people if each.preferences is not None]
    members = Counter(topic for each in people for topic in each.topics)
    expected = {
        "createdTemplates": len(default_templates()),
        "categories": len(categories()),
        "topics": len(TOPICS),
        "recipients": COUNT,
        "preferences": len(said),
        "members": members.total(),
    }
    assert len(said) == COUNT // 20
    assert set(members) == set(TOPICS)
    loaded = (await cli("seed", "--recipients", str(COUNT), "--json")).json
    assert loaded.pop("seconds") > 0
    assert loaded == expected

    async with connect(server.address) as client:
        before = await _everything(client)
        assert len(before) == COUNT
        again = (await cli("seed", "--recipients", str(COUNT), "--json")).json
        assert again["createdTemplates"] == 0
        # Not even a time of change has moved.
        assert await _everything(client) == before
        for each in (people[1], said[-1]):
            found = await client.recipients.get(each.recipient.recipient)
            assert (found.locale, found.time_zone) == (each.recipient.locale, each.recipient.time_zone)
            assert found.attributes == each.recipient.attributes
            assert {(a.channel, a.value) for a in found.addresses} == {
                (a.channel, a.value) for a in each.recipient.addresses
            }
            chosen = await client.preferences.get(each.recipient.recipient)
            assert {(c.category, c.channel, c.allowed) for c in chosen.choices} == {
                (c.category, c.channel, c.allowed)
                for c in (each.preferences.choices if each.preferences is not None else ())
            }
        for topic, count in members.items():
            assert (await client.topics.get(topic)).member_count == count


async def test_a_larger_run_adds_to_a_smaller_one(cli: Cli, servers: Servers) -> None:
    server = await servers.start()
    there = cli.at(server.address)
    assert "100 recipients, 5 with preferences" in (await there("seed", "--recipients", "100")).out
    assert "1,100 recipients, 55 with preferences" in (await there("seed", "--recipients", "1100")).out
    async with connect(server.address) as client:
        assert len(await _everything(client)) == 1_100


async def test_what_is_refused_is_told(cli: Cli, servers: Servers) -> None:
    server = await servers.start({"TOCSIN_QUOTA_MAX_RECIPIENTS": "50"})
    failed = await cli.at(server.address)("seed", "--recipients", "3000", code=1)
    assert "QUOTA_EXCEEDED" in failed.err


async def test_a_broadcast_to_a_seeded_tenant_reaches_whoever_wants_it(cli: Cli, servers: Servers) -> None:
    server = await servers.start()
    await cli.at(server.address)("seed", "--recipients", "300")
    denied = {
        each.recipient.recipient
        for each in map(person, range(300))
        if each.preferences is not None
        and any(c.category == "product-news" and not c.allowed for c in each.preferences.choices)
    }
    assert denied
    async with connect(server.address) as client:
        done = await _broadcast(client, "plans/pro")
        meant = {each.recipient.recipient for each in map(person, range(300)) if "plans/pro" in each.topics}
        assert done.progress.targeted_count == len(meant)
        assert done.progress.delivered_count == len(meant - denied)

        done = await _broadcast(client, "")
        assert done.progress.targeted_count == 300
        assert done.progress.delivered_count == 300 - len(denied)
        assert {each.rule: each.count for each in done.progress.suppressed} == {
            DecisionRule.DECISION_RULE_PREFERENCE: len(denied)
        }
        for key in [person(number).recipient.recipient for number in range(0, 300, 10)]:
            entries = [each async for each in await client.inbox.entries(key, view=EntryView.ENTRY_VIEW_ALL)]
            assert len(entries) == (0 if key in denied else 1 + (key in meant)), key


async def _everything(client: Client) -> dict[str, bytes]:
    """All recipients, encoded, with the times at which they changed."""
    return {
        each.recipient: each.SerializeToString(deterministic=True)
        async for each in client.recipients.all(page_size=1_000)
    }


async def _broadcast(client: Client, topic: str) -> Broadcast:
    """A broadcast to a topic, or to everyone, once it is completed."""
    created = await client.broadcasts.create(
        topic=topic,
        everyone=not topic,
        category="product-news",
        content=("New: quiet hours", ""),
        channels=["inbox"],
    )
    *_, done = [each async for each in client.broadcasts.watch(created.broadcast_id, interval=0.02)]
    assert done.state == BroadcastState.BROADCAST_STATE_COMPLETED
    return done
