"""`tocsin categories`."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

import tocsin
from tocsin.v1.category_service_pb2 import ListCategoriesResponse, ThrottleOverflow, ThrottleScope
from tocsin.v1.notification_pb2 import Channel, Priority
from tocsin.values import PriorityName, enum_name, enum_value
from tocsin_server.cli import values
from tocsin_server.cli.asking import Yes, confirmed
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, properties, span, table

app = Typer(add_completion=False, no_args_is_help=True)

_THROTTLE = re.compile(
    r"(?P<scope>\w+):(?P<max>\d+)/(?P<window>[\d.]+\w*)(?::(?P<overflow>\w+)(?::(?P<channels>[\w,]+))?)?"
)

Name = Annotated[str, Argument(help="The category's name.")]


def _throttle(text: str) -> tocsin.Throttle:
    """Raises BadParameter."""
    match = _THROTTLE.fullmatch(text)
    if match is None:
        raise BadParameter(f"{text!r} is not SCOPE:MAX/WINDOW[:OVERFLOW[:CHANNELS]]")
    try:
        throttle = tocsin.Throttle(
            scope=enum_value(ThrottleScope, match["scope"]),
            max=int(match["max"]),
            overflow=enum_value(ThrottleOverflow, match["overflow"] or "drop"),
            channels=[enum_value(Channel, name) for name in (match["channels"] or "").split(",") if name],
        )
    except ValueError as error:
        raise BadParameter(f"{text!r}: {error}") from None
    throttle.window.FromTimedelta(values.span(match["window"]))
    return throttle


@app.callback()
def categories() -> None:
    """Categories: where their notifications go, how urgent they are, and how many there may be."""


@command(app, "list")
async def list_categories(session: Session) -> None:
    """List all categories that are defined."""
    async with session.connect() as client:
        found = [category async for category in client.categories.all(page_size=1000)]
    session.out.show(
        ListCategoriesResponse(categories=found),
        table(
            "category",
            "name",
            "channels",
            "priority",
            "mandatory",
            rows=(
                (
                    each.category,
                    each.display_name,
                    _channels(each.channels),
                    enum_name(Priority, each.priority).lower(),
                    "yes" if each.mandatory else "–",
                )
                for each in found
            ),
        ),
    )


@command(app)
async def get(session: Session, category: Name) -> None:
    """Show a category."""
    async with session.connect() as client:
        found = await client.categories.get(category)
    _show(session, found)


@command(app)
async def upsert(
    session: Session,
    category: Name,
    display_name: Annotated[str | None, Option(help="Name to show.")] = None,
    description: Annotated[str | None, Option(help="What it is about.")] = None,
    channel: Annotated[
        list[int] | None,
        Option(
            parser=values.channel,
            metavar="CHANNEL",
            help="Where its notifications go: inbox, email, push, …; repeatable, replaces all of them.",
        ),
    ] = None,
    mandatory: Annotated[
        bool | None, Option("--mandatory/--optional", help="Whether no preference denies it.")
    ] = None,
    priority: Annotated[PriorityName | None, Option(help="How urgent its notifications are.")] = None,
    throttle: Annotated[
        list[tocsin.Throttle] | None,
        Option(
            parser=_throttle,
            metavar="SCOPE:MAX/WINDOW[:OVERFLOW[:CHANNELS]]",
            help="Such as category:5/1h or channel:20/1d:defer:push,sms; repeatable, replaces all of them.",
        ),
    ] = None,
    retention: Annotated[
        timedelta | None,
        Option(
            parser=values.span,
            metavar="DURATION",
            help="How long its entries are kept; 0: as long as the server keeps any.",
        ),
    ] = None,
) -> None:
    """Define a category, or change what is named; the rest stays."""
    changed = tocsin.Category(category=category)
    fields = []
    if display_name is not None:
        changed.display_name = display_name
        fields.append("display_name")
    if description is not None:
        changed.description = description
        fields.append("description")
    if channel is not None:
        changed.channels.extend(map(Channel.ValueType, channel))
        fields.append("channels")
    if mandatory is not None:
        changed.mandatory = mandatory
        fields.append("mandatory")
    if priority is not None:
        changed.priority = enum_value(Priority, priority)
        fields.append("priority")
    if throttle is not None:
        changed.throttles.extend(throttle)
        fields.append("throttles")
    if retention is not None:
        if retention:
            changed.retention.FromTimedelta(retention)
        fields.append("retention")
    if not fields:
        raise BadParameter("name at least one of the options")
    async with session.connect() as client:
        _show(session, await client.categories.upsert(changed, fields=fields))


@command(app)
async def delete(session: Session, category: Name, yes: Yes = False) -> None:
    """Make a category one that is not defined."""
    confirmed(f"Delete {category}?", yes=yes)
    async with session.connect() as client:
        _show(session, await client.categories.delete(category))


def _show(session: Session, category: tocsin.Category) -> None:
    throttles = [
        f"{enum_name(ThrottleScope, each.scope).lower()}: {each.max} in {span(each.window)}, then "
        f"{enum_name(ThrottleOverflow, each.overflow).lower()}, on {_channels(each.channels)}"
        for each in category.throttles
    ]
    session.out.show(
        category,
        Text.assemble((category.category, "bold"), f"  {category.display_name}"),
        properties(
            description=category.description or "–",
            channels=_channels(category.channels),
            mandatory="yes" if category.mandatory else "no",
            priority=enum_name(Priority, category.priority).lower(),
            throttles="\n".join(throttles) or "–",
            retention=span(category.retention) if category.HasField("retention") else "the server's",
            created=instant(category.create_time),
            updated=instant(category.update_time),
        ),
    )


def _channels(channels: Iterable[Channel.ValueType]) -> str:
    return ", ".join(enum_name(Channel, each).lower() for each in channels)
