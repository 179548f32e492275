"""Values as they are typed on a command line."""

import re
from datetime import UTC, datetime, timedelta

from typer import BadParameter

from tocsin.v1.notification_pb2 import Channel
from tocsin.values import enum_value

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")


def span(text: str) -> timedelta:
    """A duration: `90`, `90s`, `5m`, `48h`, `7d`. Raises BadParameter."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadParameter(f"{text!r} is not a duration such as 90s, 5m, 48h or 7d")
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2] or "s"])
    except OverflowError:
        raise BadParameter(f"{text!r} is too long") from None


def instant(text: str) -> datetime:
    """An instant in ISO 8601, in this machine's zone where it names none; or a duration from now.

    Raises BadParameter.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.now(UTC) + span(text)  # noqa: TID251 (a command line is where `now` comes from)
    except (BadParameter, OverflowError):
        raise BadParameter(
            f"{text!r} is neither an instant such as 2027-01-31T09:00 nor a duration such as 2h"
        ) from None


def channel(text: str) -> int:
    """A channel by its name. Raises BadParameter."""
    try:
        return enum_value(Channel, text)
    except ValueError as error:
        raise BadParameter(str(error)) from None


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE. Raises BadParameter."""
    name, equals, value = text.partition("=")
    if not equals:
        raise BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value
