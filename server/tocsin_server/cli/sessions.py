"""`tocsin sessions`."""

from typing import Annotated

from rich.text import Text
from typer import Argument, Option, Typer

from tocsin.v1.system_service_pb2 import ListSessionsResponse, SessionKind, TerminateSessionResponse
from tocsin.v1.system_service_pb2 import Session as Stream
from tocsin.values import enum_name
from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import instant, table

app = Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def sessions() -> None:
    """Open streams: who is connected, how far behind, and ending one."""


@command(app, "list")
async def list_sessions(
    session: Session,
    recipient: Annotated[str, Option(help="Only those that follow this one.")] = "",
    all_tenants: Annotated[
        bool, Option("--all-tenants", help="Those of all tenants (scope operator).")
    ] = False,
) -> None:
    """List open streams."""
    async with session.connect() as client:
        found = [each async for each in client.system.sessions(recipient=recipient, all_tenants=all_tenants)]
    session.out.show(
        ListSessionsResponse(sessions=found),
        table(
            "session",
            "call",
            "principal",
            "consumer",
            "follows",
            ">sent",
            ">behind",
            ">buffered",
            "since",
            "peer",
            rows=map(_row, found),
        ),
    )


@command(app)
async def terminate(
    session: Session, session_id: Annotated[str, Argument(help="As `tocsin sessions list` shows it.")]
) -> None:
    """End a stream. Its client is told so, and does not come back by itself."""
    async with session.connect() as client:
        await client.system.terminate_session(session_id)
    session.out.show(TerminateSessionResponse(), Text("terminated", style="bold"))


def _row(stream: Stream) -> list[str]:
    kind = enum_name(SessionKind, stream.kind).lower()
    follows = ", ".join(stream.recipients[:3])
    if stream.recipient_count > len(stream.recipients[:3]):
        follows += f" … ({stream.recipient_count})"
    return [
        stream.session_id,
        kind,
        stream.principal or "–",
        stream.consumer or "–",
        follows,
        str(stream.sent_count),
        str(stream.behind_count),
        str(stream.buffered_bytes),
        instant(stream.create_time),
        stream.peer,
    ]
