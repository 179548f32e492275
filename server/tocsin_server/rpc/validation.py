"""The shape of requests: the rules in the contract's options, and those of `rules` that options cannot say.

All rules that a request breaks are reported together. The messages of a batch are left out here (the contract says
IGNORE_ALWAYS) and are checked one by one, so that a bad one does not reject its neighbours.
"""

from collections.abc import Iterator

import protovalidate
from google.protobuf.message import Message

from tocsin_server.domain.errors import InvalidFields, Violation
from tocsin_server.rpc.rules import ContentRules, Rules
from tocsin_server.rpc.strings import strings_in

_NUL = b"\0"
_MAX_KEY_CHARS = 64


class Shape:
    """Checks messages against all rules."""

    def __init__(self, rules: Rules | ContentRules) -> None:
        self._collect = protovalidate.Validator().collect_violations
        self._rules = rules

    def check(self, message: Message, raw: bytes, path: str = "") -> None:
        """Raises InvalidFields with every rule that the message breaks.

        `raw` is the encoded message; `path` is what leads to it in the request, empty or ending in a dot.
        """
        broken = self._collect(message)
        violations = [Violation(path + _path_of(one), _text_of(one)) for one in broken] if broken else []
        violations += self._rules.broken(message, path)
        if _NUL in raw:
            # A length of zero is also such a byte, so this is only a reason to look.
            violations += _nul_violations(message, path)
        if violations:
            raise InvalidFields(violations)


def _path_of(violation: protovalidate.Violation) -> str:
    field = violation.proto.field
    if field is None:
        return ""
    return ".".join(element.field_name + _subscript(element) for element in field.elements)


def _subscript(element: protovalidate.FieldPathElementPb) -> str:
    subscript = element.subscript
    if subscript is None:
        return ""
    if isinstance(subscript.value, str):
        return f'["{subscript.value[:_MAX_KEY_CHARS]}"]'
    return f"[{subscript.value}]"


def _text_of(violation: protovalidate.Violation) -> str:
    return violation.proto.message or violation.proto.rule_id


def _nul_violations(message: Message, path: str) -> Iterator[Violation]:
    for field, text in strings_in(message, path):
        if "\0" in text:
            yield Violation(field, "must not contain the character NUL")
