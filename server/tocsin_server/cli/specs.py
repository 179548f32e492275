"""Notifications as they are written in JSON."""

import json

from google.protobuf.json_format import ParseDict, ParseError

from tocsin import NotificationSpec


def spec_from_json(text: str | bytes) -> NotificationSpec:
    """The NotificationSpec in a JSON document, by the contract's names. Raises ValueError, whose text is one line."""
    try:
        return ParseDict(json.loads(text), NotificationSpec())
    except (ValueError, ParseError) as error:
        problem = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(f"is not a NotificationSpec in JSON: {problem}") from error
