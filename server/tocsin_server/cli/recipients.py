"""`tocsin recipients`."""

from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

import tocsin
from tocsin.v1.notification_pb2 import Channel
from tocsin.v1.recipient_service_pb2 import AddressState, ListRecipientsResponse
from tocsin.values import enum_name
from tocsin_server.cli import values
from tocsin_server.cli.asking import Yes, confirmed
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, properties, table

app = Typer(add_completion=False, no_args_is_help=True)

Key = Annotated[str, Argument(help="The recipient's key.")]


@app.callback()
def recipients() -> None:
    """Recipients: their profiles, and all that is stored about them."""


@command(app)
async def get(session: Session, recipient: Key) -> None:
    """Show a recipient."""
    async with session.connect() as client:
        found = await client.recipients.get(recipient)
    _show(session, found)


@command(app, "list")
async def list_recipients(
    session: Session, prefix: Annotated[str, Option(help="Only keys that begin so.")] = ""
) -> None:
    """List recipients by key."""
    async with session.connect() as client:
        found = [recipient async for recipient in client.recipients.all(key_prefix=prefix, page_size=1000)]
    session.out.show(
        ListRecipientsResponse(recipients=found),
        table(
            "recipient",
            "locale",
            "time zone",
            "created",
            rows=((r.recipient, r.locale or "–", r.time_zone or "–", instant(r.create_time)) for r in found),
        ),
    )


@command(app)
async def upsert(
    session: Session,
    recipient: Key,
    locale: Annotated[str | None, Option(help="Language tag, such as pt-BR.")] = None,
    time_zone: Annotated[str | None, Option(help="Such as Europe/Lisbon.")] = None,
    attribute: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="Replaces all attributes; repeatable.")
    ] = None,
    address: Annotated[
        list[str] | None,
        Option(
            metavar="CHANNEL=ADDRESS",
            help="Such as email=ada@example.com; replaces all addresses; repeatable.",
        ),
    ] = None,
) -> None:
    """Create a recipient, or change what is named; the rest stays."""
    profile = tocsin.Recipient(recipient=recipient)
    fields = []
    if locale is not None:
        profile.locale = locale
        fields.append("locale")
    if time_zone is not None:
        profile.time_zone = time_zone
        fields.append("time_zone")
    if attribute is not None:
        profile.attributes.update(values.pair(text) for text in attribute)
        fields.append("attributes")
    if address is not None:
        for channel, value in map(values.pair, address):
            profile.addresses.add(channel=Channel.ValueType(values.channel(channel)), value=value)
        fields.append("addresses")
    if not fields:
        raise BadParameter("name at least one of --locale, --time-zone, --attribute and --address")
    async with session.connect() as client:
        (outcome,) = await client.recipients.upsert([profile], fields=fields)
    if outcome.recipient is None:
        assert outcome.error is not None
        raise outcome.error
    _show(session, outcome.recipient)


@command(app)
async def delete(session: Session, recipient: Key, yes: Yes = False) -> None:
    """Erase everything personal of a recipient: profile, inbox, timelines, pending work."""
    confirmed(f"Erase everything of {recipient}?", yes=yes)
    async with session.connect() as client:
        answer = await client.recipients.delete(recipient, timeout=session.connection.timeout or 600)
    session.out.show(answer, Text(f"erased, with {answer.erased_count} notifications", style="bold"))


@command(app)
async def export(session: Session, recipient: Key) -> None:
    """Print everything that is stored about a recipient: JSON, one part a line."""
    async with session.connect() as client:
        async for part in client.recipients.export(recipient):
            session.out.line(part)


def _show(session: Session, recipient: tocsin.Recipient) -> None:
    addresses = [
        f"{enum_name(Channel, each.channel).lower()} {each.value} ({enum_name(AddressState, each.state).lower()})"
        for each in recipient.addresses
    ]
    session.out.show(
        recipient,
        Text(recipient.recipient, style="bold"),
        properties(
            locale=recipient.locale or "–",
            time_zone=recipient.time_zone or "–",
            attributes=", ".join(f"{name}={value}" for name, value in sorted(recipient.attributes.items()))
            or "–",
            addresses="\n".join(addresses) or "–",
            created=instant(recipient.create_time),
            updated=instant(recipient.update_time),
        ),
    )
