"""`tocsin send`."""

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

import tocsin
from tocsin.values import PriorityName
from tocsin_server.cli import render, values
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.sendfile import send_file
from tocsin_server.cli.specs import spec_from_json

app = Typer(add_completion=False)


@command(app)
async def send(
    session: Session,
    recipient: Annotated[str, Argument(help="Who gets it.")] = "",
    category: Annotated[str, Option(help="What it is about.")] = "",
    title: Annotated[str, Option(help="One line.")] = "",
    body: Annotated[str, Option(help="The text.")] = "",
    priority: Annotated[PriorityName | None, Option(help="How urgent it is.")] = None,
    thread: Annotated[str, Option(help="Groups entries about one subject.")] = "",
    delay: Annotated[
        timedelta | None,
        Option(parser=values.span, metavar="DURATION", help="Deliver later: 90s, 5m, 48h, 7d."),
    ] = None,
    at: Annotated[
        datetime | None, Option(parser=values.instant, metavar="TIME", help="Deliver at an instant.")
    ] = None,
    expires: Annotated[
        datetime | None,
        Option(
            parser=values.instant, metavar="TIME", help="When it is over: an instant, or a duration from now."
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None, Option(metavar="NAME=VALUE", help="The sender's own data; repeatable.")
    ] = None,
    request_id: Annotated[
        str | None, Option(help="Sent again with the same one, nothing happens twice.")
    ] = None,
    spec: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="A NotificationSpec as JSON in place of all of the above; - is standard input.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="Send many: a NotificationSpec as JSON a line. Goes on where it broke off."
        ),
    ] = None,
    run: Annotated[
        str,
        Option(metavar="NAME", help="With --file: another name than the file's sends all of it again."),
    ] = "",
) -> None:
    """Send a notification, or a file of them.

    It is durable when the command returns. With --file, the request ids are made of the file's name and the line, so
    that sending the file again sends nothing twice.
    """
    if file is not None:
        if recipient or spec is not None or title:
            raise BadParameter("takes the place of recipient, --title and --spec", param_hint="--file")
        await send_file(session, file, run or file.name)
        return
    if spec is not None:
        if recipient or title:
            raise BadParameter("takes the place of recipient and --title", param_hint="--spec")
        notification = _read(spec)
    else:
        missing = [
            name
            for name, given in (("RECIPIENT", recipient), ("--category", category), ("--title", title))
            if not given
        ]
        if missing:
            raise BadParameter(f"missing {', '.join(missing)}; or give --spec or --file")
        options: tocsin.SpecOptions = {"thread": thread}
        if priority is not None:
            options["priority"] = priority
        if delay is not None:
            options["deliver_delay"] = delay
        if at is not None:
            options["deliver_time"] = at
        if expires is not None:
            options["expire_time"] = expires
        options["attributes"] = dict(values.pair(text) for text in attribute or ())
        notification = tocsin.spec(recipient, category, (title, body), **options)
    async with session.connect() as client:
        result = await client.send(notification, request_id=request_id)
    session.out.show(
        result,
        Text.assemble(
            (render.disposition(result), "bold green" if result.cursor else "bold yellow"),
            f"  {result.notification_id}",
            ("  (sent before)" if result.replayed else "", "dim"),
            *(f"\n  {decision.text}" for decision in result.decisions),
        ),
    )


def _read(path: Path) -> tocsin.NotificationSpec:
    """Raises Failure."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        return spec_from_json(text)
    except ValueError as error:
        raise Failure(f"{path}: {error}.") from error
