"""Topics and their members as rows."""

import asyncio
from pathlib import Path

import pytest

from tests.integration.store.conftest import MakeDesk
from tests.support.desk import Desk
from tests.support.stores import QUOTAS, START, TurnedClock, stored
from tocsin_server.domain.commands import (
    ChangeTenant,
    CreateTenant,
    CreateTopic,
    DeleteTopic,
    EraseTenant,
    EraseTopic,
)
from tocsin_server.domain.errors import QuotaExceeded, TopicExists, TopicNotFound
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.topic import Member, Topic
from tocsin_server.domain.value import replace
from tocsin_server.store.store import Store


@pytest.fixture
async def topic(desk: Desk) -> str:
    await create(desk, "news")
    return "news"


async def create(desk: Desk, name: str) -> Topic:
    return await desk.submit(CreateTopic(tenant=desk.tenant, topic=name, display_name=name.title()))


async def members(store: Store, topic: str, tenant: str = "default") -> list[str]:
    found = await store.topics.members(tenant, topic, "", 1_000)
    assert found is not None
    counted = await store.topics.topic(tenant, topic)
    assert counted is not None
    assert counted.member_count == len(found)
    return [member.recipient for member in found]


async def test_a_topic_is_there_once(desk: Desk, store: Store, clock: TurnedClock) -> None:
    created = await create(desk, "news")
    assert created == Topic("news", "News", 0, START)
    with pytest.raises(TopicExists):
        await create(desk, "news")
    assert await store.topics.topic("default", "news") == created
    assert await store.topics.topic("other", "news") is None


async def test_topics_are_listed_by_name(desk: Desk, store: Store, topic: str) -> None:
    for name in ("b", "a"):
        await create(desk, name)
    assert [each.name for each in await store.topics.topics("default", "", 2)] == ["a", "b"]
    assert [each.name for each in await store.topics.topics("default", "a", 2)] == ["b", "news"]


async def test_members_are_added_once_and_counted(
    desk: Desk, store: Store, topic: str, clock: TurnedClock
) -> None:
    assert await desk.add_members(topic, "bob", "ada") == 2
    clock.time += 1
    assert await desk.add_members(topic, "ada", "carol") == 1
    assert await members(store, topic) == ["ada", "bob", "carol"]
    page = await store.topics.members("default", topic, "ada", 10)
    assert page == [Member("bob", START), Member("carol", START + 1)]


async def test_an_unknown_member_becomes_a_recipient(desk: Desk, store: Store, topic: str) -> None:
    await desk.add_members(topic, "ada")
    recipient = await store.recipients.recipient("default", "ada")
    assert recipient is not None
    assert (await desk.inbox()).revision == 0


async def test_a_message_creates_all_recipients_or_none(
    tmp_path: Path, clock: TurnedClock, database_url: str | None
) -> None:
    quotas = replace(QUOTAS, max_recipients=2)
    async with stored(tmp_path, clock, url=database_url, quotas=quotas) as store:
        desk = Desk(store, clock)
        await create(desk, "news")
        with pytest.raises(QuotaExceeded):
            await desk.add_members("news", "a", "b", "c")
        assert await members(store, "news") == []
        assert await store.recipients.recipients("default", "", "", 10) == []
        assert await desk.add_members("news", "a", "b") == 2


async def test_members_are_removed_once(desk: Desk, store: Store, topic: str) -> None:
    await desk.add_members(topic, "ada", "bob")
    assert await desk.remove_members(topic, "ada", "carol") == 1
    assert await desk.remove_members(topic, "ada") == 0
    assert await members(store, topic) == ["bob"]
    assert await desk.add_members(topic, "ada") == 1


async def test_there_are_no_members_of_an_unknown_topic(desk: Desk, store: Store) -> None:
    with pytest.raises(TopicNotFound):
        await desk.add_members("news", "ada")
    with pytest.raises(TopicNotFound):
        await desk.remove_members("news", "ada")
    assert await store.topics.members("default", "news", "", 1) is None


async def test_a_recipient_that_is_erased_leaves_its_topics(desk: Desk, store: Store, topic: str) -> None:
    await create(desk, "other")
    for name in (topic, "other"):
        await desk.add_members(name, "ada", "bob")
    await desk.erase("ada")
    assert await members(store, topic) == await members(store, "other") == ["bob"]


async def test_a_deleted_topic_is_erased_in_chunks_while_its_name_is_used_again(
    desk: Desk, store: Store, topic: str
) -> None:
    await desk.add_members(topic, "ada", "bob", "carol")
    deleted = await desk.submit(DeleteTopic(tenant="default", topic=topic))
    assert deleted.member_count == 3
    with pytest.raises(TopicNotFound):
        await desk.submit(DeleteTopic(tenant="default", topic=topic))
    await create(desk, topic)
    await desk.add_members(topic, "ada")
    (topic_id,) = await store.topics.erasable_topics(10)
    counts = []
    more = True
    while more:
        receipt = await desk.submit(EraseTopic(tenant="", topic_id=topic_id, limit=2))
        counts.append(receipt.count)
        more = receipt.more
    assert counts == [2, 1]
    assert await store.topics.erasable_topics(10) == []
    assert await members(store, topic) == ["ada"]


async def test_members_are_added_from_many_sides(desk: Desk, store: Store, topic: str) -> None:
    keys = [f"r{number}" for number in range(40)]
    counts = await asyncio.gather(
        *(desk.add_members(topic, *keys[start : start + 10]) for start in range(0, 31, 3)),
        *(desk.add_members(topic, *reversed(keys[start : start + 10])) for start in range(0, 31, 5)),
    )
    assert sum(counts) == 40
    assert await members(store, topic) == sorted(keys)


async def test_a_tenant_is_erased_with_its_topics(desk: Desk, make_desk: MakeDesk, store: Store) -> None:
    await desk.submit(CreateTenant(tenant="default", name="t", display_name="", quotas=Quotas()))
    theirs = make_desk("t")
    await create(theirs, "news")
    await theirs.add_members("news", "ada", "bob")
    await theirs.upsert(locale="pt-BR")
    await desk.submit(ChangeTenant(tenant="default", name="t", state=TenantState.DELETING))
    more = True
    while more:
        more = (await desk.submit(EraseTenant(tenant="", name="t", limit=2))).more
    assert await store.topics.topics("t", "", 10) == []
