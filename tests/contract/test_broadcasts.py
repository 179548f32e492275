"""Broadcasts: accepted at once, carried out in the background, seen by whoever is in the audience."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.contract.conftest import Refusal, Start, Tocsin, reason, refused, spec
from tests.contract.receiving import Receiver
from tests.support.waiting import eventually
from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin.v1 import category_service_pb2 as categories
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_pb2
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1 import preference_service_pb2 as preferences
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1 import topic_service_pb2 as topics
from tocsin_server.domain.time import HOUR, SECOND

EVERYONE = pb.Audience(everyone=True)


def said(title: str = "To all", **fields: Any) -> notification_pb2.NotificationSpec:
    """What is sent, to nobody in particular."""
    message = spec("x", title, **fields)
    message.ClearField("recipient")
    return message


async def create(
    tocsin: Tocsin, audience: pb.Audience = EVERYONE, *, request_id: str = "", **fields: Any
) -> pb.CreateBroadcastResponse:
    request = pb.CreateBroadcastRequest(request_id=request_id, audience=audience, notification=said(**fields))
    return await tocsin.broadcasts.CreateBroadcast(request)


async def got(tocsin: Tocsin, broadcast: pb.Broadcast) -> pb.Broadcast:
    request = pb.GetBroadcastRequest(broadcast_id=broadcast.broadcast_id)
    return (await tocsin.broadcasts.GetBroadcast(request)).broadcast


async def finished(tocsin: Tocsin, broadcast: pb.Broadcast) -> pb.Broadcast:
    found = broadcast

    async def final() -> bool:
        nonlocal found
        found = await got(tocsin, broadcast)
        return found.state >= pb.BROADCAST_STATE_COMPLETED

    await eventually(final, "the broadcast to finish")
    return found


async def delivered(tocsin: Tocsin, audience: pb.Audience = EVERYONE, **fields: Any) -> pb.Broadcast:
    """Creates a broadcast and waits until everybody has had their turn."""
    return await finished(tocsin, (await create(tocsin, audience, **fields)).broadcast)


async def upsert(tocsin: Tocsin, *keys: str, **fields: Any) -> None:
    items = (
        recipients.UpsertRecipientItem(recipient=recipients.Recipient(recipient=key, **fields))
        for key in keys
    )
    await tocsin.recipients.UpsertRecipients(recipients.UpsertRecipientsRequest(items=items))


async def define(tocsin: Tocsin, category: str, **fields: Any) -> None:
    defined = categories.Category(category=category, **fields)
    await tocsin.categories.UpsertCategory(categories.UpsertCategoryRequest(category=defined))


async def deny(tocsin: Tocsin, recipient: str, category: str = "orders") -> None:
    await define(tocsin, category)
    choice = preferences.PreferenceChoice(category=category, allowed=False)
    request = preferences.UpdatePreferencesRequest(recipient=recipient, set_choices=[choice])
    await tocsin.preferences.UpdatePreferences(request)


async def received(tocsin: Tocsin, keys: Iterable[str]) -> list[str]:
    """Those of the recipients who have an entry."""
    return [key for key in keys if await tocsin.titles(key)]


async def test_a_broadcast_reaches_everyone_once(tocsin: Tocsin) -> None:
    keys = [f"user-{number:04}" for number in range(300)]
    await upsert(tocsin, *keys)
    created = await create(tocsin, request_id="c", title="Hello", thread="t", attributes={"k": "v"})
    assert created.broadcast.state == pb.BROADCAST_STATE_PENDING
    again = await create(tocsin, request_id="c", title="Hello", thread="t", attributes={"k": "v"})
    assert (again.broadcast, again.replayed) == (created.broadcast, True)
    done = await finished(tocsin, created.broadcast)
    assert done.state == pb.BROADCAST_STATE_COMPLETED
    progress = done.progress
    assert (progress.targeted_count, progress.processed_count, progress.delivered_count) == (300, 300, 300)
    assert done.finish_time.ToNanoseconds() >= done.create_time.ToNanoseconds()
    for key in keys:
        (entry,) = (await tocsin.entries(key)).entries
        assert (entry.recipient, entry.content.simple.title, entry.revision) == (key, "Hello", 1)
        assert (entry.category, entry.thread, dict(entry.attributes)) == ("orders", "t", {"k": "v"})
        assert entry.priority == notification_pb2.PRIORITY_NORMAL
    assert (await tocsin.entries("user-0000")).summary.unread == 1


async def test_an_entry_of_a_broadcast_is_like_any_other(tocsin: Tocsin) -> None:
    await upsert(tocsin, "ada", "bob")
    await delivered(tocsin, title="First")
    (entry,) = (await tocsin.entries("ada")).entries
    details = await tocsin.notifications.GetNotification(
        notifications.GetNotificationRequest(notification_id=entry.id)
    )
    assert details.notification.content.simple.title == "First"
    assert details.notification.recipient == "ada"
    (stored,) = details.timeline
    assert (stored.kind, stored.revision) == (notifications.TIMELINE_EVENT_KIND_STORED, 1)
    # It is marked, revised and cancelled without a trace on what others have.
    await tocsin.mark(inbox.MARK_READ, up_to_cursor=(await tocsin.entries("ada")).cursor)
    content = notification_pb2.Content(simple=notification_pb2.SimpleContent(title="Revised"))
    await tocsin.notifications.ReviseNotification(
        notifications.ReviseNotificationRequest(notification_id=entry.id, content=content)
    )
    assert (await tocsin.titles("ada"), await tocsin.titles("bob")) == (["Revised"], ["First"])
    (other,) = (await tocsin.entries("bob")).entries
    ids = notification_pb2.NotificationIds(ids=[other.id])
    await tocsin.notifications.CancelNotifications(
        notifications.CancelNotificationsRequest(notifications=ids)
    )
    assert await tocsin.titles("bob") == []
    listed = await tocsin.notifications.ListNotifications(
        notifications.ListNotificationsRequest(recipient="ada")
    )
    assert [each.notification.id for each in listed.notifications] == [entry.id]


async def test_a_topic_is_an_audience_as_it_was(tocsin: Tocsin) -> None:
    await tocsin.topics.CreateTopic(topics.CreateTopicRequest(topic="news"))
    await upsert(tocsin, "outside")

    async def add(*keys: str) -> None:
        message = topics.AddMembersRequest(topic="news", recipients=keys)
        await tocsin.topics.AddMembers(iter((message,)))

    await add("ada", "bob")
    start = tocsin.clock.now() + HOUR
    later = notification_pb2.NotificationSpec()
    later.deliver_time.FromMicroseconds(start)
    created = await create(tocsin, pb.Audience(topic="news"), deliver_time=later.deliver_time)
    # What becomes of the topic later makes no difference.
    await add("carol")
    removing = topics.RemoveMembersRequest(topic="news", recipients=["ada"])
    await tocsin.topics.RemoveMembers(iter((removing,)))
    await tocsin.topics.DeleteTopic(topics.DeleteTopicRequest(topic="news"))
    assert (await got(tocsin, created.broadcast)).state == pb.BROADCAST_STATE_PENDING
    tocsin.turn_clock(HOUR + SECOND)
    done = await finished(tocsin, created.broadcast)
    assert done.progress.delivered_count == 2
    assert await received(tocsin, ("ada", "bob", "carol", "outside")) == ["ada", "bob"]
    assert await reason(create(tocsin, pb.Audience(topic="news"))) == "TOPIC_NOT_FOUND"


async def test_a_filter_is_an_audience_as_it_was(tocsin: Tocsin) -> None:
    await upsert(tocsin, "pro-1", "pro-2", "pro-3", attributes={"plan": "pro"}, locale="pt-BR")
    await upsert(tocsin, "free-1", "free-2", attributes={"plan": "free"})
    await upsert(tocsin, "nobody")
    audience = pb.Audience(filter='attributes.plan = "pro" AND locale = "pt-BR"')
    start = notification_pb2.NotificationSpec()
    start.deliver_time.FromMicroseconds(tocsin.clock.now() + HOUR)
    created = await create(tocsin, audience, deliver_time=start.deliver_time)
    await upsert(tocsin, "pro-1", attributes={"plan": "free"})
    await upsert(tocsin, "free-1", attributes={"plan": "pro"}, locale="pt-BR")
    await upsert(tocsin, "new", attributes={"plan": "pro"}, locale="pt-BR")
    for plan in ("free", "pro"):
        await upsert(tocsin, "pro-2", attributes={"plan": plan}, locale="pt-BR")
    await tocsin.recipients.DeleteRecipient(recipients.DeleteRecipientRequest(recipient="pro-3"))
    tocsin.turn_clock(HOUR + SECOND)
    await finished(tocsin, created.broadcast)
    keys = ("pro-1", "pro-2", "pro-3", "free-1", "free-2", "nobody", "new")
    assert await received(tocsin, keys) == ["pro-1", "pro-2"]


async def test_preferences_are_honoured_and_counted(tocsin: Tocsin) -> None:
    await upsert(tocsin, "ada", "bob", "carol")
    await deny(tocsin, "bob")
    done = await delivered(tocsin)
    assert await received(tocsin, ("ada", "bob", "carol")) == ["ada", "carol"]
    (suppressed,) = done.progress.suppressed
    assert (suppressed.rule, suppressed.count) == (notification_pb2.DECISION_RULE_PREFERENCE, 1)
    assert (done.progress.processed_count, done.progress.delivered_count) == (3, 2)
    # A mandatory category is denied by nobody.
    await define(tocsin, "security", mandatory=True)
    done = await delivered(tocsin, category="security")
    assert done.progress.delivered_count == 3


async def test_what_expired_before_it_began_reaches_nobody(tocsin: Tocsin) -> None:
    await upsert(tocsin, "ada")
    expired = notification_pb2.NotificationSpec()
    expired.expire_time.FromMicroseconds(tocsin.clock.now() - SECOND)
    done = await delivered(tocsin, expire_time=expired.expire_time)
    (suppressed,) = done.progress.suppressed
    assert suppressed.rule == notification_pb2.DECISION_RULE_EXPIRY


async def test_entries_of_a_broadcast_expire(tocsin: Tocsin) -> None:
    await upsert(tocsin, "ada", "bob")
    expiring = notification_pb2.NotificationSpec()
    expiring.expire_time.FromMicroseconds(tocsin.clock.now() + HOUR)
    await delivered(tocsin, expire_time=expiring.expire_time)
    assert (await tocsin.entries("ada")).summary.unread == 1
    tocsin.turn_clock(HOUR + SECOND)

    async def counted() -> bool:
        return [(await tocsin.entries(key)).summary.unread for key in ("ada", "bob")] == [0, 0]

    await eventually(counted, "the entries to expire")


async def test_a_broadcast_goes_out_on_other_channels(start: Start) -> None:
    tocsin = await start(log_channels="email")
    address = recipients.Address(channel=notification_pb2.CHANNEL_EMAIL, value="ada@example.com")
    await upsert(tocsin, "ada", addresses=[address])
    await upsert(tocsin, "bob")
    both = [notification_pb2.CHANNEL_INBOX, notification_pb2.CHANNEL_EMAIL]
    done = await delivered(tocsin, channels=both)
    assert done.progress.delivered_count == 2
    (entry,) = (await tocsin.entries("ada")).entries
    details = await tocsin.notifications.GetNotification(
        notifications.GetNotificationRequest(notification_id=entry.id)
    )
    assert [each.channel for each in details.deliveries] == [notification_pb2.CHANNEL_EMAIL]
    (entry,) = (await tocsin.entries("bob")).entries
    details = await tocsin.notifications.GetNotification(
        notifications.GetNotificationRequest(notification_id=entry.id)
    )
    (stored,) = details.timeline
    assert [each.rule for each in stored.decisions] == [notification_pb2.DECISION_RULE_NO_ADDRESS]
    done = await delivered(tocsin, channels=both[1:])
    assert (done.progress.delivered_count, done.progress.suppressed[0].count) == (1, 1)


async def test_a_live_stream_gets_an_entry_of_a_broadcast(tocsin: Tocsin) -> None:
    await upsert(tocsin, "ada", "bob")
    await tocsin.send("ada", "Before")
    request = inbox.SubscribeRequest(
        recipients=[inbox.Position(recipient="ada")], start=inbox.START_BEGINNING
    )
    receiver = await Receiver(tocsin.inbox.Subscribe(request)).got("Before")
    await delivered(tocsin, title="Live")
    await receiver.got("Before", "Live")
    entry = receiver.entries[1]
    (stored,) = (await tocsin.entries("ada", page_size=1)).entries
    assert entry == stored


async def test_a_broadcast_is_cancelled_once(tocsin: Tocsin) -> None:
    await upsert(tocsin, "ada")
    start = notification_pb2.NotificationSpec()
    start.deliver_time.FromMicroseconds(tocsin.clock.now() + HOUR)
    created = await create(tocsin, deliver_time=start.deliver_time)
    request = pb.CancelBroadcastRequest(request_id="x", broadcast_id=created.broadcast.broadcast_id)
    cancelled = await tocsin.broadcasts.CancelBroadcast(request)
    assert cancelled.broadcast.state == pb.BROADCAST_STATE_CANCELLED
    assert (await tocsin.broadcasts.CancelBroadcast(request)).replayed
    request.request_id = ""
    assert await refused(_cancel(tocsin, request)) == Refusal(
        "FAILED_PRECONDITION", "BROADCAST_FINAL", {"state": "CANCELLED"}, []
    )
    tocsin.turn_clock(2 * HOUR)
    done = await delivered(tocsin, title="Another")
    assert done.progress.delivered_count == 1
    assert await tocsin.titles("ada") == ["Another"]


async def _cancel(tocsin: Tocsin, request: pb.CancelBroadcastRequest) -> pb.CancelBroadcastResponse:
    return await tocsin.broadcasts.CancelBroadcast(request)


async def test_broadcasts_are_listed_latest_first(tocsin: Tocsin) -> None:
    ids = [(await create(tocsin)).broadcast.broadcast_id for _ in range(3)]
    first = await tocsin.broadcasts.ListBroadcasts(pb.ListBroadcastsRequest(page_size=2))
    rest = await tocsin.broadcasts.ListBroadcasts(
        pb.ListBroadcastsRequest(page_size=2, page_token=first.next_page_token)
    )
    found = [each.broadcast_id for page in (first, rest) for each in page.broadcasts]
    assert (found, rest.next_page_token) == (ids[::-1], "")
    token = pb.ListBroadcastsRequest(page_token="x" * 20)
    assert await reason(_list(tocsin, token)) == "PAGE_TOKEN_INVALID"


async def _list(tocsin: Tocsin, request: pb.ListBroadcastsRequest) -> pb.ListBroadcastsResponse:
    return await tocsin.broadcasts.ListBroadcasts(request)


async def test_a_broadcast_shows_what_was_asked(tocsin: Tocsin) -> None:
    audience = pb.Audience(filter="locale = de")
    actor = notification_pb2.Actor(id="a", name="Ada")
    channels = [notification_pb2.CHANNEL_INBOX]
    fields: dict[str, Any] = {"thread": "t", "actor": actor, "channels": channels, "attributes": {"a": "b"}}
    created = (await create(tocsin, audience, **fields)).broadcast
    expected = said(**fields)
    expected.ClearField("content")
    assert (created.audience, created.notification) == (audience, expected)


@pytest.mark.parametrize(
    ("audience", "fields"),
    [
        (pb.Audience(), {"audience.audience"}),
        (pb.Audience(everyone=False), {"audience.everyone"}),
        (pb.Audience(topic=""), {"audience.topic"}),
        (pb.Audience(filter=""), {"audience.filter"}),
        (pb.Audience(filter="x" * 2_049), {"audience.filter"}),
    ],
)
async def test_an_audience_is_needed(tocsin: Tocsin, audience: pb.Audience, fields: set[str]) -> None:
    assert set((await refused(create(tocsin, audience))).fields) == fields


async def test_a_filter_that_is_not_understood_is_refused_with_its_place(tocsin: Tocsin) -> None:
    refusal = await refused(create(tocsin, pb.Audience(filter="plan = pro")))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "FILTER_INVALID")
    assert refusal.metadata["position"] == "0"


async def test_what_is_broadcast_is_checked_as_what_is_sent(tocsin: Tocsin) -> None:
    async def asked(message: notification_pb2.NotificationSpec) -> None:
        await tocsin.broadcasts.CreateBroadcast(
            pb.CreateBroadcastRequest(audience=EVERYONE, notification=message)
        )

    assert (await refused(asked(spec("ada")))).fields == ["notification.recipient"]
    assert set((await refused(asked(said(category="")))).fields) == {"notification.category"}
    bodiless = said()
    bodiless.ClearField("content")
    assert (await refused(asked(bodiless))).fields == ["notification.body"]
    assert (await refused(asked(said(batch_key="k")))).metadata == {"field": "notification.batch_key"}
    assert "notification.category" in (await refused(asked(notification_pb2.NotificationSpec()))).fields


async def test_an_unknown_broadcast_is_not_found(tocsin: Tocsin) -> None:
    unknown = pb.Broadcast(broadcast_id="01890a5d-ac96-774b-bcce-b302099a8057")
    metadata = {"broadcast_id": unknown.broadcast_id}
    assert await refused(got(tocsin, unknown)) == Refusal("NOT_FOUND", "BROADCAST_NOT_FOUND", metadata, [])
    cancel = pb.CancelBroadcastRequest(broadcast_id=unknown.broadcast_id)
    assert await reason(_cancel(tocsin, cancel)) == "BROADCAST_NOT_FOUND"
    assert (await refused(got(tocsin, pb.Broadcast(broadcast_id="x")))).fields == ["broadcast_id"]


async def test_a_key_for_some_cannot_broadcast(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    some = await tocsin.create_key("send", recipients=["a*"], metadata=admin.metadata)
    news = await tocsin.create_key("send", categories=["news"], metadata=admin.metadata)
    reader = await tocsin.create_key("notifications:read", metadata=admin.metadata)
    request = pb.CreateBroadcastRequest(audience=EVERYONE, notification=said())
    for key, expected in (
        (some, "RECIPIENT_NOT_ALLOWED"),
        (news, "CATEGORY_NOT_ALLOWED"),
        (reader, "SCOPE_MISSING"),
    ):
        call = tocsin.broadcasts.CreateBroadcast(request, metadata=key.metadata)
        assert await reason(call) == expected


async def test_only_so_many_broadcasts_wait(tocsin: Tocsin) -> None:
    start = notification_pb2.NotificationSpec()
    start.deliver_time.FromMicroseconds(tocsin.clock.now() + HOUR)
    for _ in range(100):
        await create(tocsin, deliver_time=start.deliver_time)
    refusal = await refused(create(tocsin))
    assert refusal.reason == "QUOTA_EXCEEDED"
    assert refusal.metadata == {"quota": "unfinished_broadcasts", "limit": "100"}
