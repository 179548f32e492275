"""`tocsin prefs`."""

import re
from typing import Annotated, Literal

from rich.console import RenderableType
from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

import tocsin
from tocsin.v1.notification_pb2 import Channel
from tocsin.v1.preference_service_pb2 import (
    CreateUnsubscribeTokenResponse,
    PreferenceKey,
    QuietAction,
    ResolvePreferencesResponse,
    Weekday,
)
from tocsin.values import ChannelName, enum_name, enum_value
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, properties, table

app = Typer(add_completion=False, no_args_is_help=True)

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(?:(?P<days>[a-z,-]+) )?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")

Whose = Annotated[str, Argument(metavar="[RECIPIENT]", help="The recipient's key.")]
Default = Annotated[bool, Option("--default", help="The tenant's default in place of a recipient's own.")]
About = Annotated[str, Option("--category", help="About this category; without it, about every one.")]
On = Annotated[ChannelName | None, Option("--channel", help="On this channel; without it, on every one.")]


def _window(text: str) -> tocsin.QuietWindow:
    """Raises BadParameter."""
    match = _WINDOW.fullmatch(text.strip().lower())
    if match is None:
        raise BadParameter(f"{text!r} is not a window such as 'mon-fri 22:00-07:00'")
    try:
        days = [day for part in (match["days"] or "").split(",") if part for day in _days(part)]
    except ValueError:
        raise BadParameter(f"{text!r}: days are {', '.join(_DAYS)}") from None
    return tocsin.QuietWindow(
        days=[Weekday.ValueType(day) for day in sorted(set(days))],
        start_time=match["start"],
        end_time=match["end"],
    )


@app.callback()
def prefs() -> None:
    """Preferences: which categories on which channels, quiet hours, the time for digests."""


@command(app)
async def get(session: Session, recipient: Whose = "", default: Default = False) -> None:
    """Show what a recipient has said."""
    who = _whose(recipient, default)
    async with session.connect() as client:
        _show(session, await client.preferences.get(who))


@command(app)
async def resolve(
    session: Session,
    recipient: Annotated[str, Argument(help="The recipient's key.")],
    category: Annotated[list[str] | None, Option(help="Only this one, defined or not; repeatable.")] = None,
) -> None:
    """Show what holds for a recipient, and what decides."""
    async with session.connect() as client:
        found = await client.preferences.resolve(recipient, category or ())
    session.out.show(found, *_resolution(found))


@command(app)
async def allow(
    session: Session,
    recipient: Whose = "",
    default: Default = False,
    category: About = "",
    channel: On = None,
) -> None:
    """Allow a category on a channel."""
    who = _whose(recipient, default)
    async with session.connect() as client:
        _show(session, await client.preferences.allow(who, category=category, channel=channel))


@command(app)
async def deny(
    session: Session,
    recipient: Whose = "",
    default: Default = False,
    category: About = "",
    channel: On = None,
) -> None:
    """Deny a category on a channel."""
    who = _whose(recipient, default)
    async with session.connect() as client:
        _show(session, await client.preferences.deny(who, category=category, channel=channel))


@command(app)
async def clear(
    session: Session,
    recipient: Whose = "",
    default: Default = False,
    category: About = "",
    channel: On = None,
) -> None:
    """Take back what was allowed or denied: what is below decides then."""
    who = _whose(recipient, default)
    number = enum_value(Channel, channel) if channel else Channel.CHANNEL_UNSPECIFIED
    key = PreferenceKey(category=category, channel=number)
    async with session.connect() as client:
        _show(session, await client.preferences.update(who, clear_choices=[key]))


@command(app)
async def quiet(
    session: Session,
    recipient: Whose = "",
    default: Default = False,
    window: Annotated[
        list[tocsin.QuietWindow] | None,
        Option(
            parser=_window, metavar="[DAYS ]HH:MM-HH:MM", help="Such as 'mon-fri 22:00-07:00'; repeatable."
        ),
    ] = None,
    action: Annotated[
        Literal["defer", "drop"], Option(help="What becomes of a channel meanwhile.")
    ] = "defer",
    email: Annotated[bool, Option("--email", help="E-mail stays silent, too.")] = False,
    never: Annotated[bool, Option("--never", help="Never quiet, whatever the tenant's default is.")] = False,
    unset: Annotated[bool, Option("--unset", help="Not said: the tenant's default holds.")] = False,
) -> None:
    """Set quiet hours, in the recipient's time zone."""
    who = _whose(recipient, default)
    if (window is not None) + never + unset != 1:
        raise BadParameter("give --window, --never or --unset")
    hours = tocsin.QuietHours(windows=window, action=enum_value(QuietAction, action), email=email)
    said = tocsin.Preferences(quiet_hours=None if unset else hours)
    async with session.connect() as client:
        _show(session, await client.preferences.update(who, said, fields=["quiet_hours"]))


@command(app)
async def digest(
    session: Session,
    time: Annotated[str, Argument(metavar="HH:MM|none", help="The time of day, in the recipient's zone.")],
    recipient: Whose = "",
    default: Default = False,
) -> None:
    """Set the time of day for digests."""
    who = _whose(recipient, default)
    said = tocsin.Preferences(digest_time="" if time == "none" else time)
    async with session.connect() as client:
        _show(session, await client.preferences.update(who, said, fields=["digest_time"]))


@command(app)
async def token(
    session: Session,
    recipient: Annotated[str, Argument(help="Who may leave.")],
    category: Annotated[str, Option(help="Which category.")],
    channel: Annotated[ChannelName, Option(help="On which channel.")],
) -> None:
    """Print a token with which a recipient leaves a category on a channel."""
    async with session.connect() as client:
        made = await client.preferences.unsubscribe_token(recipient, category, channel)
    session.out.show(CreateUnsubscribeTokenResponse(token=made), Text(made, overflow="fold"))


@command(app)
async def unsubscribe(session: Session, token: Annotated[str, Argument(help="The token.")]) -> None:
    """Redeem a token."""
    async with session.connect() as client:
        left = await client.preferences.unsubscribe(token)
    session.out.show(
        left,
        Text(f"{left.recipient} gets no {left.category} on {_channel(left.channel)} any more", style="bold"),
    )


def _whose(recipient: str, default: bool) -> str:
    """The key of a recipient; empty for the tenant's default. Raises BadParameter."""
    if bool(recipient) == default:
        raise BadParameter("give a recipient or --default")
    return recipient


def _days(text: str) -> list[int]:
    """The days of `mon` or `fri-mon`, 1 for Monday. Raises ValueError."""
    first, _, last = text.partition("-")
    start = _DAYS.index(first)
    length = (_DAYS.index(last or first) - start) % 7 + 1
    return [(start + day) % 7 + 1 for day in range(length)]


def _show(session: Session, preferences: tocsin.Preferences) -> None:
    hours = preferences.quiet_hours if preferences.HasField("quiet_hours") else None
    session.out.show(
        preferences,
        table(
            "category",
            "channel",
            "",
            rows=(
                (each.category or "*", _channel(each.channel), "allowed" if each.allowed else "denied")
                for each in preferences.choices
            ),
        ),
        properties(quiet_hours=_quiet(hours), digest_time=preferences.digest_time or "–"),
    )


def _resolution(found: ResolvePreferencesResponse) -> list[RenderableType]:
    hours = found.quiet_hours if found.HasField("quiet_hours") else None
    rows = (
        (
            each.category,
            _channel(each.channel),
            "allowed" if each.allowed else "denied",
            each.layer,
            each.text,
        )
        for each in found.preferences
    )
    return [
        table("category", "channel", "", "by", "why", rows=rows),
        properties(
            quiet_hours=f"{_quiet(hours)} ({found.quiet_hours_layer})",
            quiet_until=instant(found.quiet_until),
            digest_time=f"{found.digest_time or '–'} ({found.digest_time_layer})",
            time_zone=found.time_zone or "UTC",
        ),
    ]


def _quiet(hours: tocsin.QuietHours | None) -> str:
    if hours is None:
        return "–"
    if not hours.windows:
        return "never"
    windows = ", ".join(
        f"{' '.join(_DAYS[day - 1] for day in each.days)} {each.start_time}-{each.end_time}"
        for each in hours.windows
    )
    held = "push, sms, email" if hours.email else "push, sms"
    return f"{windows}: {enum_name(QuietAction, hours.action).lower()} {held}"


def _channel(channel: Channel.ValueType) -> str:
    return enum_name(Channel, channel).lower() if channel else "*"
