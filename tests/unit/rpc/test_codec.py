"""What is joined by hand must be what protobuf reads."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.support.contents import content_message, sent
from tests.support.samples import CONTENTS, NOON, SPEC, TRACE_PARENT, entry
from tocsin.v1 import error_reason_pb2, inbox_service_pb2, notification_pb2
from tocsin_server.domain.category import Category
from tocsin_server.domain.content import Content
from tocsin_server.domain.inbox import Counts, InboxChange, Status
from tocsin_server.domain.notification import NotificationSpec, NotificationState, Priority
from tocsin_server.domain.sending import Draft, Facts, draft
from tocsin_server.domain.time import SECOND
from tocsin_server.domain.value import replace
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.convert.times import timestamp

CODEC = WireCodec()
ID = bytes.fromhex("0199a5ed4f7c7c768c1edb5fe6a021bf")
DRAFT = draft(ID, "default", SPEC, Facts(Category("orders")), NOON)
TRACE = CODEC.trace(TRACE_PARENT)
PLAIN_SPEC = NotificationSpec("ada", "orders")
PLAIN_DRAFT = draft(ID, "default", PLAIN_SPEC, Facts(Category("orders")), NOON)

FULL = notification_pb2.Notification(
    id="0199a5ed-4f7c-7c76-8c1e-db5fe6a021bf",
    recipient="adä",
    revision=300,
    category="orders.shipped",
    priority=notification_pb2.PRIORITY_HIGH,
    content=content_message(CONTENTS[0]),
    thread="order-17",
    actor=notification_pb2.Actor(id="u1", name="Bob", avatar_url="https://shop.example/bob.png"),
    attributes={"order": "17", "note": ""},
    create_time=timestamp(NOON),
    expire_time=timestamp(NOON + 60_000_000),
    trace_parent=TRACE_PARENT,
)


def read(encoded: bytes) -> notification_pb2.Notification:
    return notification_pb2.Notification.FromString(encoded)


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content.kind).__name__)
def test_content_comes_back_as_it_was(content: Content) -> None:
    encoded = sent(content).shown
    assert CODEC.content(encoded) == content
    assert read(encoded) == notification_pb2.Notification(content=content_message(content))


def test_a_fresh_notification_has_every_field() -> None:
    content, envelope = sent(CONTENTS[0]).shown, CODEC.envelope(DRAFT, SPEC)
    change = InboxChange("default", "adä", bytes(8), 300, Counts(1, 1, 1), "", content, envelope, TRACE)
    assert read(CODEC.fresh_notification(change, with_trace=True)) == FULL


def test_an_end_user_sees_no_trace() -> None:
    change = InboxChange(
        "default", "adä", bytes(8), 300, Counts(), "", b"", CODEC.envelope(DRAFT, SPEC), TRACE
    )
    stored = entry(b"", CODEC.envelope(DRAFT, SPEC), TRACE)
    assert read(CODEC.fresh_notification(change, with_trace=False)).trace_parent == ""
    assert read(CODEC.stored_notification(stored, with_trace=False)).trace_parent == ""
    assert read(CODEC.stored_notification(stored, with_trace=True)).trace_parent == TRACE_PARENT


@pytest.mark.parametrize("trace_parent", [TRACE_PARENT, ""])
def test_a_trace_parent_is_read_as_it_was_written(trace_parent: str) -> None:
    assert CODEC.trace_parent(CODEC.trace(trace_parent)) == trace_parent


def test_what_is_not_said_is_absent() -> None:
    assert read(CODEC.envelope(PLAIN_DRAFT, PLAIN_SPEC)) == notification_pb2.Notification(
        id=FULL.id,
        recipient="ada",
        category="orders",
        priority=notification_pb2.PRIORITY_NORMAL,
        create_time=timestamp(NOON),
    )
    assert CODEC.trace("") == b""


@pytest.mark.parametrize(
    "time", [0, 1, 999_999, 1_000_000, NOON, NOON // 1_000_000 * 1_000_000, 253_402_300_799_999_999]
)
def test_times_are_exact(time: int) -> None:
    moved = Draft(ID, "default", "ada", "c", Priority.LOW, (), "", time, None, None)
    assert read(CODEC.envelope(moved, PLAIN_SPEC)).create_time == timestamp(time)


STATES = [
    # An absent state says that nothing has happened yet.
    ({"status": Status.UNSEEN}, None),
    ({"status": None, "revision": 0, "state": NotificationState.SCHEDULED}, None),
    ({"status": None, "revision": 0, "state": NotificationState.CANCELLED}, None),
    ({"status": Status.SEEN, "seen_time": 5}, {"seen": True, "seen_time": 5}),
    # Read implies seen.
    (
        {"status": Status.READ, "seen_time": 5, "read_time": 6},
        {"seen": True, "seen_time": 5, "read": True, "read_time": 6},
    ),
    # Read once and marked as unread: the time has no flag to go with.
    ({"status": Status.SEEN, "seen_time": 5, "read_time": 6}, {"seen": True, "seen_time": 5}),
    # Made unseen again by a revision.
    ({"status": Status.UNSEEN, "seen_time": 5, "read_time": 6}, None),
    ({"status": Status.ARCHIVED_UNSEEN, "archived_time": 7}, {"archived": True, "archived_time": 7}),
    (
        {"status": Status.ARCHIVED_READ, "seen_time": 5, "read_time": 5, "archived_time": 7},
        {"seen": True, "seen_time": 5, "read": True, "read_time": 5, "archived": True, "archived_time": 7},
    ),
    ({"status": Status.SNOOZED_UNSEEN, "snoozed_until": 9}, {"snoozed_until": 9}),
    (
        {"status": Status.SEEN, "seen_time": 5, "snoozed_until": 9},
        {"seen": True, "seen_time": 5},
    ),  # awake again
    (
        {"status": Status.GONE, "state": NotificationState.RETRACTED, "final_time": 8},
        {"retracted": True, "retracted_time": 8},
    ),
    (
        {"status": Status.GONE, "state": NotificationState.EXPIRED, "final_time": 8, "seen_time": 5},
        {"expired": True, "expired_time": 8, "seen": True, "seen_time": 5},
    ),
    ({"status": Status.UNSEEN, "interacted_time": 4}, {"interacted": True, "interacted_time": 4}),
]


@pytest.mark.parametrize(("row", "expected"), STATES)
def test_the_state_follows_from_the_row(row: dict, expected: dict | None) -> None:
    seconds = {name: value * SECOND for name, value in row.items() if name.endswith(("_time", "_until"))}
    encoded = CODEC.stored_notification(entry(b"", b"", **row | seconds), with_trace=True)
    notification = read(encoded)
    if expected is None:
        assert not notification.HasField("state")
        return
    flags: dict[str, Any] = {
        name: Timestamp(seconds=value) if name.endswith(("_time", "_until")) else value
        for name, value in expected.items()
    }
    assert notification.state == notification_pb2.EntryState(**flags)
    assert notification.revision == row.get("revision", 1)


def test_a_notification_whose_content_is_gone_has_none() -> None:
    gone = entry(
        None, CODEC.envelope(DRAFT, SPEC), status=Status.GONE, state=NotificationState.EXPIRED, final_time=1
    )
    assert not read(CODEC.stored_notification(gone, with_trace=True)).HasField("content")


def test_parts_joined_are_a_stream_message() -> None:
    notification = CODEC.envelope(PLAIN_DRAFT, PLAIN_SPEC)
    ada, cursor = CODEC.recipient("ada"), CODEC.cursor(b"c2")
    message = b"".join(
        (
            CODEC.opening("s1"),
            CODEC.entry_event(ada, notification, b""),
            CODEC.entry_event(ada, notification, cursor),
            CODEC.summary_event(ada, Counts(0, 1, 300), cursor),
            CODEC.reset_event("bob", "CURSOR_EXPIRED", "c0", "c1"),
            CODEC.progress([("ada", "c2"), ("bob", "c1")], NOON),
        )
    )
    event = inbox_service_pb2.InboxEvent
    expected = inbox_service_pb2.SubscribeResponse(
        session_id="s1",
        events=[
            event(recipient="ada", notification=read(notification)),
            event(recipient="ada", notification=read(notification), cursor="c2"),
            event(
                recipient="ada", cursor="c2", summary=inbox_service_pb2.Summary(unread=0, unseen=1, total=300)
            ),
            event(
                recipient="bob",
                cursor="c1",
                reset=inbox_service_pb2.Reset(
                    reason=error_reason_pb2.ERROR_REASON_CURSOR_EXPIRED, oldest_cursor="c0"
                ),
            ),
        ],
        progress=inbox_service_pb2.Progress(
            positions=[
                inbox_service_pb2.Position(recipient="ada", cursor="c2"),
                inbox_service_pb2.Position(recipient="bob", cursor="c1"),
            ],
            time=timestamp(NOON),
        ),
    )
    assert inbox_service_pb2.SubscribeResponse.FromString(message) == expected


def test_both_streams_have_the_same_messages() -> None:
    one, other = (
        [(field.name, field.number, field.type, field.message_type) for field in message.fields]
        for message in (
            inbox_service_pb2.SubscribeResponse.DESCRIPTOR,
            inbox_service_pb2.AttachResponse.DESCRIPTOR,
        )
    )
    assert one == other


def test_equal_requests_have_one_fingerprint() -> None:
    again = replace(SPEC, attributes=dict(reversed(SPEC.attributes.items())))
    assert CODEC.fingerprint(again) == CODEC.fingerprint(SPEC)


def test_requests_that_differ_have_other_fingerprints() -> None:
    different = [
        SPEC,
        replace(SPEC, thread=""),
        replace(SPEC, attributes={}),
        replace(SPEC, expire_time=None),
        replace(SPEC, deliver_delay=0),
        *((SPEC, sent(content).sent) for content in CONTENTS),
        (SPEC, True),
        (SPEC, False),
    ]
    assert len({CODEC.fingerprint(request) for request in different}) == len(different)
