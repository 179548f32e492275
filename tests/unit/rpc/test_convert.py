"""Whatever the rules let through can be converted, and says the same on the other side."""

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.contents import content_message
from tests.support.samples import CONTENTS, NOON, SPEC
from tests.support.stores import TurnedClock
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1 import system_service_pb2 as system
from tocsin.v1 import template_service_pb2 as templates
from tocsin_server.domain.content import Content, derive_fallback_text
from tocsin_server.domain.errors import FeatureNotBuilt, InvalidFields
from tocsin_server.domain.inbox import Mark
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.value import replace
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.convert.content import content_from
from tocsin_server.rpc.convert.inbox import options_from, selection_from, view_from
from tocsin_server.rpc.convert.notifications import filter_from
from tocsin_server.rpc.convert.recipients import upsert_request_from
from tocsin_server.rpc.convert.sending import send_request_from
from tocsin_server.rpc.convert.system import key_request_from
from tocsin_server.rpc.convert.templates import definition_from, definition_message, facts_from, source_from
from tocsin_server.rpc.convert.times import duration, micros, timestamp
from tocsin_server.rpc.rules import Rules
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.sending import SendRequest

SHAPE = Shape(Rules(TurnedClock()))
CODEC = WireCodec()
SPEC_MESSAGE = pb.NotificationSpec(
    recipient="adä",
    category="orders.shipped",
    content=content_message(CONTENTS[0]),
    priority=pb.PRIORITY_HIGH,
    expire_time=timestamp(NOON + 60_000_000),
    thread="order-17",
    actor=pb.Actor(id="u1", name="Bob", avatar_url="https://shop.example/bob.png"),
    attributes={"order": "17", "note": ""},
)


def converted(message: pb.NotificationSpec) -> Any:
    return send_request_from(notifications.SendItem(request_id="r", notification=message)).spec


def test_a_spec_says_what_its_message_says() -> None:
    assert converted(SPEC_MESSAGE) == SPEC


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pb.NotificationSpec(deliver_time=timestamp(NOON)), {"deliver_time": NOON}),
        (pb.NotificationSpec(deliver_time=Timestamp()), {"deliver_time": 0}),
        (pb.NotificationSpec(deliver_delay=Duration(seconds=3, nanos=5_000)), {"deliver_delay": 3_000_005}),
        (pb.NotificationSpec(deliver_delay=Duration()), {"deliver_delay": 0}),
        (pb.NotificationSpec(channels=[pb.CHANNEL_INBOX]), {"channels": (Channel.INBOX,)}),
        (pb.NotificationSpec(no_batch=False), {}),
    ],
)
def test_what_is_set_is_taken(given: pb.NotificationSpec, expected: dict[str, Any]) -> None:
    message = pb.NotificationSpec()
    message.CopyFrom(SPEC_MESSAGE)
    message.MergeFrom(given)
    assert converted(message) == replace(SPEC, **expected)


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content.kind).__name__)
def test_content_comes_back_as_it_was(content: Content) -> None:
    assert content_from(content_message(content)) == content


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content.kind).__name__)
def test_a_definition_comes_back_as_it_was(content: Content) -> None:
    definition = templates.TemplateDefinition(
        bodies=[
            templates.TemplateBody(
                locale="pt-BR",
                content=content_message(content),
                elements=[
                    templates.TemplateElement(
                        path="list.items[0]", each="data.a", when="x", limit=3, **{"as": "one"}
                    )
                ],
                values=[templates.TemplateValue(path="list.total_count", value="3")],
                channels=[
                    templates.TemplateChannel(
                        channel=pb.CHANNEL_EMAIL, subject="s", title="t", text="x", html="h", mjml="m"
                    )
                ],
            )
        ],
        lenient=True,
    )
    assert definition_message(definition_from(definition)) == definition


@pytest.mark.parametrize("time", [0, 1, 999_999, 1_000_000, NOON, -1, -62_135_596_800_000_000])
def test_times_come_back_as_they_were(time: int) -> None:
    message = timestamp(time)
    assert message is not None
    assert 0 <= message.nanos < 1_000_000_000
    assert micros(message) == time
    if time >= 0:
        assert micros(duration(time)) == time


# --- anything ---------------------------------------------------------------------------------------------------------

TEXTS = (
    "",
    "a",
    "orders",
    "https://x.example",
    "send",
    "pt-BR",
    "Europe/Lisbon",
    "locale",
    "\0",
    "é" * 130,
    "a\n",
)
NUMBERS = (0, 1, 2, 3, 6, 50, 1_800_000_000)
MUTATIONS = 3_000


def mutate(message: Any, rng: random.Random) -> None:
    """Changes one field, here or below."""
    field = rng.choice(message.DESCRIPTOR.fields)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        pairs = getattr(message, field.name)
        if field.message_type.fields_by_name["value"].message_type is None:
            pairs[rng.choice(TEXTS)] = rng.choice(TEXTS)
        else:
            pairs.get_or_create(rng.choice(TEXTS))
    elif field.is_repeated:
        items = getattr(message, field.name)
        if len(items) > 2 or (items and rng.random() < 0.2):
            items.pop()
        elif field.message_type is None:
            items.append(value_of(field, rng))
        else:
            mutate(items.add(), rng)
    elif field.message_type is None:
        setattr(message, field.name, value_of(field, rng))
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        part = getattr(message, field.name)
        part.SetInParent()
        if field.message_type.fields:
            mutate(part, rng)


def value_of(field: FieldDescriptor, rng: random.Random) -> object:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    return rng.choice(NUMBERS)


def item(content: Content) -> notifications.SendItem:
    spec = pb.NotificationSpec(recipient="ada", category="orders", content=content_message(content))
    return notifications.SendItem(request_id="r", notification=spec)


def body(content: Content) -> templates.TemplateBody:
    return templates.TemplateBody(content=content_message(content))


Convert = Callable[[Any], object]
REQUESTS: list[tuple[Message, Convert]] = [
    *((item(content), send_request_from) for content in CONTENTS),
    (notifications.SendItem(notification=SPEC_MESSAGE), send_request_from),
    (notifications.ListNotificationsRequest(), filter_from),
    (
        inbox.SubscribeRequest(recipients=[inbox.Position(recipient="ada")]),
        lambda request: options_from(request, max_in_flight=0, max_recipients=1),
    ),
    (inbox.ListEntriesRequest(recipient="ada"), lambda request: view_from(request.view)),
    (
        inbox.MarkEntriesRequest(recipient="ada", mark=inbox.MARK_READ, thread="x"),
        lambda request: (Mark(request.mark), selection_from(request)),
    ),
    (
        recipients.UpsertRecipientItem(recipient=recipients.Recipient(recipient="ada")),
        lambda request: upsert_request_from(request, ""),
    ),
    (system.CreateApiKeyRequest(display_name="k", scopes=["send"]), key_request_from),
    *(
        (
            templates.CreateTemplateVersionRequest(
                name="t", definition=templates.TemplateDefinition(bodies=[body(content)])
            ),
            lambda request: definition_from(request.definition),
        )
        for content in CONTENTS
    ),
    (
        templates.RenderTemplateRequest(template=pb.TemplateRef(name="t")),
        lambda request: (source_from(request), facts_from(request)),
    ),
]


@pytest.mark.parametrize(
    ("good", "convert"), REQUESTS, ids=[f"{type(good).__name__}{n}" for n, (good, _) in enumerate(REQUESTS)]
)
def test_what_the_rules_let_through_can_be_converted(good: Message, convert: Convert) -> None:
    rng = random.Random(17)
    request, let_through = type(good)(), 0
    for _ in range(MUTATIONS // len(REQUESTS)):
        if rng.random() < 0.3:
            request.CopyFrom(good)
        mutate(request, rng)
        with suppress(InvalidFields):
            SHAPE.check(request, request.SerializeToString())
            let_through += 1
            with suppress(FeatureNotBuilt):
                value = convert(request)
                CODEC.fingerprint(value)
                if isinstance(value, SendRequest) and value.content is not None:
                    content = CODEC.content(value.content.shown)
                    given = cast(notifications.SendItem, request).notification.content
                    given.fallback_text = given.fallback_text or derive_fallback_text(content.kind)
                    assert content_message(content) == given
    assert let_through > 5
