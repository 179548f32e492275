"""What a template sees as `data`: JSON, as protobuf has it."""

from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.struct_pb2 import Value as StructValue

from tocsin_server.domain.template import Data

_MOST_EXACT = 2.0**53


def data_from(message: Struct) -> Data:
    """Checked data as plain JSON. Numbers come as doubles; those without a fraction are whole numbers again."""
    return {key: _plain(value) for key, value in message.fields.items()}


def _plain(value: StructValue) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _MOST_EXACT else number
    if kind == "struct_value":
        return data_from(value.struct_value)
    if kind == "list_value":
        return [_plain(one) for one in value.list_value.values]
    return value.bool_value if kind == "bool_value" else None
