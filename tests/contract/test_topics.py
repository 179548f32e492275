"""Topics: created, filled by the thousand, listed, deleted."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.contract.conftest import Refusal, Tocsin, reason, refused
from tests.support.waiting import eventually
from tocsin import connect
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1 import topic_service_pb2 as pb


async def create(tocsin: Tocsin, topic: str = "news", **fields: str) -> pb.CreateTopicResponse:
    return await tocsin.topics.CreateTopic(pb.CreateTopicRequest(topic=topic, **fields))


async def got(tocsin: Tocsin, topic: str = "news") -> pb.Topic:
    return (await tocsin.topics.GetTopic(pb.GetTopicRequest(topic=topic))).topic


def adding(*messages: Iterable[str], topic: str = "news") -> Iterable[pb.AddMembersRequest]:
    return (
        pb.AddMembersRequest(request_id=f"r{number}", topic=topic, recipients=keys)
        for number, keys in enumerate(messages)
    )


async def members(tocsin: Tocsin, topic: str = "news") -> list[str]:
    """All of them, page by page."""
    found: list[str] = []
    request = pb.ListMembersRequest(topic=topic, page_size=2)
    while True:
        page = await tocsin.topics.ListMembers(request)
        found += [member.recipient for member in page.members]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_topic_is_created_once(tocsin: Tocsin) -> None:
    created = await create(tocsin, display_name="News", request_id="c")
    assert (created.topic.topic, created.topic.display_name, created.replayed) == ("news", "News", False)
    again = await create(tocsin, display_name="News", request_id="c")
    assert (again.topic, again.replayed) == (created.topic, True)
    assert await refused(create(tocsin)) == Refusal("ALREADY_EXISTS", "TOPIC_EXISTS", {"topic": "news"}, [])
    assert await reason(create(tocsin, "other", request_id="c")) == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("name", ["", "-a", "a b", "a" * 129, "é"])
async def test_a_topic_has_a_plain_name(tocsin: Tocsin, name: str) -> None:
    assert set((await refused(create(tocsin, name))).fields) == {"topic"}


async def test_topics_are_listed_by_name(tocsin: Tocsin) -> None:
    for name in ("b", "a", "c"):
        await create(tocsin, name)
    first = await tocsin.topics.ListTopics(pb.ListTopicsRequest(page_size=2))
    rest = await tocsin.topics.ListTopics(pb.ListTopicsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.topic for page in (first, rest) for each in page.topics] == ["a", "b", "c"]
    assert rest.next_page_token == ""
    call = tocsin.topics.ListTopics(pb.ListTopicsRequest(page_token="x" * 20))
    assert await reason(call) == "PAGE_TOKEN_INVALID"


async def test_members_come_and_go_in_streams(tocsin: Tocsin) -> None:
    await create(tocsin)
    keys = [f"user-{number:04}" for number in range(2_500)]
    messages = [keys[start : start + 1_000] for start in range(0, 2_500, 1_000)]
    added = await tocsin.topics.AddMembers(iter(adding(*messages, ["user-0000", "user-0000", "ada"])))
    assert (added.message_count, added.added_count) == (4, 2_501)
    assert (await got(tocsin)).member_count == 2_501
    # The same messages again say what they said first.
    again = await tocsin.topics.AddMembers(iter(adding(*messages)))
    assert (again.message_count, again.added_count) == (3, 2_500)
    removing = [pb.RemoveMembersRequest(topic="news", recipients=message) for message in messages]
    removed = await tocsin.topics.RemoveMembers(iter(removing))
    assert (removed.message_count, removed.removed_count) == (3, 2_500)
    assert await members(tocsin) == ["ada"]


async def test_an_empty_stream_adds_nobody(tocsin: Tocsin) -> None:
    response = await tocsin.topics.AddMembers(iter(()))
    assert (response.message_count, response.added_count) == (0, 0)


async def test_members_are_listed_by_key(tocsin: Tocsin) -> None:
    await create(tocsin)
    await tocsin.topics.AddMembers(iter(adding(["eve", "bob"], ["ada", "dan", "carol"])))
    assert await members(tocsin) == ["ada", "bob", "carol", "dan", "eve"]
    assert await reason(tocsin.topics.ListMembers(pb.ListMembersRequest(topic="x"))) == "TOPIC_NOT_FOUND"


async def test_a_stream_that_breaks_says_how_far_it_got(tocsin: Tocsin) -> None:
    await create(tocsin)
    messages = [*adding(["a"], ["b"]), pb.AddMembersRequest(topic="other", recipients=["c"])]
    refusal = await refused(_call(tocsin, messages))
    assert refusal == Refusal("NOT_FOUND", "TOPIC_NOT_FOUND", {"topic": "other", "messages": "2"}, [])
    assert await members(tocsin) == ["a", "b"]
    refusal = await refused(
        _call(
            tocsin, [pb.AddMembersRequest(topic="news", recipients=["d"]), pb.AddMembersRequest(topic="news")]
        )
    )
    assert (refusal.reason, refusal.metadata["messages"], refusal.fields) == (
        "INVALID_FIELD",
        "1",
        ["recipients"],
    )
    assert await members(tocsin) == ["a", "b", "d"]


async def _call(tocsin: Tocsin, messages: list[pb.AddMembersRequest]) -> pb.AddMembersResponse:
    return await tocsin.topics.AddMembers(iter(messages))


async def test_a_key_adds_and_sees_its_recipients_only(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    mine = await tocsin.create_key(
        "recipients:read", "recipients:write", recipients=["mine-*"], metadata=admin.metadata
    )
    await tocsin.topics.CreateTopic(pb.CreateTopicRequest(topic="news"), metadata=admin.metadata)

    async def add(*keys: str) -> pb.AddMembersResponse:
        request = pb.AddMembersRequest(topic="news", recipients=keys)
        return await tocsin.topics.AddMembers(iter((request,)), metadata=mine.metadata)

    assert await reason(add("mine-1", "theirs")) == "RECIPIENT_NOT_ALLOWED"
    await tocsin.topics.AddMembers(iter(adding(["mine-2", "theirs"])), metadata=admin.metadata)
    page = await tocsin.topics.ListMembers(pb.ListMembersRequest(topic="news"), metadata=mine.metadata)
    assert [member.recipient for member in page.members] == ["mine-2"]


async def test_a_topic_needs_scopes(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    key = await tocsin.create_key("send", metadata=admin.metadata)
    for call in (
        tocsin.topics.CreateTopic(pb.CreateTopicRequest(topic="t"), metadata=key.metadata),
        tocsin.topics.GetTopic(pb.GetTopicRequest(topic="t"), metadata=key.metadata),
    ):
        assert await reason(call) == "SCOPE_MISSING"


async def test_a_deleted_topic_is_gone_at_once_and_its_recipients_stay(tocsin: Tocsin) -> None:
    await create(tocsin)
    await tocsin.topics.AddMembers(iter(adding(["ada"])))
    request = pb.DeleteTopicRequest(topic="news", request_id="d")
    deleted = await tocsin.topics.DeleteTopic(request)
    assert (deleted.topic.member_count, deleted.replayed) == (1, False)
    assert (await tocsin.topics.DeleteTopic(request)).replayed
    assert await reason(got(tocsin)) == "TOPIC_NOT_FOUND"
    await create(tocsin)
    assert (await got(tocsin)).member_count == 0
    await tocsin.recipients.GetRecipient(recipients.GetRecipientRequest(recipient="ada"))
    store = tocsin.server.store

    async def erased() -> bool:
        return await store.topics.erasable_topics(1) == []

    await eventually(erased, "the members to be removed")


async def test_streams_of_members_do_not_wait_for_each_other(tocsin: Tocsin) -> None:
    await create(tocsin)

    def messages(stream: int) -> Iterable[pb.AddMembersRequest]:
        return (pb.AddMembersRequest(topic="news", recipients=[f"{stream}-{each}"]) for each in range(20))

    responses = await asyncio.gather(
        *(tocsin.topics.AddMembers(iter(messages(stream))) for stream in range(5))
    )
    assert sum(response.added_count for response in responses) == 100
    assert (await got(tocsin)).member_count == 100


async def test_the_client_adds_a_thousand_at_a_time(tocsin: Tocsin) -> None:
    async with connect(f"127.0.0.1:{tocsin.server.port}") as client:
        await client.topics.create("news")
        keys = [f"user-{number:04}" for number in range(2_005)]
        assert await client.topics.add_members("news", iter(keys)) == 2_005
        assert await client.topics.remove_members("news", keys[5:]) == 2_000
        assert [each.recipient async for each in client.topics.members("news", page_size=2)] == keys[:5]
        assert [each.member_count async for each in client.topics.all()] == [5]
        assert (await client.topics.delete("news")).member_count == 5
