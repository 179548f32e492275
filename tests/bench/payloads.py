"""What is sent: notifications of several kinds and categories, to many recipients, encoded before they are needed."""

import random
from collections.abc import Callable, Iterable, Sequence

from tests.bench.http2 import framed
from tocsin.ids import new_request_id
from tocsin.v1.notification_pb2 import (
    ACTION_STYLE_PRIMARY,
    PRIORITY_HIGH,
    Action,
    Actor,
    CardContent,
    CardField,
    Content,
    InteractiveContent,
    ListContent,
    ListItem,
    NotificationSpec,
    SimpleContent,
)
from tocsin.v1.notification_service_pb2 import SendItem

RECIPIENT_COUNT = 20_000

_ID_TAG = b"\x0a\x20"
"""Field 1 of a SendRequest and a SendItem, the request id, with its 32 characters."""
_ITEMS_TAG = b"\x0a"
"""Field 1 of SendBatchRequest and SendStreamRequest."""


def recipients(count: int = RECIPIENT_COUNT, prefix: str = "user") -> list[str]:
    """Keys of recipients."""
    return [f"{prefix}-{number:06d}" for number in range(count)]


def spec(recipient: str, number: int) -> NotificationSpec:
    """The notification of a number: 130 to 380 bytes, of which half are plain text and half are richer."""
    made = NotificationSpec(recipient=recipient)
    kind = number % 8
    if kind < 4:
        made.category = ("comments", "mentions", "security", "releases")[kind]
        made.thread = f"document/{number % 997}"
        made.actor.CopyFrom(Actor(id=f"user-{number % 5_000:06d}", name="Ada Byron"))
        made.content.CopyFrom(
            Content(
                simple=SimpleContent(
                    title="New comment on “Quarterly plan”",
                    body=f"Could you take a look at section {number % 40} before Thursday? I moved the figures there.",
                )
            )
        )
    elif kind < 6:
        made.category = "orders"
        made.attributes["order_id"] = f"{number % 1_000_000:09d}"
        made.content.CopyFrom(
            Content(
                card=CardContent(
                    title="Your order is on its way",
                    body="It left our warehouse this morning.",
                    fields=[
                        CardField(label="Order", value=f"{number % 1_000_000:09d}"),
                        CardField(label="Arrives", value="Thursday"),
                    ],
                    actions=[Action(id="track", label="Track", url="https://shop.example.com/track")],
                )
            )
        )
    elif kind == 6:
        made.category = "approvals"
        made.priority = PRIORITY_HIGH
        made.content.CopyFrom(
            Content(
                interactive=InteractiveContent(
                    title="Expense report",
                    body=f"Report {number % 9_999} waits for your approval.",
                    actions=[
                        Action(
                            id="approve", label="Approve", post_back="approve", style=ACTION_STYLE_PRIMARY
                        ),
                        Action(id="deny", label="Deny", post_back="deny"),
                    ],
                )
            )
        )
    else:
        made.category = "billing"
        made.content.CopyFrom(
            Content(
                list=ListContent(
                    title="Your invoices of March",
                    items=[
                        ListItem(title=f"Invoice {number % 10_000}-{line}", value="120.00")
                        for line in (1, 2, 3)
                    ],
                    total_count=3,
                )
            )
        )
    return made


def item_of(message: NotificationSpec) -> bytes:
    """A SendItem, which is encoded as a SendRequest is, with a fresh request id."""
    return _ID_TAG + new_request_id().encode() + SendItem(notification=message).SerializeToString()


class Requests:
    """An endless supply of requests, encoded but for their ids, which are made when they are taken."""

    def __init__(
        self,
        to: Sequence[str],
        seed: int = 1,
        spec_of: Callable[[str, int], NotificationSpec] = spec,
    ) -> None:
        order = list(enumerate(to))
        random.Random(seed).shuffle(order)
        self.order = [each for _, each in order]
        """The recipients in the order in which they get something, again and again."""
        self._bodies = [
            SendItem(notification=spec_of(each, number)).SerializeToString() for number, each in order
        ]
        self._taken = 0
        self.mean_bytes = sum(map(len, self._bodies)) // len(self._bodies) + 34

    def item(self) -> bytes:
        """A SendItem, which is encoded as a SendRequest is."""
        body = self._bodies[self._taken % len(self._bodies)]
        self._taken += 1
        return _ID_TAG + new_request_id().encode() + body

    def request(self) -> bytes:
        """A SendRequest, framed."""
        return framed(self.item())

    def batch(self, count: int) -> bytes:
        """A SendBatchRequest or SendStreamRequest of so many items, framed."""
        return batch_of([self.item() for _ in range(count)])


def batch_of(items: Iterable[bytes]) -> bytes:
    """A SendBatchRequest or SendStreamRequest of encoded items, framed."""
    return framed(b"".join([_ITEMS_TAG + _varint(len(item)) + item for item in items]))


def _varint(value: int) -> bytes:
    assert value < 0x4000
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7))
