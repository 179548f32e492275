"""`tocsin subscribe`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from rich.text import Text
from typer import Argument, Option, Typer

import tocsin
from tocsin.v1.error_reason_pb2 import ErrorReason
from tocsin.v1.inbox_service_pb2 import InboxEvent, Reset, Summary
from tocsin.values import StartName
from tocsin_server.cli import render
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import Output

app = Typer(add_completion=False)


@command(app)
async def subscribe(
    session: Session,
    recipient: Annotated[list[str], Argument(help="Whom to follow; up to 1,000.")],
    start: Annotated[
        StartName,
        Option(help="Where to start: what comes from now on, all unread entries, or all that is kept."),
    ] = "now",
    consumer: Annotated[
        str, Option(help="Go on where this named consumer was, and acknowledge what is shown.")
    ] = "",
    category: Annotated[list[str] | None, Option(help="Only of this category; repeatable.")] = None,
    count: Annotated[int | None, Option(min=1, help="Stop after so many entries.")] = None,
) -> None:
    """Show what arrives, live. Connects again when the connection is lost, and goes on where it was.

    With --json, each line is an InboxEvent. Ends with Ctrl-C.
    """
    try:
        async with (
            _interruptions_noted(session.out),
            session.connect(patient=True) as client,
            client.subscribe(recipient, start=start, consumer=consumer, categories=category or ()) as events,
        ):
            shown = 0
            async for event in events:
                if session.out.as_json:
                    session.out.line(_message(event))
                else:
                    session.out.say(_line(event))
                if consumer:
                    events.ack(event)
                shown += isinstance(event, tocsin.Entry)
                if shown == count:
                    break
    except asyncio.CancelledError:
        pass  # Ctrl-C is how a live tail ends; what was shown is acknowledged by now


@asynccontextmanager
async def _interruptions_noted(out: Output) -> AsyncIterator[None]:
    """Shows what the client has to say of connections that were lost."""
    notes = _Notes(out)
    logger = logging.getLogger("tocsin")
    logger.addHandler(notes)
    try:
        yield
    finally:
        logger.removeHandler(notes)


class _Notes(logging.Handler):
    def __init__(self, out: Output) -> None:
        super().__init__(logging.INFO)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.note(Text(record.getMessage(), style="dim"))


def _message(event: tocsin.Event) -> InboxEvent:
    message = InboxEvent(recipient=event.recipient, cursor=event.cursor or "")
    match event:
        case tocsin.Entry(notification=notification):
            message.notification.CopyFrom(notification)
        case tocsin.SummaryChanged(unread=unread, unseen=unseen, total=total):
            message.summary.CopyFrom(Summary(unread=unread, unseen=unseen, total=total))
        case tocsin.ResetHappened(reason=reason, oldest_cursor=oldest):
            number = ErrorReason.Value(f"ERROR_REASON_{reason}")
            message.reset.CopyFrom(Reset(reason=number, oldest_cursor=oldest or ""))
    return message


def _line(event: tocsin.Event) -> Text:
    match event:
        case tocsin.Entry(notification=notification):
            return render.line(notification)
        case tocsin.SummaryChanged(unread=unread, total=total):
            return Text(f"{event.recipient}: {unread} unread of {total}", style="dim")
        case tocsin.ResetHappened(reason=reason, left_out=left_out):
            outcome = "it is not followed any more" if left_out else "it starts anew"
            return Text(f"{event.recipient}: {reason}, {outcome}", style="yellow")
    raise AssertionError(event)
