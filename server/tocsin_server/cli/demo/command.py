"""`tocsin demo`."""

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

from typer import Option, Typer

import tocsin
from tocsin_server.cli.connection import told
from tocsin_server.cli.demo import broadcasting, deciding, sending
from tocsin_server.cli.demo.arrivals import arrivals_of
from tocsin_server.cli.demo.relay import relay_to
from tocsin_server.cli.demo.server import LOGGED_CHANNELS, DemoServer
from tocsin_server.cli.demo.telling import head
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.output import Output
from tocsin_server.cli.status import components, summary

app = Typer(add_completion=False)

_TIMEOUT_S = 60.0
"""Of a call: the machine may be a slow one."""


@app.command()
def demo(
    keep: Annotated[
        bool, Option("--keep", help="Leave the server running, and say how to talk to it.")
    ] = False,
    recipients: Annotated[
        int, Option(min=2, max=1_000_000, help="How many people get the broadcast.")
    ] = 100_000,
) -> None:
    """Start a server, send, receive, break the connection, resume, plan, broadcast: see it work, in half a minute.

    The server is real, with SQLite in a temporary folder. Whatever is shown is checked: exit code 1 if a notification
    is missing, repeated or out of order, or if anything is decided otherwise than it should be.
    """
    # The client reports interruptions, which are what the demo is about.
    logging.getLogger("tocsin").addHandler(logging.NullHandler())
    with told("the demo's server"):
        asyncio.run(_run(Output(), recipients, keep=keep))


async def _run(out: Output, recipients: int, *, keep: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
    server = DemoServer(folder)
    kept, code = False, 0
    try:
        started = time.monotonic()
        await server.start()
        head(
            out,
            "A server",
            f"SQLite, port {server.port}, up in {time.monotonic() - started:.1f} s; "
            f"the log takes what would go out by {LOGGED_CHANNELS.replace(',', ', ')}",
        )
        await _show(out, server, recipients)
        kept = keep
    finally:
        if not kept:
            code = await server.stop()
            shutil.rmtree(folder, ignore_errors=True)
    if kept:
        _how_to_talk(out, server)
    elif code != 0:
        raise Failure(f"The server stopped with exit code {code}.")
    else:
        head(out, "Stopped", "the server drained and ended with exit code 0")


async def _show(out: Output, server: DemoServer, recipients: int) -> None:
    quick = tocsin.RetryPolicy(max_delay=0.5)
    async with (
        relay_to(server.port) as relay,
        tocsin.connect(f"127.0.0.1:{server.port}", timeout=_TIMEOUT_S) as client,
        tocsin.connect(f"127.0.0.1:{relay.port}", retry=quick) as receiver,
    ):
        async with arrivals_of(receiver, sending.RECIPIENT) as arrivals:
            await sending.send_six(out, client, arrivals)
            await sending.lose_connection(out, client, relay, arrivals)
        await sending.look_into_the_inbox(out, client)
        await broadcasting.seed(out, client, recipients)
        await deciding.say_what_is_wanted(out, client)
        planned = await deciding.plan(out, client)
        await deciding.send_as_planned(out, client, server, planned)
        await broadcasting.broadcast(out, client)
        status = await client.system.status()
        head(out, "Status")
        out.console.print(summary(status), components(status), sep="\n")


def _how_to_talk(out: Output, server: DemoServer) -> None:
    tocsin = _program()
    head(out, "The server goes on", f"process {server.pid}, {server.folder}")
    for line in (
        f"export TOCSIN_TARGET=127.0.0.1:{server.port}",
        f"{tocsin} subscribe {sending.RECIPIENT} --start unread",
        f'{tocsin} send {sending.RECIPIENT} --category greetings --title "Hello"',
        f"{tocsin} inbox {sending.RECIPIENT}",
        f'{tocsin} plan {sending.RECIPIENT} --category orders --title "Paid"',
        f"kill {server.pid}   # stop it",
    ):
        out.say(f"  {line}")


def _program() -> str:
    """How the user can call us: by name, or where the name is not known, as it was done this time."""
    called = Path(sys.argv[0])
    if called.stem == "__main__":
        return "python -m tocsin_server"
    found = shutil.which(called.name)
    known = found is not None and Path(found).resolve() == called.resolve()
    return called.name if known else os.path.relpath(called)
