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

from rich.text import Text
from typer import Option, Typer

import tocsin
from tocsin_server.cli import render
from tocsin_server.cli.connection import told
from tocsin_server.cli.demo.content import six_kinds, while_away
from tocsin_server.cli.demo.relay import Relay, relay_to
from tocsin_server.cli.demo.server import DemoServer
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.inbox import listing
from tocsin_server.cli.output import Output
from tocsin_server.cli.status import components, summary

app = Typer(add_completion=False)

RECIPIENT = "ada"
_AWAY_COUNT = 20
_PATIENCE_S = 30.0
_READ_COUNT = 3


@app.command()
def demo(
    keep: Annotated[
        bool, Option("--keep", help="Leave the server running, and say how to talk to it.")
    ] = False,
) -> None:
    """Start a server, send, receive, break the connection, resume: see it work, in a few seconds.

    The server is real, with SQLite in a temporary folder. Whatever is shown is checked: exit code 1 if a notification
    is missing, repeated or out of order.
    """
    # The client reports interruptions, which are what the demo is about.
    logging.getLogger("tocsin").addHandler(logging.NullHandler())
    with told("the demo's server"):
        asyncio.run(_run(Output(), keep=keep))


async def _run(out: Output, *, keep: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="tocsin-demo-"))
    server = DemoServer(folder)
    kept, code = False, 0
    try:
        started = time.monotonic()
        await server.start()
        _head(out, "A server", f"SQLite, port {server.port}, up in {time.monotonic() - started:.1f} s")
        await _show(out, server)
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
        _head(out, "Stopped", "the server drained and ended with exit code 0")


async def _show(out: Output, server: DemoServer) -> None:
    async with relay_to(server.port) as relay:
        quick = tocsin.RetryPolicy(max_delay=0.5)
        async with (
            tocsin.connect(f"127.0.0.1:{server.port}") as sender,
            tocsin.connect(f"127.0.0.1:{relay.port}", retry=quick) as receiver,
            receiver.subscribe(RECIPIENT, start="beginning") as events,
        ):
            arrivals = _Arrivals(events)
            watching = asyncio.create_task(arrivals.watch())
            try:
                await _send_six(out, sender, arrivals)
                await _lose_connection(out, sender, relay, arrivals)
            finally:
                watching.cancel()
            await _look_around(out, sender)


class _Arrivals:
    """What the subscriber has been given."""

    def __init__(self, events: tocsin.Subscription) -> None:
        self._events = events
        self.entries: list[tocsin.Entry] = []
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None

    async def watch(self) -> None:
        """Takes events until cancelled."""
        try:
            async for event in self._events:
                if isinstance(event, tocsin.ResetHappened):
                    raise Failure(f"The stream was reset: {event.reason}.")
                if isinstance(event, tocsin.Entry):
                    self.entries.append(event)
                    await self._tell()
        except Exception as error:
            self._failure = error
            await self._tell()

    async def until(self, count: int) -> None:
        """Waits for so many entries. Raises Failure if they do not come."""
        try:
            async with asyncio.timeout(_PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: len(self.entries) >= count or self._failure)
        except TimeoutError:
            raise Failure(
                f"{len(self.entries)} of {count} notifications arrived in {_PATIENCE_S:g} s."
            ) from None
        if self._failure is not None:
            raise self._failure

    def check(self, sent: list[str]) -> None:
        """Each notification once, in order. Raises Failure."""
        got = [entry.notification.id for entry in self.entries]
        if missing := set(sent) - set(got):
            raise Failure(f"{len(missing)} notifications are missing.")
        if len(got) != len(set(got)):
            raise Failure(f"{len(got) - len(set(got))} notifications came twice.")
        if got != sent:
            raise Failure("Notifications came out of order.")

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _send_six(out: Output, sender: tocsin.Client, arrivals: _Arrivals) -> None:
    _head(out, "Six kinds of content", f"to {RECIPIENT}, who is listening")
    await sender.system.status()  # connects, which is not to be timed
    sent = []
    for spec in six_kinds(RECIPIENT):
        began = time.monotonic()
        sent.append((await sender.send(spec)).notification_id)
        durable = time.monotonic() - began
        await arrivals.until(len(sent))
        arrived = time.monotonic() - began
        notification = arrivals.entries[-1].notification
        kind = (notification.content.WhichOneof("kind") or "").replace("_", " ")
        out.console.print(
            Text.assemble(
                ("  ✓ ", "green"),
                f"{kind:<12}",
                f"{render.title(notification):<30}",
                (f"  on disk after {durable * 1000:5.1f} ms, received after {arrived * 1000:5.1f} ms", "dim"),
            )
        )
    arrivals.check(sent)


async def _lose_connection(out: Output, sender: tocsin.Client, relay: Relay, arrivals: _Arrivals) -> None:
    before = [entry.notification.id for entry in arrivals.entries]
    relay.cut()
    _head(out, "Connection cut", f"{_AWAY_COUNT} notifications are sent meanwhile")
    outcomes = [outcome.unwrap() async for outcome in sender.send_many(while_away(RECIPIENT, _AWAY_COUNT))]
    if len(arrivals.entries) != len(before):
        raise Failure("Something came through a connection that was cut.")
    relay.mend()
    mended = time.monotonic()
    await arrivals.until(len(before) + _AWAY_COUNT)
    arrivals.check(before + [result.notification_id for result in outcomes])
    revisions = [entry.notification.revision for entry in arrivals.entries]
    if revisions != list(range(1, len(revisions) + 1)):
        raise Failure(f"The revisions have a gap: {revisions}.")
    out.console.print(
        Text.assemble(
            ("  ✓ ", "green"),
            f"resumed behind #{len(before)} and received #{len(before) + 1} to #{len(revisions)}",
            (f"  {time.monotonic() - mended:.1f} s after the cut was mended", "dim"),
        ),
        Text.assemble(("  ✓ ", "green"), "none missing, none twice, all in order"),
        sep="\n",
    )


async def _look_around(out: Output, sender: tocsin.Client) -> None:
    entries = await sender.inbox.entries(RECIPIENT)
    newest = [entry async for entry in entries]
    marked = await sender.inbox.mark(RECIPIENT, "read", ids=[entry.id for entry in newest[:_READ_COUNT]])
    newest = [entry async for entry in await sender.inbox.entries(RECIPIENT)]
    _head(out, f"The inbox of {RECIPIENT}", f"{marked.changed_count} were just marked as read")
    out.console.print(listing(newest[: _READ_COUNT + 2], ids=False))
    out.console.print(
        Text.assemble("  … ", (f"{marked.summary.unread} unread", "bold"), f" of {marked.summary.total}")
    )
    status = await sender.system.status()
    _head(out, "Status", "")
    out.console.print(summary(status), components(status), sep="\n")
    if marked.summary.unread != len(newest) - _READ_COUNT:
        raise Failure(f"{marked.summary.unread} entries are counted as unread.")


def _how_to_talk(out: Output, server: DemoServer) -> None:
    tocsin = _program()
    _head(out, "The server goes on", f"process {server.pid}, {server.folder}")
    for line in (
        f"export TOCSIN_TARGET=127.0.0.1:{server.port}",
        f"{tocsin} subscribe {RECIPIENT} --start unread",
        f'{tocsin} send {RECIPIENT} --category greetings --title "Hello"',
        f"{tocsin} inbox {RECIPIENT}",
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


def _head(out: Output, title: str, rest: str) -> None:
    out.console.print(Text.assemble("\n", (title, "bold"), ("  " if rest else "") + rest))
