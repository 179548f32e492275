"""`tocsin broadcast`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from typer import Argument, BadParameter, Option, Typer

import tocsin
from tocsin.v1.broadcast_service_pb2 import Broadcast, BroadcastState, ListBroadcastsResponse
from tocsin.v1.notification_pb2 import DecisionRule, NotificationSpec
from tocsin.values import PriorityName, enum_name
from tocsin_server.cli import values
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.output import instant, properties, table
from tocsin_server.cli.specs import spec_from_json

app = Typer(add_completion=False, no_args_is_help=True)

Id = Annotated[str, Argument(help="The broadcast's id.")]


@app.callback()
def broadcast() -> None:
    """One notification for a topic, for those that a filter names, or for everyone."""


@command(app)
async def create(
    session: Session,
    topic: Annotated[str, Option(help="To the members of a topic.")] = "",
    filter: Annotated[str, Option(help="To those named: attributes.plan = pro AND locale = pt-BR.")] = "",
    everyone: Annotated[bool, Option("--everyone", help="To all recipients.")] = False,
    category: Annotated[str, Option(help="What it is about.")] = "",
    title: Annotated[str, Option(help="One line.")] = "",
    body: Annotated[str, Option(help="The text.")] = "",
    priority: Annotated[PriorityName | None, Option(help="How urgent it is.")] = None,
    at: Annotated[
        datetime | None, Option(parser=values.instant, metavar="TIME", help="Begin at an instant.")
    ] = None,
    expires: Annotated[
        datetime | None,
        Option(
            parser=values.instant, metavar="TIME", help="When it is over: an instant, or a duration from now."
        ),
    ] = None,
    spec: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="A NotificationSpec as JSON, without a recipient, in place of the above; - is standard input.",
        ),
    ] = None,
    request_id: Annotated[
        str | None, Option(help="Sent again with the same one, nothing happens twice.")
    ] = None,
    wait: Annotated[
        bool, Option("--wait/--no-wait", help="Show how it gets on, and wait for its end.")
    ] = True,
) -> None:
    """Send to many, and see how it gets on. To leave off watching does not stop it."""
    if bool(topic) + bool(filter) + everyone != 1:
        raise BadParameter("give one of --topic, --filter and --everyone")
    notification = _notification(category, title, body, priority, at, expires, spec)
    async with session.connect() as client:
        made = await client.broadcasts.create(
            notification, topic=topic, filter=filter, everyone=everyone, request_id=request_id
        )
        if wait and at is None:
            made = await _watched(session, client, made)
    _show(session, made)


@command(app, "list")
async def list_broadcasts(session: Session) -> None:
    """List broadcasts, the latest first."""
    async with session.connect() as client:
        found = [each async for each in client.broadcasts.all()]
    session.out.show(
        ListBroadcastsResponse(broadcasts=found),
        table(
            "id",
            "category",
            "to",
            "state",
            ">delivered",
            "created",
            rows=(
                (
                    each.broadcast_id,
                    each.notification.category,
                    _audience(each),
                    _state(each),
                    f"{each.progress.delivered_count:,}",
                    instant(each.create_time),
                )
                for each in found
            ),
        ),
    )


@command(app)
async def get(session: Session, broadcast_id: Id) -> None:
    """Show a broadcast and how far it has got."""
    async with session.connect() as client:
        _show(session, await client.broadcasts.get(broadcast_id))


@command(app)
async def cancel(session: Session, broadcast_id: Id) -> None:
    """Stop a broadcast. What was delivered stays."""
    async with session.connect() as client:
        _show(session, await client.broadcasts.cancel(broadcast_id))


async def _watched(session: Session, client: tocsin.Client, made: Broadcast) -> Broadcast:
    """Shows how a broadcast gets on until it is over."""
    bar = Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed:,} of {task.total:,}"),
        TimeRemainingColumn(),
        console=session.out.aside,
        transient=True,
        disable=session.out.as_json or not session.out.aside.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=0)
        latest = made
        async for latest in client.broadcasts.watch(made.broadcast_id, interval=0.2):
            progress = latest.progress
            bar.update(task, completed=progress.processed_count, total=progress.targeted_count)
    return latest


def _notification(
    category: str,
    title: str,
    body: str,
    priority: PriorityName | None,
    at: datetime | None,
    expires: datetime | None,
    spec: Path | None,
) -> NotificationSpec:
    """Raises BadParameter, Failure."""
    if spec is not None:
        if category or title:
            raise BadParameter("takes the place of --category and --title", param_hint="--spec")
        text = sys.stdin.read() if str(spec) == "-" else spec.read_text(encoding="utf-8")
        try:
            return spec_from_json(text)
        except ValueError as error:
            raise Failure(f"{spec}: {error}.") from error
    if not category or not title:
        raise BadParameter("missing --category and --title; or give --spec")
    options: tocsin.SpecOptions = {}
    if priority is not None:
        options["priority"] = priority
    if at is not None:
        options["deliver_time"] = at
    if expires is not None:
        options["expire_time"] = expires
    return tocsin.spec("", category, (title, body), **options)


def _show(session: Session, found: Broadcast) -> None:
    progress = found.progress
    suppressed = ", ".join(
        f"{each.count:,} by {enum_name(DecisionRule, each.rule).lower()}" for each in progress.suppressed
    )
    shown: dict[str, object] = {
        "to": _audience(found),
        "processed": f"{progress.processed_count:,} of {progress.targeted_count:,}",
        "delivered": f"{progress.delivered_count:,}",
        "later": f"{progress.deferred_count:,}",
        "suppressed": suppressed or "0",
        "failed": f"{progress.failed_count:,}",
        "created": instant(found.create_time),
        "finished": instant(found.finish_time),
    }
    if found.failure:
        shown["failure"] = found.failure
    session.out.show(
        found,
        Text.assemble((found.broadcast_id, "bold"), f"  {found.notification.category}  {_state(found)}"),
        properties(**shown),
    )


def _audience(found: Broadcast) -> str:
    match found.audience.WhichOneof("audience"):
        case "topic":
            return f"topic {found.audience.topic}"
        case "filter":
            return found.audience.filter
        case _:
            return "everyone"


def _state(found: Broadcast) -> str:
    return enum_name(BroadcastState, found.state).lower()
