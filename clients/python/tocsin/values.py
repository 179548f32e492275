"""Python values for protobuf ones: instants, durations, names of enum values."""

from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

__all__ = (
    "ChannelName",
    "EntryViewName",
    "InteractionName",
    "MarkName",
    "NotificationStateName",
    "PriorityName",
    "StartName",
)

ChannelName = Literal["inbox", "email", "push", "sms", "webhook", "chat"]
EntryViewName = Literal["inbox", "unread", "unseen", "archived", "snoozed", "all"]
InteractionName = Literal["opened", "clicked", "dismissed", "converted"]
MarkName = Literal["seen", "read", "unread", "archived", "unarchived", "snoozed", "unsnoozed"]
NotificationStateName = Literal[
    "scheduled", "stored", "batched", "suppressed", "cancelled", "retracted", "expired"
]
PriorityName = Literal["low", "normal", "high", "urgent"]
StartName = Literal["now", "unread", "beginning"]

ValueT = TypeVar("ValueT", bound=int)
ValueT_co = TypeVar("ValueT_co", bound=int, covariant=True)


class EnumType(Protocol[ValueT_co]):
    """What is used of a generated enum."""

    @property
    def DESCRIPTOR(self) -> EnumDescriptor: ...  # noqa: N802

    def Value(self, name: str) -> ValueT_co: ...  # noqa: N802


def enum_value(enum: EnumType[ValueT], value: str | ValueT) -> ValueT:
    """The number of an enum value, given itself or its name in lower case without the enum's prefix.

    Raises:
        ValueError: there is no value of this name.
    """
    if not isinstance(value, str):
        return value
    try:
        return enum.Value(_prefix(enum) + value.upper())
    except ValueError:
        names = [name.removeprefix(_prefix(enum)).lower() for name in enum.DESCRIPTOR.values_by_name]
        raise ValueError(f"{value!r} is none of {', '.join(names)}") from None


def enum_name(enum: EnumType[ValueT], number: int) -> str:
    """The name of an enum value without the enum's prefix; the digits of a number that a newer server may have sent."""
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(_prefix(enum)) if known else str(number)


def timestamp(instant: datetime) -> Timestamp:
    """The protobuf form of an instant.

    Raises:
        ValueError: the instant has no time zone, and so is none.
    """
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone")
    result = Timestamp()
    result.FromDatetime(instant)
    return result


def duration(span: float | timedelta) -> Duration:
    """The protobuf form of a duration, given in seconds or as a timedelta."""
    result = Duration()
    result.FromTimedelta(span if isinstance(span, timedelta) else timedelta(seconds=span))
    return result


def _prefix(enum: EnumType[ValueT]) -> str:
    return enum.DESCRIPTOR.values_by_number[0].name.removesuffix("UNSPECIFIED")
