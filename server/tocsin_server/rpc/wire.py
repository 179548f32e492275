"""Protobuf's wire format, as far as it takes to join fields that are encoded already.

A message is its fields one after the other, in any order; a field is a tag and a varint, or a tag, a length and so many
bytes (https://protobuf.dev/programming-guides/encoding/). Joining encoded fields is therefore making a message.
"""

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT = 0
_LENGTH_DELIMITED = 2
_LENGTH_DELIMITED_TYPES = frozenset(
    (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE)
)
_VARINT_TYPES = frozenset(
    (
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
    )
)

_SHORT = tuple(
    bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7)) for value in range(0x4000)
)
"""The numbers of one and two bytes: every length and revision that is common. Looking one up is five times faster."""

_GOING_ON = tuple(bytes((value & 0x7F | 0x80, value >> 7 | 0x80)) for value in range(0x4000))
"""The lowest 14 bits of a longer number."""


def varint(value: int) -> bytes:
    """A number, not negative, seven bits a byte, the lowest first."""
    if value < 0x4000:
        return _SHORT[value]
    # Two bytes at a time: what is looked up has its last byte marked as going on.
    if value < 0x1000_0000:
        return _GOING_ON[value & 0x3FFF] + _SHORT[value >> 14]
    return _GOING_ON[value & 0x3FFF] + varint(value >> 14)


def tag(message: Descriptor, field: str) -> bytes:
    """What stands before the field's value: its number and how its value is written."""
    descriptor = message.fields_by_name[field]
    if descriptor.type in _LENGTH_DELIMITED_TYPES:
        wire_type = _LENGTH_DELIMITED
    elif descriptor.type in _VARINT_TYPES:
        wire_type = _VARINT
    else:
        raise ValueError(f"{descriptor.full_name} is of a type that is not joined by hand")
    return varint(descriptor.number << 3 | wire_type)


def delimited(tag: bytes, value: bytes) -> bytes:
    """A field whose value is bytes: a string, a message."""
    return tag + varint(len(value)) + value
