"""One notification of each of the six kinds."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tocsin import (
    Action,
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


def _step(title: str, hour: int, state: TimelineEntryState.ValueType) -> TimelineEntry:
    time = Timestamp()
    time.FromDatetime(datetime(2027, 1, 4, hour, tzinfo=UTC))
    return TimelineEntry(title=title, time=time, state=state)
