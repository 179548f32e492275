"""`tocsin plan`."""

from rich.console import RenderableType
from rich.text import Text
from typer import Typer

from tocsin import Decision, PlannedDelivery, PlanSendResponse
from tocsin.v1.notification_pb2 import DecisionOutcome, Disposition
from tocsin.values import enum_name
from tocsin_server.cli import render
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, table
from tocsin_server.cli.specs import SpecArguments

app = Typer(add_completion=False)


@command(app)
async def plan(session: Session, said: SpecArguments) -> None:
    """Show what sending a notification now would do, and why. Nothing is sent."""
    notification = said.notification()
    async with session.connect() as client:
        found = await client.plan(notification)
    goes_out = found.disposition == Disposition.DISPOSITION_STORED
    session.out.show(
        found,
        Text(render.disposition(found), "bold green" if goes_out else "bold yellow"),
        channels(found),
        decisions(found),
    )


def channels(found: PlanSendResponse) -> RenderableType:
    """Where it would be shown, and when."""
    inbox = [("inbox", "", "", "at once")] if found.enters_inbox else []
    rows = (*inbox, *map(_delivery, found.deliveries))
    return table("channel", "address", "provider", "due", rows=rows)


def decisions(found: PlanSendResponse) -> RenderableType:
    """Each rule that had a say, and why."""
    rows = map(_decision, found.decisions)
    return table("rule", "channel", "outcome", "layer", "key", "due", "why", rows=rows)


def _delivery(delivery: PlannedDelivery) -> tuple[str, ...]:
    return render.channel(delivery.channel), delivery.address, delivery.provider, instant(delivery.due_time)


def _decision(decision: Decision) -> tuple[str, ...]:
    return (
        render.rule(decision),
        render.channel(decision.channel) or "all",
        enum_name(DecisionOutcome, decision.outcome).lower(),
        decision.layer,
        decision.key,
        instant(decision.due_time) if decision.HasField("due_time") else "",
        decision.text,
    )
