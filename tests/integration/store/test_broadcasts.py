"""Broadcasts as rows: who gets them, once, and what they leave behind."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.broadcasting import Station
from tests.support.desk import CODEC, Desk, receipt_of
from tests.support.stores import START, TurnedClock, stored
from tests.support.streams import ANYONE
from tocsin_server.domain.audience import FilterAudience, TopicAudience, matches, parse_filter
from tocsin_server.domain.broadcast import BroadcastState, Progress
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import (
    ChangeDefaultPreferences,
    ChangePreferences,
    ChangeTenant,
    Command,
    CreateTenant,
    CreateTopic,
    DeleteTopic,
    EraseTopic,
    ExpandBroadcast,
    FinishBroadcast,
    PlanClasses,
    PruneBroadcasts,
    UpsertCategory,
)
from tocsin_server.domain.content import Content, SimpleContent
from tocsin_server.domain.errors import BroadcastFinal, BroadcastNotFound, TocsinError
from tocsin_server.domain.ids import hash_in_id, recipient_hash
from tocsin_server.domain.inbox import InboxChange, Status
from tocsin_server.domain.notification import Channel, EventKind, NotificationSpec, Rule, TemplateRef
from tocsin_server.domain.preferences import Choice, PreferencesChange
from tocsin_server.domain.recipient import Address, Profile
from tocsin_server.domain.template import TemplateBody, TemplateDefinition
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import Committed
from tocsin_server.service.status import Component
from tocsin_server.service.tenant_cache import PolicyWatch
from tocsin_server.store.store import Store
from tocsin_server.workers.broadcast import _Run


@pytest.fixture
def station(store: Store, clock: TurnedClock) -> Station:
    return Station(store, clock)


async def people(desk: Desk, count: int, start: int = 0) -> list[str]:
    keys = [f"user-{number:05}" for number in range(start, start + count)]
    await asyncio.gather(*(desk.upsert(key, locale="pt") for key in keys))
    return keys


async def deny(desk: Desk, recipient: str, category: str = "orders") -> None:
    change = PreferencesChange(made=(Choice(False, category),))
    await desk.submit(
        ChangePreferences(tenant=desk.tenant, recipient=recipient, change=change, undefined=True)
    )


async def received(desk: Desk, keys: list[str]) -> dict[str, int]:
    """How many entries each has, of those who have any; the counts are checked."""
    found = {}
    for key in keys:
        try:
            inbox = await desk.check_counts(key)
        except AssertionError:
            continue
        if inbox.counts.total:
            found[key] = inbox.counts.total
    return found


async def test_everyone_gets_one_entry_like_any_other(
    station: Station, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    keys = await people(desk, 130)
    await desk.send(keys[3])
    broadcast = await station.delivered()
    assert broadcast.state is BroadcastState.COMPLETED
    assert broadcast.progress == Progress(130, 130, 130)
    for key in keys:
        inbox = await desk.check_counts(key)
        entry = (await desk.entries(key))[0]
        assert entry.revision == entry.content_revision == inbox.revision == (2 if key == keys[3] else 1)
        assert Status(entry.status or 0) is Status.UNSEEN
        assert hash_in_id(entry.id) == recipient_hash("default", key)
        assert entry.shared
        (event,) = await store.readers.timeline("default", entry.id, 10)
        assert (event.kind, event.time, event.revision) == (EventKind.STORED, START, inbox.revision)
        # Whoever resumes finds it among the changes.
        assert (await desk.changes(inbox.revision - 1, key))[0].id == entry.id
    ids = {(await desk.entries(key))[0].id for key in keys}
    assert len(ids) == len(keys)


async def test_a_second_broadcast_follows_on_the_first(station: Station, desk: Desk) -> None:
    keys = await people(desk, 60)
    await station.delivered(text="One")
    await station.delivered(text="Two")
    assert set((await received(desk, keys)).values()) == {2}
    assert [entry.revision for entry in await desk.entries(keys[0])] == [2, 1]


async def test_classes_are_planned_once_and_counted(station: Station, desk: Desk) -> None:
    keys = await people(desk, 200)
    for key in keys[::10]:
        await deny(desk, key)
    await desk.send("nobody-in-particular")
    broadcast = await station.delivered()
    assert broadcast.progress.suppressed == {int(Rule.PREFERENCE): 20}
    assert (broadcast.progress.processed, broadcast.progress.delivered) == (201, 181)
    assert set(keys) - set(await received(desk, keys)) == set(keys[::10])


async def test_a_preference_that_comes_before_its_turn_is_honoured(station: Station, desk: Desk) -> None:
    keys = await people(desk, 10)
    await station.create()
    await deny(desk, keys[9])
    await station.carry_out()
    assert set(await received(desk, keys)) == set(keys[:9])


async def test_what_the_tenant_says_before_their_turn_holds_for_the_rest(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    policies, watch = Policies(store.policies), PolicyWatch(store.policies, Component("policies", clock))
    watch.watch(policies)
    store.writer.listen(watch.on_commit)
    station = Station(store, clock, facts=SendFacts(policies, store.recipients, {}))
    keys = await people(desk, 120)
    broadcast = await station.create()
    (due,) = await store.broadcasts.due_broadcasts(10)
    run = station.worker._runs[broadcast.id] = _Run()
    while (await station.got(broadcast)).progress.processed < 50:
        await station.worker._expand(due, run)
    change = PreferencesChange(made=(Choice(False),))
    await desk.submit(ChangeDefaultPreferences(tenant="default", change=change))
    await station.carry_out()
    assert set(await received(desk, keys)) == set(keys[:50])
    found = await station.got(broadcast)
    assert found.progress == Progress(120, 120, 50, suppressed={int(Rule.PREFERENCE): 70})


async def test_a_version_that_is_activated_before_their_turn_is_what_the_rest_are_shown(
    station: Station, desk: Desk, store: Store
) -> None:
    async def activate(text: str) -> None:
        body = TemplateBody("", Content(SimpleContent(text)))
        await station.templates.create_version(
            ANYONE, "", "greeting", TemplateDefinition((body,)), activate=True
        )

    keys = await people(desk, 120)
    await activate("Old")
    spec = NotificationSpec("", "orders", template=TemplateRef("greeting"))
    broadcast = await station.create(spec=spec, text=None)
    (due,) = await store.broadcasts.due_broadcasts(10)
    run = station.worker._runs[broadcast.id] = _Run()
    while (await station.got(broadcast)).progress.processed < 50:
        await station.worker._expand(due, run)
    await activate("New")
    await station.carry_out()
    shown = [
        CODEC.content(entry.content or b"").fallback_text for key in keys for entry in await desk.entries(key)
    ]
    assert shown == ["Old"] * 50 + ["New"] * 70


async def test_whoever_comes_later_is_not_in_it(station: Station, desk: Desk, clock: TurnedClock) -> None:
    keys = await people(desk, 5)
    await station.create()
    clock.time += 1
    later = await people(desk, 5, 5)
    await desk.erase(keys[0])
    await station.carry_out()
    assert set(await received(desk, keys[1:] + later)) == set(keys[1:])


async def test_a_topic_is_reached_as_it_was(
    station: Station, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    await people(desk, 3)
    await desk.submit(CreateTopic(tenant="default", topic="news", display_name=""))
    await desk.add_members("news", "a", "b", "c", "d")
    clock.time += 1
    await desk.remove_members("news", "d")
    clock.time += 1
    first = await station.create(TopicAudience("news"))
    clock.time += 1
    await desk.remove_members("news", "a", "b")
    await desk.add_members("news", "e")
    clock.time += 1
    await desk.add_members("news", "b")
    second = await station.create(TopicAudience("news"))
    clock.time += 1
    await desk.submit(DeleteTopic(tenant="default", topic="news"))
    # Its members are kept for what is to reach them.
    assert await store.topics.erasable_topics(10) == []
    await station.carry_out()
    assert (await station.got(first)).progress.delivered == 3
    assert (await station.got(second)).progress.delivered == 3
    assert await received(desk, list("abcde")) == {"a": 1, "b": 2, "c": 2, "e": 1}
    (topic_id,) = await store.topics.erasable_topics(10)
    assert (await desk.submit(EraseTopic(tenant="", topic_id=topic_id))).count == 5
    assert await store.topics.erasable_topics(10) == []


async def test_who_left_and_came_back_out_of_turn_is_reached_once(
    station: Station, desk: Desk, clock: TurnedClock
) -> None:
    """Who comes back has begun to before it left, as two transactions may that wait for locks."""
    await desk.submit(CreateTopic(tenant="default", topic="news", display_name=""))
    await desk.add_members("news", "a", "b")
    clock.time += 1
    await station.create(TopicAudience("news"))
    clock.time += 5
    await desk.remove_members("news", "a")
    clock.time -= 3
    assert await desk.add_members("news", "a") == 1
    clock.time += 1
    await station.create(TopicAudience("news"))
    clock.time += 10
    await station.create(TopicAudience("news"))
    await station.carry_out()
    assert await received(desk, ["a", "b"]) == {"a": 3, "b": 3}


async def test_the_audience_is_counted_once(station: Station, desk: Desk) -> None:
    """As it was when the first replica counted it."""
    await people(desk, 120)
    broadcast = await station.create()
    await plan(station, broadcast.id)
    for targeted in (120, 119):
        await desk.submit(ExpandBroadcast(tenant="default", id=broadcast.id, limit=50, targeted=targeted))
        assert (await station.got(broadcast)).progress.targeted == 120


async def test_memberships_that_ended_are_swept_when_no_broadcast_needs_them(
    station: Station, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    await desk.submit(CreateTopic(tenant="default", topic="news", display_name=""))
    await desk.add_members("news", "a", "b")
    clock.time += 1
    await station.create(TopicAudience("news"))
    clock.time += 1
    await desk.remove_members("news", "a")
    assert await desk.remove_members("news", "a") == 0
    topic = await store.topics.topic("default", "news")
    assert topic is not None
    assert topic.member_count == 1
    assert await store.topics.erasable_topics(10) == []
    await station.carry_out()
    (topic_id,) = await store.topics.erasable_topics(10)
    assert (await desk.submit(EraseTopic(tenant="", topic_id=topic_id))).count == 1
    assert await store.topics.erasable_topics(10) == []
    assert await received(desk, ["a", "b"]) == {"a": 1, "b": 1}


async def test_a_filter_names_recipients_as_they_were(
    station: Station, desk: Desk, clock: TurnedClock
) -> None:
    pro = {"attributes": {"plan": "pro"}}
    for key in ("a", "b", "c"):
        await desk.upsert(key, **pro)
    await desk.upsert("d", attributes={"plan": "free"})
    clock.time += 1
    broadcast = await station.create(FilterAudience("attributes.plan = pro"))
    clock.time += 1
    await desk.upsert("a", attributes={"plan": "free"})
    await desk.upsert("d", **pro)
    await desk.upsert("new", **pro)
    clock.time += 1
    # There and back, and a change that makes no difference at first.
    await desk.upsert("b", locale="de")
    clock.time += 1
    await desk.upsert("b", attributes={})
    await desk.erase("c")
    await station.carry_out()
    assert await received(desk, ["a", "b", "c", "d", "new"]) == {"a": 1, "b": 1}
    assert (await station.got(broadcast)).progress.delivered == 2


@pytest.mark.parametrize(
    "filter",
    [
        "NOT " * 31 + "locale != pt",
        "NOT (attributes.a = 1 AND " * 15 + "locale = pt" + ")" * 15,
        "(attributes.a = 1 AND locale:* OR " * 31 + "attributes.a < 5" + ")" * 31,
        "NOT (locale = de OR attributes.a != 1 AND " * 15 + "attributes.a < 5" + ")" * 15,
    ],
)
async def test_a_filter_may_be_as_deep_as_it_is_accepted(station: Station, desk: Desk, filter: str) -> None:
    keys = await people(desk, 3)
    await desk.upsert(keys[0], attributes={"a": "1"})
    profiles = [Profile("pt", attributes={"a": "1"}), Profile("pt"), Profile("pt")]
    named = zip(keys, profiles, strict=True)
    meant = [key for key, profile in named if matches(parse_filter(filter), key, profile)]
    assert meant
    assert (await station.delivered(FilterAudience(filter))).state is BroadcastState.COMPLETED
    assert sorted(await received(desk, keys)) == meant


async def test_whom_a_filter_leaves_out_are_gone_through_in_chunks_too(station: Station, desk: Desk) -> None:
    """Or one transaction would look at all there are, while every sender waits."""
    keys = await people(desk, 120)
    broadcast = await station.create(FilterAudience(f"recipient = {keys[-1]} OR recipient = {keys[70]}"))
    chunk = ExpandBroadcast(tenant="default", id=broadcast.id, limit=50)
    receipt = await desk.submit(chunk)
    assert (receipt.state, receipt.taken, receipt.seen) == (BroadcastState.RUNNING, 0, 50)
    await plan(station, broadcast.id)
    receipt = await desk.submit(chunk)
    assert (receipt.state, receipt.taken, receipt.seen) == (BroadcastState.RUNNING, 1, 50)
    receipt = await desk.submit(chunk)
    assert (receipt.state, receipt.taken, receipt.seen) == (BroadcastState.COMPLETED, 1, 1)
    assert (await station.got(broadcast)).progress == Progress(2, 2, 2)
    assert await received(desk, keys) == {keys[70]: 1, keys[-1]: 1}


async def test_a_cancelled_broadcast_stops_where_it_is(station: Station, desk: Desk) -> None:
    keys = await people(desk, 120)
    broadcast = await station.create()
    await plan(station, broadcast.id)
    receipt = await desk.submit(ExpandBroadcast(tenant="default", id=broadcast.id, limit=50))
    assert (receipt.state, receipt.taken) == (BroadcastState.RUNNING, 50)
    cancelled = await station.cancel(broadcast)
    assert (cancelled.state, cancelled.progress.delivered) == (BroadcastState.CANCELLED, 50)
    await station.carry_out()
    assert set(await received(desk, keys)) == set(keys[:50])
    with pytest.raises(BroadcastFinal):
        await station.cancel(broadcast)
    receipt = await desk.submit(ExpandBroadcast(tenant="default", id=broadcast.id, limit=50))
    assert (receipt.state, receipt.taken) == (BroadcastState.CANCELLED, 0)


async def plan(station: Station, id: bytes) -> None:
    """Has what the next chunk asks for."""
    command = ExpandBroadcast(tenant=station.desk.tenant, id=id, limit=50)
    receipt = await station.desk.submit(command)
    (due,) = [each for each in await station.worker._reader.due_broadcasts(10) if each.broadcast.id == id]
    await station.desk.submit(await station.drafts.of_classes(due, receipt.unplanned))


async def test_two_chunks_at_once_reach_each_recipient_once(
    station: Station, desk: Desk, store: Store
) -> None:
    keys = await people(desk, 300)
    broadcast = await station.create()
    await plan(station, broadcast.id)
    command = ExpandBroadcast(tenant="default", id=broadcast.id, limit=30)
    state = BroadcastState.RUNNING
    while state is BroadcastState.RUNNING:
        sends: list[Command[Any]] = [desk.sending(key) for key in keys[::29]]
        answers = await store.writer.submit([command, *sends, command])
        state = receipt_of(answers[-1]).state
        for key in keys[::29]:
            await desk.check_counts(key)
    found = await received(desk, keys)
    shared = Counter[str]()
    for key in found:
        shared[key] = sum(entry.shared for entry in await desk.entries(key))
    assert shared == Counter(keys)


async def test_a_broadcast_waits_while_its_tenant_is_suspended(
    desk: Desk, store: Store, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the only one that there is, and as soon as it is looked at again."""
    monkeypatch.setattr("tocsin_server.workers.broadcast.LONGEST_ALONE_SECONDS", 0)
    await desk.submit(CreateTenant(tenant="default", name="acme", display_name="", quotas=Quotas()))
    station = Station(store, clock, "acme")
    await people(station.desk, 200)
    broadcast = await station.create()
    while not (await station.got(broadcast)).progress.processed:
        await station.worker.turn()
    begun = await station.got(broadcast)
    assert begun.state is BroadcastState.RUNNING
    await desk.submit(ChangeTenant(tenant="default", name="acme", state=TenantState.SUSPENDED))
    await station.carry_out()
    assert await station.got(broadcast) == begun
    await desk.submit(ChangeTenant(tenant="default", name="acme", state=TenantState.ACTIVE))
    await station.carry_out()
    assert (await station.got(broadcast)).progress == Progress(200, 200, 200)


async def test_a_broadcast_that_is_gone_when_it_is_given_up_ends_nothing(
    station: Station, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[type[Command[Any]]] = []

    async def failing(commands: Sequence[Command[Any]]) -> list[TocsinError]:
        (command,) = commands
        submitted.append(type(command))
        return [BroadcastNotFound(broadcast_id="") if FinishBroadcast in submitted else TocsinError("broken")]

    monkeypatch.setattr("tocsin_server.workers.broadcast.PAUSE_SECONDS", 0)
    await station.create()
    with monkeypatch.context() as patched:
        patched.setattr(store.writer, "submit", failing)
        while FinishBroadcast not in submitted:
            assert await station.worker.turn()


async def test_a_broadcast_waits_for_its_time(station: Station, desk: Desk, clock: TurnedClock) -> None:
    keys = await people(desk, 2)
    broadcast = await station.create(start_time=START + HOUR)
    await station.carry_out()
    assert (await station.got(broadcast)).state is BroadcastState.PENDING
    clock.time += HOUR
    await station.carry_out()
    assert set(await received(desk, keys)) == set(keys)
    assert (await station.got(broadcast)).start_time == START + HOUR


async def test_what_expires_meanwhile_is_given_up_for_the_rest(
    station: Station, desk: Desk, clock: TurnedClock
) -> None:
    keys = await people(desk, 100)
    spec = NotificationSpec("", "orders", expire_time=START + 30 * SECOND)
    broadcast = await station.create(spec=spec)
    await plan(station, broadcast.id)
    await desk.submit(ExpandBroadcast(tenant="default", id=broadcast.id, limit=40))
    clock.time += 30 * SECOND
    await station.carry_out()
    done = await station.got(broadcast)
    assert done.progress.suppressed == {int(Rule.EXPIRY): 60}
    # And what was delivered has expired, with the counts.
    assert await received(desk, keys) == {}
    assert (await desk.entries(keys[0]))[0].status == Status.GONE


async def test_a_shared_content_outlives_its_entries(
    station: Station, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    keys = await people(desk, 3)
    await station.delivered(text="Kept")
    ids = [(await desk.entries(key))[0].id for key in keys]
    await desk.cancel(ids[0])
    await desk.revise(ids[1], "Other")
    (entry,) = await desk.entries(keys[2])
    assert entry.content is not None
    assert b"Kept" in entry.content
    # It goes with the broadcast, which goes when none of its entries is left.
    prune = PruneBroadcasts(tenant="", cutoff=clock.time + HOUR)
    clock.time += 2 * HOUR
    assert not (await desk.submit(prune)).count
    await desk.cancel(*ids[1:])
    await desk.prune(clock.time + 1, *keys)
    assert (await desk.submit(prune)).count == 1
    assert not (await desk.submit(prune)).more
    assert await store.broadcasts.broadcasts("default", None, 10) == []


async def test_what_nobody_hears_of_is_not_told(
    tmp_path: Path, clock: TurnedClock, database_url: str | None
) -> None:
    commits: list[Committed] = []
    heard: set[tuple[str, str]] | None = {("default", "user-00001"), ("other", "user-00002")}
    async with stored(tmp_path, clock, url=database_url, commits=commits, heard=lambda: heard) as store:
        station = Station(store, clock)
        keys = await people(station.desk, 600)
        await station.delivered()
        chunks = [chunk for committed in commits for chunk in committed.chunks]
        (change,) = [each for chunk in chunks for each in chunk.changes({("default", key) for key in keys})]
        (entry,) = await station.desk.entries("user-00001")
        inbox = await station.desk.inbox("user-00001")
        assert isinstance(change, InboxChange)
        assert (change.id, change.revision, change.counts) == (entry.id, 1, inbox.counts)
        assert (change.incarnation, change.envelope) == (inbox.incarnation, entry.envelope)
        assert change.content == entry.content
        del commits[:]
        heard = None
        await station.delivered()
        chunks = [chunk for committed in commits for chunk in committed.chunks]
        assert sorted(entry.recipient for chunk in chunks for entry in chunk.entries) == keys
        assert max(len(chunk.entries) for chunk in chunks) <= 250


async def test_personal_recipients_are_among_the_others(store: Store, clock: TurnedClock, desk: Desk) -> None:
    station = Station(store, clock, providers={Channel.EMAIL: "log"})
    keys = await people(desk, 120)
    for key in keys[::7]:
        await desk.upsert(key, addresses=(Address(Channel.EMAIL, f"{key}@example.com"),))
    spec = NotificationSpec("", "orders", channels=(Channel.INBOX, Channel.EMAIL))
    broadcast = await station.delivered(spec=spec)
    assert broadcast.progress == Progress(120, 120, 120)
    assert set((await received(desk, keys)).values()) == {1}
    shared = {key for key in keys if (await desk.entries(key))[0].shared}
    assert shared == set(keys) - set(keys[::7])


async def test_an_unknown_broadcast_is_neither_planned_nor_expanded(desk: Desk) -> None:
    with pytest.raises(BroadcastNotFound):
        await desk.submit(ExpandBroadcast(tenant="default", id=bytes(16), limit=1))
    with pytest.raises(BroadcastNotFound):
        await desk.submit(PlanClasses(tenant="default", id=bytes(16), drafts=()))


async def test_entries_are_kept_as_long_as_the_category_says(
    station: Station, desk: Desk, store: Store, clock: TurnedClock
) -> None:
    category = Category("orders", retention=DAY)
    await desk.submit(UpsertCategory(tenant="default", category=category, fields=frozenset({"retention"})))
    keys = await people(desk, 3)
    await station.delivered()
    clock.time += DAY - 1
    await station.carry_out()
    assert len(await received(desk, keys)) == 3
    clock.time += 1
    await station.carry_out()
    assert await received(desk, keys) == {}
