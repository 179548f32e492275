"""Notifications as they are said on a command line and written in JSON."""

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from google.protobuf.json_format import ParseDict, ParseError
from typer import Argument, BadParameter, Option

import tocsin
from tocsin import NotificationSpec
from tocsin.v1.notification_pb2 import Channel
from tocsin.values import PriorityName
from tocsin_server.cli import values
from tocsin_server.cli.failures import Failure


@dataclass(frozen=True, slots=True)
class SpecArguments:
    """What `send` and `plan` are told of a notification."""

    recipient: Annotated[str, Argument(help="Who gets it.")] = ""
    category: Annotated[str, Option(help="What it is about.")] = ""
    title: Annotated[str, Option(help="One line.")] = ""
    body: Annotated[str, Option(help="The text.")] = ""
    priority: Annotated[PriorityName | None, Option(help="How urgent it is.")] = None
    channel: Annotated[
        list[int] | None,
        Option(
            parser=values.channel,
            metavar="CHANNEL",
            help="Where to show it, else where its category says; repeatable.",
        ),
    ] = None
    thread: Annotated[str, Option(help="Groups entries about one subject.")] = ""
    delay: Annotated[
        timedelta | None,
        Option(parser=values.span, metavar="DURATION", help="Deliver later: 90s, 5m, 48h, 7d."),
    ] = None
    at: Annotated[
        datetime | None, Option(parser=values.instant, metavar="TIME", help="Deliver at an instant.")
    ] = None
    expires: Annotated[
        datetime | None,
        Option(
            parser=values.instant, metavar="TIME", help="When it is over: an instant, or a duration from now."
        ),
    ] = None
    attribute: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="The sender's own data; repeatable.")
    ] = None
    spec: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="A NotificationSpec as JSON in place of all of the above; - is standard input.",
        ),
    ] = None

    def notification(self) -> NotificationSpec:
        """What they say. Raises BadParameter, Failure."""
        if self.spec is not None:
            if self.recipient or self.title:
                raise BadParameter("takes the place of recipient and --title", param_hint="--spec")
            return _read(self.spec)
        needed = (("RECIPIENT", self.recipient), ("--category", self.category), ("--title", self.title))
        missing = [name for name, given in needed if not given]
        if missing:
            raise BadParameter(f"missing {', '.join(missing)}; or give --spec")
        options: tocsin.SpecOptions = {
            "thread": self.thread,
            "channels": map(Channel.ValueType, self.channel or ()),
            "attributes": dict(values.pair(text) for text in self.attribute or ()),
        }
        if self.priority is not None:
            options["priority"] = self.priority
        if self.delay is not None:
            options["deliver_delay"] = self.delay
        if self.at is not None:
            options["deliver_time"] = self.at
        if self.expires is not None:
            options["expire_time"] = self.expires
        return tocsin.spec(self.recipient, self.category, (self.title, self.body), **options)


def spec_from_json(text: str | bytes) -> NotificationSpec:
    """The NotificationSpec in a JSON document, by the contract's names. Raises ValueError, whose text is one line."""
    try:
        return ParseDict(json.loads(text), NotificationSpec())
    except (ValueError, ParseError) as error:
        problem = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(f"is not a NotificationSpec in JSON: {problem}") from error


def _read(path: Path) -> NotificationSpec:
    """Raises Failure."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        return spec_from_json(text)
    except ValueError as error:
        raise Failure(f"{path}: {error}.") from error
