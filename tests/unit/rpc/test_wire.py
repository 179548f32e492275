import pytest
from google.protobuf.wrappers_pb2 import UInt64Value

from tocsin.v1 import inbox_service_pb2, notification_pb2
from tocsin_server.rpc.wire import delimited, tag, varint


@pytest.mark.parametrize("value", [1, 0x7F, 0x80, 0x3FFF, 0x4000, 2**32, 2**63, 2**64 - 1])
def test_a_varint_is_what_protobuf_writes(value: int) -> None:
    assert b"\x08" + varint(value) == UInt64Value(value=value).SerializeToString()


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("id", notification_pb2.Notification(id="x" * 200)),
        (
            "trace_parent",
            notification_pb2.Notification(trace_parent="x"),
        ),  # a field whose tag takes two bytes
    ],
)
def test_a_tag_and_a_value_are_a_field(field: str, message: notification_pb2.Notification) -> None:
    value = getattr(message, field).encode()
    assert delimited(tag(message.DESCRIPTOR, field), value) == message.SerializeToString()


def test_a_number_has_the_tag_of_a_varint() -> None:
    summary = inbox_service_pb2.Summary(unseen=300)
    assert tag(summary.DESCRIPTOR, "unseen") + varint(300) == summary.SerializeToString()


def test_joined_messages_are_merged() -> None:
    first = notification_pb2.Notification(id="1", revision=1).SerializeToString()
    second = notification_pb2.Notification(recipient="ada").SerializeToString()
    merged = notification_pb2.Notification.FromString(first + second)
    assert merged == notification_pb2.Notification(id="1", revision=1, recipient="ada")
