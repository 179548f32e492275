"""`tocsin inbox`."""

from collections.abc import Iterable
from typing import Annotated

from rich.console import RenderableType
from rich.text import Text
from typer import Argument, Option, Typer

from tocsin.v1.inbox_service_pb2 import ListEntriesResponse
from tocsin.v1.notification_pb2 import Notification
from tocsin.values import EntryViewName
from tocsin_server.cli import render
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, table

app = Typer(add_completion=False)


@command(app)
async def inbox(
    session: Session,
    recipient: Annotated[str, Argument(help="Whose inbox.")],
    view: Annotated[EntryViewName, Option(help="Which entries.")] = "inbox",
    category: Annotated[list[str] | None, Option(help="Only of this category; repeatable.")] = None,
    thread: Annotated[str, Option(help="Only of this thread.")] = "",
    limit: Annotated[int, Option(min=1, help="At most so many, the newest.")] = 50,
) -> None:
    """List the entries of an inbox, newest first."""
    async with session.connect() as client:
        entries = await client.inbox.entries(
            recipient, view=view, categories=category or (), thread=thread, page_size=min(limit, 1000)
        )
        found: list[Notification] = []
        async for entry in entries:
            found.append(entry)
            if len(found) == limit:
                break
    counts = entries.summary
    session.out.show(
        ListEntriesResponse(entries=found, summary=counts, cursor=entries.cursor),
        listing(found),
        Text(f"{counts.unread} unread, {counts.unseen} unseen, {counts.total} in all", style="dim"),
    )


def listing(entries: Iterable[Notification], *, ids: bool = True) -> RenderableType:
    """Entries as a table."""
    return table(
        ">#",
        "created",
        "category",
        "title",
        "state",
        *(["id"] if ids else []),
        rows=(
            (
                str(entry.revision),
                instant(entry.create_time),
                entry.category,
                Text(render.title(entry), style="" if entry.state.read else "bold"),
                render.state(entry),
                *([entry.id] if ids else []),
            )
            for entry in entries
        ),
    )
