"""`tocsin notification`."""

from typing import Annotated

from rich.console import RenderableType
from typer import Argument, Typer

from tocsin.v1.notification_pb2 import Decision, NotificationState
from tocsin.v1.notification_service_pb2 import (
    Delivery,
    DeliveryState,
    GetNotificationResponse,
    TimelineEvent,
    TimelineEventKind,
)
from tocsin.values import enum_name
from tocsin_server.cli import render
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, properties, table

app = Typer(add_completion=False)


@command(app)
async def notification(
    session: Session, notification_id: Annotated[str, Argument(help="The id that Send answered.")]
) -> None:
    """Show what became of a notification: where it stands, where else it goes, and what has happened to it."""
    async with session.connect() as client:
        found = await client.notifications.get(notification_id)
    session.out.show(found, summary(found), deliveries(found), timeline(found))


def summary(found: GetNotificationResponse) -> RenderableType:
    """The notification and its state."""
    shown = found.notification
    return properties(
        title=render.title(shown),
        recipient=shown.recipient,
        category=shown.category,
        state=enum_name(NotificationState, found.state).lower(),
        entry=render.state(shown) if shown.revision else "–",
        sent=instant(shown.create_time),
    )


def deliveries(found: GetNotificationResponse) -> RenderableType:
    """What goes out on other channels than the inbox."""
    columns = ("channel", "address", "provider", "state", "due", ">attempts", "detail")
    return table(*columns, rows=map(_delivery, found.deliveries))


def timeline(found: GetNotificationResponse) -> RenderableType:
    """What has happened, oldest first, and why."""
    return table("time", "what", "channel", "detail", rows=map(_event, found.timeline))


def _delivery(delivery: Delivery) -> tuple[str, ...]:
    return (
        render.channel(delivery.channel),
        delivery.address,
        delivery.provider,
        enum_name(DeliveryState, delivery.state).lower(),
        instant(delivery.due_time),
        str(delivery.attempt_count),
        delivery.detail or delivery.message_id,
    )


def _event(event: TimelineEvent) -> tuple[str, ...]:
    kind = enum_name(TimelineEventKind, event.kind).lower().replace("_", " ")
    why = "; ".join(filter(None, (event.detail, *map(_decision, event.decisions))))
    return instant(event.time), kind, render.channel(event.channel), why


def _decision(decision: Decision) -> str:
    channel, rule = render.channel(decision.channel), render.rule(decision)
    return f"{channel}: {decision.text} ({rule})" if channel else f"{decision.text} ({rule})"
