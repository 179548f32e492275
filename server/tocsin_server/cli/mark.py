"""`tocsin mark`."""

from datetime import datetime
from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

from tocsin.values import MarkName
from tocsin_server.cli import values
from tocsin_server.cli.connection import Session, command

app = Typer(add_completion=False)


@command(app)
async def mark(
    session: Session,
    recipient: Annotated[str, Argument(help="Whose inbox.")],
    mark: Annotated[MarkName, Argument(help="How to mark.")],
    id: Annotated[list[str] | None, Option(help="This notification; repeatable.")] = None,
    thread: Annotated[str | None, Option(help="All of this thread.")] = None,
    all: Annotated[bool, Option("--all", help="Everything up to now, what is archived too.")] = False,
    until: Annotated[
        datetime | None,
        Option(
            parser=values.instant, metavar="TIME", help="For snoozed: an instant, or a duration from now."
        ),
    ] = None,
) -> None:
    """Mark entries of an inbox as seen, read, archived and so on: by id, by thread, or all."""
    if (id is not None) + (thread is not None) + all != 1:
        raise BadParameter("give one of --id, --thread and --all")
    if (mark == "snoozed") != (until is not None):
        raise BadParameter("goes with snoozed, and snoozed needs it", param_hint="--until")
    async with session.connect() as client:
        cursor = (await client.inbox.summary(recipient)).cursor if all else None
        answer = await client.inbox.mark(
            recipient, mark, ids=id, thread=thread, up_to_cursor=cursor, snooze_until=until
        )
    session.out.show(
        answer,
        Text.assemble(
            (f"{answer.changed_count} marked as {mark}", "bold"),
            f"; {answer.summary.unread} unread, {answer.summary.unseen} unseen, {answer.summary.total} in all",
        ),
    )
