"""`tocsin topics`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

from tocsin.v1.topic_service_pb2 import ListMembersResponse, ListTopicsResponse, Topic
from tocsin_server.cli.asking import Yes, confirmed
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, properties, table

app = Typer(add_completion=False, no_args_is_help=True)

Name = Annotated[str, Argument(help="The topic's name.")]
Keys = Annotated[list[str] | None, Argument(help="Recipients' keys.")]
File = Annotated[
    Path | None, Option(metavar="FILE", help="Recipients' keys, one a line; - is standard input.")
]


@app.callback()
def topics() -> None:
    """Topics: sets of recipients, for broadcasts."""


@command(app)
async def create(
    session: Session,
    topic: Annotated[str, Argument(help="Letters, digits and _ . : / -.")],
    display_name: Annotated[str, Option(help="Name to show.")] = "",
) -> None:
    """Create a topic."""
    async with session.connect() as client:
        _show(session, await client.topics.create(topic, display_name=display_name))


@command(app, "list")
async def list_topics(session: Session) -> None:
    """List all topics."""
    async with session.connect() as client:
        found = [topic async for topic in client.topics.all()]
    session.out.show(
        ListTopicsResponse(topics=found),
        table(
            "topic",
            "name",
            ">members",
            "created",
            rows=((t.topic, t.display_name, f"{t.member_count:,}", instant(t.create_time)) for t in found),
        ),
    )


@command(app)
async def get(session: Session, topic: Name) -> None:
    """Show a topic."""
    async with session.connect() as client:
        _show(session, await client.topics.get(topic))


@command(app)
async def delete(session: Session, topic: Name, yes: Yes = False) -> None:
    """Delete a topic. Its members stay recipients."""
    confirmed(f"Delete the topic {topic}?", yes=yes)
    async with session.connect() as client:
        _show(session, await client.topics.delete(topic))


@command(app)
async def add(session: Session, topic: Name, recipient: Keys = None, file: File = None) -> None:
    """Add members: some, or those in a file."""
    async with session.connect() as client:
        count = await client.topics.add_members(topic, _keys(recipient, file))
    session.out.show({"addedCount": count}, Text(f"{count:,} added"))


@command(app)
async def remove(session: Session, topic: Name, recipient: Keys = None, file: File = None) -> None:
    """Remove members: some, or those in a file."""
    async with session.connect() as client:
        count = await client.topics.remove_members(topic, _keys(recipient, file))
    session.out.show({"removedCount": count}, Text(f"{count:,} removed"))


@command(app)
async def members(session: Session, topic: Name) -> None:
    """List all members."""
    async with session.connect() as client:
        found = [member async for member in client.topics.members(topic, page_size=1_000)]
    session.out.show(
        ListMembersResponse(members=found),
        table("recipient", "since", rows=((m.recipient, instant(m.create_time)) for m in found)),
    )


def _keys(recipients: list[str] | None, file: Path | None) -> Iterable[str]:
    """Raises BadParameter."""
    if bool(recipients) == (file is not None):
        raise BadParameter("give recipients or --file")
    if recipients:
        return recipients
    lines = sys.stdin if str(file) == "-" else (file or Path()).read_text(encoding="utf-8").splitlines()
    return (key for line in lines if (key := line.strip()))


def _show(session: Session, topic: Topic) -> None:
    session.out.show(
        topic,
        Text.assemble((topic.topic, "bold"), f"  {topic.display_name}"),
        properties(members=f"{topic.member_count:,}", created=instant(topic.create_time)),
    )
