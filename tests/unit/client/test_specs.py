from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import tocsin
from tocsin.specs import ContentLike, content_of
from tocsin.v1.notification_pb2 import Channel, NotificationSpec, Priority

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (("Title", "Body"), "simple"),
        (tocsin.SimpleContent(title="Title"), "simple"),
        (tocsin.RichMediaContent(title="Title"), "rich_media"),
        (tocsin.InteractiveContent(title="Title"), "interactive"),
        (tocsin.CardContent(title="Title"), "card"),
        (tocsin.ListContent(title="Title"), "list"),
        (tocsin.TimelineContent(title="Title"), "timeline"),
        (tocsin.Content(simple=tocsin.SimpleContent(title="Title")), "simple"),
    ],
)
def test_every_kind_of_content_finds_its_field(content: ContentLike, kind: Any) -> None:
    made = content_of(content)
    assert made.WhichOneof("kind") == kind
    assert getattr(made, kind).title == "Title"


def test_what_is_no_content_is_refused() -> None:
    with pytest.raises(TypeError, match="int is no content"):
        content_of(17)  # type: ignore[arg-type]


def test_plain_values_become_a_spec() -> None:
    made = tocsin.spec(
        "ada",
        "build",
        ("Title", "Body"),
        priority="high",
        channels=["inbox", Channel.CHANNEL_PUSH],
        deliver_delay=timedelta(minutes=5),
        expire_time=NOON,
        thread="build-17",
        actor=tocsin.Actor(id="ci"),
        attributes={"commit": "abc"},
        no_batch=True,
    )
    expected = NotificationSpec(
        recipient="ada",
        category="build",
        content=tocsin.Content(simple=tocsin.SimpleContent(title="Title", body="Body")),
        priority=Priority.PRIORITY_HIGH,
        channels=[Channel.CHANNEL_INBOX, Channel.CHANNEL_PUSH],
        thread="build-17",
        actor=tocsin.Actor(id="ci"),
        attributes={"commit": "abc"},
        no_batch=True,
    )
    expected.deliver_delay.FromTimedelta(timedelta(minutes=5))
    expected.expire_time.FromDatetime(NOON)
    assert made == expected


def test_seconds_and_instants_say_when_to_deliver() -> None:
    assert tocsin.spec("ada", "build", ("T", ""), deliver_delay=1.5).deliver_delay.nanos == 500_000_000
    assert (
        tocsin.spec("ada", "build", ("T", ""), deliver_time=NOON).deliver_time.ToSeconds() == NOON.timestamp()
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either content or template"),
        ({"content": ("T", ""), "template": tocsin.TemplateRef(name="x")}, "either content or template"),
        ({"content": ("T", ""), "deliver_time": NOON, "deliver_delay": 1.0}, "at most one"),
        ({"content": ("T", ""), "expire_time": NOON.replace(tzinfo=None)}, "no time zone"),
        (
            {"content": ("T", ""), "priority": "huge"},
            "'huge' is none of unspecified, low, normal, high, urgent",
        ),
    ],
)
def test_values_that_make_no_spec_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tocsin.spec("ada", "build", **values)
