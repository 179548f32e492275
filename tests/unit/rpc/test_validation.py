"""Every rule, a row each: the request that breaks it, and the fields that are named."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.contents import content_message
from tests.support.samples import CONTENTS
from tests.support.stores import START, TurnedClock
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1 import system_service_pb2 as system
from tocsin.v1 import tenant_service_pb2 as tenants
from tocsin_server.domain.content import Content
from tocsin_server.domain.errors import InvalidFields
from tocsin_server.domain.time import DAY, SECOND
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.rpc.rules import Rules
from tocsin_server.rpc.validation import Shape

SHAPE = Shape(Rules(TurnedClock()))
ID = "0199a5ed-4f7c-7c76-8c1e-db5fe6a021bf"
BEFORE_TIME = Timestamp(nanos=-1)
ADA = inbox.Position(recipient="ada")
WITHOUT_CURSOR = inbox.AttachAcknowledge(positions=[ADA])


def broken(message: Message) -> list[str]:
    try:
        SHAPE.check(message, message.SerializeToString())
    except InvalidFields as error:
        return [violation.field for violation in error.violations]
    return []


def send(
    change: Callable[[pb.NotificationSpec], object] = lambda spec: None, **fields: Any
) -> notifications.SendRequest:
    spec = pb.NotificationSpec(
        recipient="ada", category="orders", content=pb.Content(simple=pb.SimpleContent(title="t"))
    )
    change(spec)
    return notifications.SendRequest(notification=spec, **fields)


def with_spec(**fields: Any) -> notifications.SendRequest:
    return send(lambda spec: spec.MergeFrom(pb.NotificationSpec(**fields)))


def showing(content: Content) -> notifications.SendRequest:
    request = send()
    request.notification.content.CopyFrom(content_message(content))
    return request


def with_content(**kind: Any) -> notifications.SendRequest:
    return send(lambda spec: spec.content.CopyFrom(pb.Content(**kind)))


def overriding(**fields: Any) -> notifications.SendRequest:
    return with_spec(channel_overrides=[pb.ChannelOverride(**fields)])


def with_attribute(key: str, value: str) -> notifications.SendRequest:
    return with_spec(attributes={key: value})


def interactive(*inputs: pb.Input) -> notifications.SendRequest:
    approve = pb.Action(id="a", label="A", post_back="")
    return with_content(interactive=pb.InteractiveContent(title="t", actions=[approve], inputs=inputs))


def mark(**fields: Any) -> inbox.MarkEntriesRequest:
    return inbox.MarkEntriesRequest(recipient="ada", thread="t", **fields)


def upsert(**fields: Any) -> recipients.UpsertRecipientItem:
    return recipients.UpsertRecipientItem(recipient=recipients.Recipient(recipient="ada", **fields))


def upsert_of(*paths: str) -> recipients.UpsertRecipientItem:
    return recipients.UpsertRecipientItem(
        recipient=recipients.Recipient(recipient="ada"), update_mask=FieldMask(paths=paths)
    )


GOOD = [
    send(),
    send(request_id="r" * 128),
    with_spec(recipient="ä" * 128),  # characters, not bytes
    *map(showing, CONTENTS),
    with_spec(expire_time=timestamp(START - DAY)),  # has passed: suppressed, not refused
    with_spec(deliver_time=timestamp(START + 366 * DAY)),
    with_spec(deliver_delay=Duration(seconds=31_622_400)),
    with_attribute("empty", ""),  # a length of zero is a byte that looks like NUL
    interactive(
        pb.Input(name="n", kind=pb.INPUT_KIND_CHOICE, choices=["x"]),
        pb.Input(name="m", kind=pb.INPUT_KIND_DATE),
    ),
    with_spec(
        channel_overrides=[
            pb.ChannelOverride(channel=pb.CHANNEL_EMAIL, subject="s", from_name="n", text="t"),
            pb.ChannelOverride(channel=pb.CHANNEL_SMS, from_name="n"),
            pb.ChannelOverride(channel=pb.CHANNEL_PUSH, sound="s"),
            pb.ChannelOverride(channel=pb.CHANNEL_CHAT),
        ]
    ),
    # Items are checked one by one, elsewhere.
    notifications.SendBatchRequest(items=[notifications.SendItem()]),
    inbox.SubscribeRequest(recipients=[ADA], heartbeat_interval=Duration(seconds=300)),
    inbox.AttachRequest(start=inbox.AttachStart()),
    mark(mark=inbox.MARK_SNOOZED, snooze_until=timestamp(START + DAY)),
    upsert(time_zone="Europe/Lisbon", locale="pt-BR"),
    upsert(),
    notifications.ListNotificationsRequest(start_time=Timestamp(seconds=0)),
    tenants.UpdateQuotasRequest(tenant="t", quotas=tenants.Quotas()),
    system.GetStatusRequest(),
]

BAD = [
    # From the contract's options.
    (notifications.SendRequest(), ["notification"]),
    (send(request_id="r" * 129), ["request_id"]),
    (send(lambda spec: spec.ClearField("recipient")), ["notification.recipient", "notification.recipient"]),
    (with_spec(category="no spaces"), ["notification.category"]),
    (send(lambda spec: spec.ClearField("content")), ["notification.body"]),
    (with_content(), ["notification.content.kind"]),
    (with_content(simple=pb.SimpleContent()), ["notification.content.simple.title"]),
    (with_spec(priority=9), ["notification.priority"]),
    (with_spec(channels=[pb.CHANNEL_INBOX, pb.CHANNEL_INBOX]), ["notification.channels"]),
    (with_spec(channels=[pb.CHANNEL_UNSPECIFIED]), ["notification.channels[0]"]),
    (with_spec(actor=pb.Actor(id="a", avatar_url="ftp://x")), ["notification.actor.avatar_url"]),
    (overriding(channel=pb.CHANNEL_UNSPECIFIED), ["notification.channel_overrides[0].channel"]),
    (overriding(channel=pb.CHANNEL_INBOX, text="x"), ["notification.channel_overrides[0].channel"]),
    (overriding(channel=pb.CHANNEL_SMS, text="x" * 16_001), ["notification.channel_overrides[0].text"]),
    (with_spec(deliver_delay=Duration(seconds=-1)), ["notification.deliver_delay"]),
    (with_attribute("k" * 65, "v"), [f'notification.attributes["{"k" * 64}"]']),
    (
        with_content(card=pb.CardContent(title="t", actions=[pb.Action(id="a", label="A", url="JavaScript:x")])),
        ["notification.content.card.actions[0].url"],
    ),
    (
        with_content(card=pb.CardContent(title="t", fields=[pb.CardField(label="l"), pb.CardField()])),
        ["notification.content.card.fields[1].label"],
    ),
    (notifications.SendBatchRequest(), ["items"]),
    (notifications.GetNotificationRequest(notification_id="17"), ["notification_id"]),
    (upsert(addresses=[recipients.Address(channel=pb.CHANNEL_INBOX, value="x")]), ["recipient.addresses[0].channel"]),
    (upsert(locale="a b"), ["recipient.locale"]),
    # Several at once, and from both sources.
    (
        notifications.SendRequest(
            request_id="r" * 129, notification=with_spec(thread="t" * 129, expire_time=Timestamp()).notification
        ),
        ["request_id", "notification.thread", "notification.expire_time"],
    ),
    # Times.
    (with_spec(expire_time=Timestamp(seconds=253_402_300_800)), ["notification.expire_time"]),
    (with_spec(expire_time=Timestamp(seconds=START // SECOND, nanos=-1)), ["notification.expire_time"]),
    (with_spec(deliver_time=timestamp(START + 366 * DAY + 1)), ["notification.deliver_time"]),
    (with_spec(deliver_delay=Duration(seconds=1, nanos=-5)), ["notification.deliver_delay"]),
    (notifications.ListNotificationsRequest(end_time=Timestamp(seconds=-(10**12))), ["end_time"]),
    (inbox.GetSummaryRequest(recipients=["a"], max_staleness=Duration(nanos=2_000_000_000)), ["max_staleness"]),
    (
        with_content(timeline=pb.TimelineContent(title="t", entries=[pb.TimelineEntry(title="e", time=BEFORE_TIME)])),
        ["notification.content.timeline.entries[0].time"],
    ),
    (system.CreateApiKeyRequest(display_name="n", scopes=["send"], expire_time=Timestamp()), ["expire_time"]),
    # Several fields.
    (
        with_spec(channel_overrides=[pb.ChannelOverride(channel=pb.CHANNEL_EMAIL)] * 2),
        ["notification.channel_overrides[1].channel"],
    ),
    (overriding(channel=pb.CHANNEL_PUSH, subject="s"), ["notification.channel_overrides[0].subject"]),
    (overriding(channel=pb.CHANNEL_PUSH, from_name="n"), ["notification.channel_overrides[0].from_name"]),
    (overriding(channel=pb.CHANNEL_EMAIL, sound="s"), ["notification.channel_overrides[0].sound"]),
    (
        with_content(card=pb.CardContent(title="t", actions=[pb.Action(id="a", label="A", post_back="")] * 2)),
        ["notification.content.card.actions[1].id"],
    ),
    (
        interactive(pb.Input(name="n", kind=pb.INPUT_KIND_TEXT), pb.Input(name="n", kind=pb.INPUT_KIND_TEXT)),
        ["notification.content.interactive.inputs[1].name"],
    ),
    (
        interactive(pb.Input(name="n", kind=pb.INPUT_KIND_CHOICE)),
        ["notification.content.interactive.inputs[0].choices"],
    ),
    (
        interactive(pb.Input(name="n", kind=pb.INPUT_KIND_TEXT, choices=["x"])),
        ["notification.content.interactive.inputs[0].choices"],
    ),
    (inbox.SubscribeRequest(recipients=[ADA, ADA]), ["recipients[1].recipient"]),
    (inbox.AttachRequest(start=inbox.AttachStart(recipients=[ADA, ADA])), ["start.recipients[1].recipient"]),
    (inbox.AttachRequest(add=inbox.AttachAdd(recipients=[ADA, ADA])), ["add.recipients[1].recipient"]),
    (inbox.AttachRequest(acknowledge=WITHOUT_CURSOR), ["acknowledge.positions[0].cursor"]),
    (inbox.AttachRequest(), ["request"]),
    (inbox.AcknowledgeRequest(consumer="c", positions=[ADA]), ["positions[0].cursor"]),
    (mark(mark=inbox.MARK_SNOOZED), ["snooze_until"]),
    (mark(mark=inbox.MARK_READ, snooze_until=timestamp(START)), ["snooze_until"]),
    (mark(mark=inbox.MARK_SNOOZED, snooze_until=timestamp(START + 367 * DAY)), ["snooze_until"]),
    # What the server knows.
    (upsert(time_zone="Mars/Olympus"), ["recipient.time_zone"]),
    (upsert(time_zone="../../etc/passwd"), ["recipient.time_zone"]),
    (upsert(time_zone="Europe"), ["recipient.time_zone"]),
    (upsert_of("locale", "key"), ["update_mask.paths[1]"]),
    (
        tenants.UpdateQuotasRequest(tenant="t", quotas=tenants.Quotas(), update_mask=FieldMask(paths=["money"])),
        ["update_mask.paths[0]"],
    ),
    # NUL, which neither storage nor C takes for a character.
    (send(request_id="a\0"), ["request_id"]),
    (with_spec(thread="\0"), ["notification.thread"]),
    (with_attribute("k", "\0"), ['notification.attributes["k"]']),
    (with_attribute("k\0", "v"), ["notification.attributes"]),
    (inbox.GetSummaryRequest(recipients=["a", "\0"]), ["recipients[1]"]),
    (
        with_content(card=pb.CardContent(title="t", fields=[pb.CardField(label="l"), pb.CardField(label="\0")])),
        ["notification.content.card.fields[1].label"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("request_", GOOD, ids=lambda message: type(message).__name__)
def test_a_good_request_is_let_through(request_: Message) -> None:
    assert broken(request_) == []


@pytest.mark.parametrize(("request_", "fields"), BAD)
def test_what_is_wrong_is_named(request_: Message, fields: list[str]) -> None:
    assert broken(request_) == fields


def test_the_path_to_an_item_comes_first() -> None:
    item = notifications.SendItem(
        request_id="r" * 129, notification=send(lambda spec: spec.ClearField("category")).notification
    )
    with pytest.raises(InvalidFields) as error:
        SHAPE.check(item, item.SerializeToString(), "items[3].")
    fields = [violation.field for violation in error.value.violations]
    assert fields == [
        "items[3].request_id",
        "items[3].notification.category",
        "items[3].notification.category",
    ]


def test_a_violation_says_what_the_rule_wants() -> None:
    with pytest.raises(InvalidFields) as error:
        SHAPE.check(request := send(request_id="r" * 129), request.SerializeToString())
    assert [violation.description for violation in error.value.violations] == [
        "must be at most 128 characters"
    ]
