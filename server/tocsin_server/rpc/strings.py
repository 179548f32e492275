"""The strings in a message, wherever they stand."""

from collections.abc import Iterator
from enum import Enum, auto
from functools import cache

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct


def strings_in(message: Message, path: str) -> Iterator[tuple[str, str]]:
    """Every string of a message, the keys and values of its maps too, with the path to it.

    Those of a template's data are left out, which `rules.data_violations` looks at.
    """
    if isinstance(message, Struct):
        return
    for field, value in message.ListFields():
        holds = _holding(field)
        if holds is _Holding.NOTHING:
            continue
        name = path + field.name
        if holds is _Holding.TEXT:
            yield name, value
        elif holds is _Holding.MESSAGE:
            yield from strings_in(value, f"{name}.")
        elif holds is _Holding.TEXTS:
            yield from ((f"{name}[{index}]", text) for index, text in enumerate(value))
        elif holds is _Holding.MESSAGES:
            for index, item in enumerate(value):
                yield from strings_in(item, f"{name}[{index}].")
        else:
            for key in value:
                yield name, str(key)
                if isinstance(value[key], str):
                    yield f'{name}["{key}"]', value[key]


class _Holding(Enum):
    """What strings are in a field."""

    NOTHING = auto()
    TEXT = auto()
    TEXTS = auto()
    MESSAGE = auto()
    MESSAGES = auto()
    MAP = auto()


@cache
def _holding(field: FieldDescriptor) -> _Holding:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _Holding.TEXTS if field.is_repeated else _Holding.TEXT
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        return _Holding.NOTHING
    assert field.message_type is not None
    if field.message_type.GetOptions().map_entry:
        return _Holding.MAP
    return _Holding.MESSAGES if field.is_repeated else _Holding.MESSAGE
