"""Six kinds of content, a connection that breaks, and the inbox afterwards."""

import time

from rich.text import Text

import tocsin
from tocsin_server.cli import render
from tocsin_server.cli.demo.arrivals import Arrivals
from tocsin_server.cli.demo.content import six_kinds, while_away
from tocsin_server.cli.demo.relay import Relay
from tocsin_server.cli.demo.telling import head, seen
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.inbox import listing
from tocsin_server.cli.output import Output

RECIPIENT = "ada"
_AWAY_COUNT = 20
_READ_COUNT = 3


async def send_six(out: Output, sender: tocsin.Client, arrivals: Arrivals) -> None:
    """How long each takes to be on disk, and to arrive."""
    head(out, "Six kinds of content", f"to {RECIPIENT}, who is listening")
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
        seen(
            out,
            f"{kind:<12}{render.title(notification):<30}",
            f"on disk after {durable * 1000:5.1f} ms, received after {arrived * 1000:5.1f} ms",
        )
    arrivals.check(sent)


async def lose_connection(out: Output, sender: tocsin.Client, relay: Relay, arrivals: Arrivals) -> None:
    """What is sent while the receiver cannot be reached, comes as soon as it can be."""
    before = [entry.notification.id for entry in arrivals.entries]
    relay.cut()
    head(out, "Connection cut", f"{_AWAY_COUNT} notifications are sent meanwhile")
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
    seen(
        out,
        f"resumed behind #{len(before)} and received #{len(before) + 1} to #{len(revisions)}",
        f"{time.monotonic() - mended:.1f} s after the cut was mended",
    )
    seen(out, "none missing, none twice, all in order")


async def look_into_the_inbox(out: Output, sender: tocsin.Client) -> None:
    """Marks, and the counts that go with them."""
    entries = await sender.inbox.entries(RECIPIENT)
    newest = [entry async for entry in entries]
    marked = await sender.inbox.mark(RECIPIENT, "read", ids=[entry.id for entry in newest[:_READ_COUNT]])
    newest = [entry async for entry in await sender.inbox.entries(RECIPIENT)]
    head(out, f"The inbox of {RECIPIENT}", f"{marked.changed_count} were just marked as read")
    out.console.print(listing(newest[: _READ_COUNT + 2], ids=False))
    out.console.print(
        Text.assemble("  … ", (f"{marked.summary.unread} unread", "bold"), f" of {marked.summary.total}")
    )
    if marked.summary.unread != len(newest) - _READ_COUNT:
        raise Failure(f"{marked.summary.unread} entries are counted as unread.")
