"""`tocsin status`."""

from rich.console import RenderableType
from rich.text import Text
from typer import Typer

from tocsin.v1.system_service_pb2 import Component, ComponentState, GetStatusResponse
from tocsin.values import enum_name
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, span, table

app = Typer(add_completion=False)

_STYLES = {
    ComponentState.COMPONENT_STATE_OK: "green",
    ComponentState.COMPONENT_STATE_DEGRADED: "yellow",
    ComponentState.COMPONENT_STATE_DOWN: "bold red",
}


@command(app)
async def status(session: Session) -> None:
    """Show how the server is: its parts, what waits, how late it is."""
    async with session.connect() as client:
        answer = await client.system.status()
    session.out.show(answer, summary(answer), components(answer), queues(answer))


def summary(status: GetStatusResponse) -> Text:
    """The server in one line."""
    return Text.assemble(
        ("draining" if status.draining else "serving", "yellow" if status.draining else "bold green"),
        f"  Tocsin {status.version}, schema {status.schema_version}, since {instant(status.start_time)}",
        f"\nsessions: {status.session_count}, recipients followed: {status.attached_recipient_count}, ",
        f"event loop late by {span(status.event_loop_lag)}, timers by {span(status.timer_lag)}",
    )


def components(status: GetStatusResponse) -> RenderableType:
    """The parts, and what is wrong with them."""
    return table("part", "state", "since", "detail", rows=map(_component, status.components))


def queues(status: GetStatusResponse) -> RenderableType:
    """What waits."""
    rows = ((q.name, str(q.depth), str(q.bytes), span(q.oldest_age)) for q in status.queues)
    return table("queue", ">waiting", ">bytes", ">oldest", rows=rows)


def _component(component: Component) -> tuple[str, Text, str, str]:
    name = enum_name(ComponentState, component.state).lower()
    detail = " ".join(filter(None, (component.detail, component.consequence)))
    return (
        component.name,
        Text(name, style=_STYLES.get(component.state, "")),
        instant(component.since_time),
        detail,
    )
