"""One of everything that can be shown or sent, with every field set."""

from typing import Any

from tocsin_server.domain.content import (
    Action,
    ActionStyle,
    CardContent,
    CardField,
    Content,
    ContentKind,
    Input,
    InputKind,
    InteractiveContent,
    ListContent,
    ListItem,
    Media,
    RichMediaContent,
    SimpleContent,
    TimelineContent,
    TimelineEntry,
    TimelineEntryState,
)
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.inbox import Status
from tocsin_server.domain.notification import Actor, NotificationSpec, NotificationState, Priority
from tocsin_server.domain.time import Micros

NOON: Micros = 1_800_000_000_123_456

ACTIONS = (
    Action("open", "Open", url="https://shop.example/17", style=ActionStyle.PRIMARY),
    Action("deny", "Deny", post_back="", style=ActionStyle.DANGER, confirm_text="Really?"),
)
MEDIA = Media(
    "https://shop.example/a.png", "image/png", "A parcel", "https://shop.example/a-small.png", 640, 480
)

KINDS: tuple[ContentKind, ...] = (
    SimpleContent("Shipped", "Your order is on its way."),
    RichMediaContent("Shipped", "Look:", (MEDIA, Media("https://shop.example/b.mp4")), ACTIONS),
    InteractiveContent(
        "Approve?",
        "A leave of two days.",
        ACTIONS,
        (
            Input("size", "Size", InputKind.CHOICE, ("S", "M"), required=True),
            Input("why", "Why", InputKind.TEXT),
        ),
    ),
    CardContent(
        "Invoice", "No 17", "Due soon.", MEDIA, (CardField("Sum", "17 €"), CardField("Due")), ACTIONS
    ),
    ListContent(
        "Digest", (ListItem("One", "body", MEDIA, "https://shop.example", "3"), ListItem("Two")), 7, ACTIONS
    ),
    TimelineContent(
        "Parcel",
        (TimelineEntry("Packed", NOON, "In Lisbon", "box", TimelineEntryState.DONE), TimelineEntry("Sent")),
        ACTIONS,
    ),
)
CONTENTS = tuple(Content(kind, "in plain words") for kind in KINDS)

SPEC = NotificationSpec(
    recipient="adä",
    category="orders.shipped",
    priority=Priority.HIGH,
    expire_time=NOON + 60_000_000,
    thread="order-17",
    actor=Actor("u1", "Bob", "https://shop.example/bob.png"),
    attributes={"order": "17", "note": ""},
)

TRACE_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def entry(
    content: bytes | None,
    envelope: bytes,
    trace: bytes = b"",
    *,
    revision: int = 1,
    state: NotificationState = NotificationState.STORED,
    status: Status | None = Status.UNSEEN,
    **times: Micros,
) -> StoredEntry:
    """A row; `times` are those of its fields."""
    unset: dict[str, Any] = dict.fromkeys(StoredEntry._fields[10:-1])
    return StoredEntry(
        bytes(16),
        "adä",
        revision,
        revision,
        state,
        status,
        "orders.shipped",
        content,
        envelope,
        trace,
        **unset | times,
    )
