"""What the demo sends: one notification of each of the six kinds, and others from templates."""

from datetime import UTC, datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tocsin import (
    Action,
    Actor,
    CardContent,
    CardField,
    Input,
    InteractiveContent,
    ListContent,
    ListItem,
    Media,
    NotificationSpec,
    RichMediaContent,
    SimpleContent,
    TemplateRef,
    TimelineContent,
    TimelineEntry,
    spec,
)
from tocsin.v1.notification_pb2 import ActionStyle, InputKind, TimelineEntryState


def six_kinds(recipient: str) -> list[NotificationSpec]:
    """What a shop and its tools might tell somebody in a morning."""
    return [
        spec(
            recipient, "build", SimpleContent(title="Build 17 failed", body="2 of 340 tests"), priority="high"
        ),
        spec(
            recipient,
            "cameras",
            RichMediaContent(
                title="Somebody is at the door",
                media=[
                    Media(url="https://cam.example/door.jpg", mime_type="image/jpeg", alt_text="A courier")
                ],
            ),
        ),
        spec(
            recipient,
            "approvals",
            InteractiveContent(
                title="Refund 120 € to order 4711?",
                actions=[
                    Action(id="yes", label="Refund", post_back="yes", style=ActionStyle.ACTION_STYLE_PRIMARY),
                    Action(id="no", label="Refuse", post_back="no", style=ActionStyle.ACTION_STYLE_DANGER),
                ],
                inputs=[Input(name="why", label="Reason", kind=InputKind.INPUT_KIND_TEXT)],
            ),
        ),
        spec(
            recipient,
            "orders",
            CardContent(
                title="Order 4711",
                subtitle="paid",
                fields=[CardField(label="Items", value="3"), CardField(label="Total", value="120 €")],
            ),
        ),
        spec(
            recipient,
            "digest",
            ListContent(
                title="3 new reviews", items=[ListItem(title=f"{stars} stars") for stars in (5, 4, 5)]
            ),
        ),
        spec(
            recipient,
            "parcels",
            TimelineContent(
                title="Your parcel is on its way",
                entries=[
                    _step("Packed", 7, TimelineEntryState.TIMELINE_ENTRY_STATE_DONE),
                    _step("In transit", 9, TimelineEntryState.TIMELINE_ENTRY_STATE_ACTIVE),
                    _step("Delivered", 16, TimelineEntryState.TIMELINE_ENTRY_STATE_PENDING),
                ],
            ),
        ),
    ]


def while_away(recipient: str, count: int) -> list[NotificationSpec]:
    """What is sent while nobody is listening."""
    return [
        spec(recipient, "build", (f"Build {number} passed", "340 tests")) for number in range(18, 18 + count)
    ]


def approval(recipient: str) -> NotificationSpec:
    """From one of the default templates; goes where its category says."""
    data = {
        "id": "refund-4711",
        "subject": "Refund 4711",
        "amount": 120,
        "currency": "EUR",
        "due": "2027-03-04",
    }
    return spec(
        recipient,
        "approvals",
        template=_template("approval", data),
        actor=Actor(id="grace", name="Grace Hopper"),
    )


def news() -> NotificationSpec:
    """For everyone, into the inbox only: mails to so many are not to be tried out."""
    data = {
        "headline": "Quiet hours",
        "summary": "Say when you want to be left alone.",
        "pictures": [{"url": "https://news.example.com/quiet.png", "alt": "A moon"}],
        "url": "https://news.example.com/quiet",
    }
    return spec("", "product-news", template=_template("product-news", data), channels=["inbox"])


def _template(name: str, data: dict[str, Any]) -> TemplateRef:
    struct = Struct()
    struct.update(data)
    return TemplateRef(name=name, data=struct)


def _step(title: str, hour: int, state: TimelineEntryState.ValueType) -> TimelineEntry:
    time = Timestamp()
    time.FromDatetime(datetime(2027, 1, 4, hour, tzinfo=UTC))
    return TimelineEntry(title=title, time=time, state=state)
