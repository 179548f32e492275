"""`tocsin send`."""

from pathlib import Path
from typing import Annotated

from rich.text import Text
from typer import BadParameter, Option, Typer

from tocsin_server.cli import render
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.sendfile import send_file
from tocsin_server.cli.specs import SpecArguments

app = Typer(add_completion=False)


@command(app)
async def send(
    session: Session,
    said: SpecArguments,
    request_id: Annotated[
        str | None, Option(help="Sent again with the same one, nothing happens twice.")
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
        if said.recipient or said.spec is not None or said.title:
            raise BadParameter("takes the place of recipient, --title and --spec", param_hint="--file")
        await send_file(session, file, run or file.name)
        return
    notification = said.notification()
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
