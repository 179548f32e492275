"""An example tenant, and a broadcast to all of it."""

import asyncio
import time
from datetime import UTC

import tocsin
from tocsin.v1.broadcast_service_pb2 import BROADCAST_STATE_COMPLETED, Broadcast
from tocsin.v1.notification_pb2 import DecisionRule
from tocsin.values import enum_name
from tocsin_server.cli import render
from tocsin_server.cli.demo.arrivals import arrivals_of
from tocsin_server.cli.demo.content import news
from tocsin_server.cli.demo.telling import head, seen
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.output import Output
from tocsin_server.cli.seed.command import progress
from tocsin_server.cli.seed.load import Loader
from tocsin_server.cli.seed.people import key_of

_PATIENCE_S = 60.0
_POLL_S = 0.05
_LISTENER = key_of(1)
"""Of those that have said nothing."""


async def seed(out: Output, client: tocsin.Client, recipients: int) -> None:
    """As `tocsin seed` does."""
    head(out, "An example tenant", f"tocsin seed --recipients {recipients}")
    began = time.monotonic()
    with progress(out) as bar:
        task = bar.add_task("recipients", total=recipients)
        loaded = await Loader(
            client, "demo", recipients, lambda done: bar.update(task, completed=done)
        ).load()
    seen(
        out,
        f"{loaded.recipients:,} people, {loaded.preferences:,} of them with preferences, {loaded.members:,} members "
        f"of {loaded.topics} topics, {loaded.categories} categories, {loaded.created_templates} templates",
        f"in {time.monotonic() - began:.1f} s",
    )


async def broadcast(out: Output, client: tocsin.Client) -> None:
    """Product news for everyone, in everyone's language, while one of them listens. Raises Failure."""
    head(out, "A broadcast to everyone", f"product news in the inbox; {_LISTENER} is listening")
    async with arrivals_of(client, _LISTENER) as arrivals:
        began = time.monotonic()
        created = await client.broadcasts.create(news(), everyone=True)
        await arrivals.until(1)
        arrived = time.monotonic() - began
        notification = arrivals.entries[0].notification
        seen(out, f"{_LISTENER} received “{render.title(notification)}”", f"after {arrived * 1000:.0f} ms")
        done = await _done(client, created.broadcast_id)
        arrivals.check([notification.id])
    progress = done.progress
    suppressed = {enum_name(DecisionRule, each.rule).lower(): each.count for each in progress.suppressed}
    seconds = (done.finish_time.ToDatetime(UTC) - done.start_time.ToDatetime(UTC)).total_seconds()
    rate = progress.delivered_count / seconds
    seen(
        out,
        f"{progress.delivered_count:,} inboxes in {seconds:.2f} s: {rate:,.0f} inboxes/s",
        "all of them on disk",
    )
    for rule, count in suppressed.items():
        seen(out, f"{count:,} did not get it because of a {rule}")
    if done.state != BROADCAST_STATE_COMPLETED or progress.failed_count:
        raise Failure(f"The broadcast ended as {done}.")
    if progress.delivered_count + sum(suppressed.values()) != progress.targeted_count:
        raise Failure(f"Some were left out: {progress}.")


async def _done(client: tocsin.Client, broadcast_id: str) -> Broadcast:
    """The broadcast once it is final. Raises Failure if that takes too long."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            async for found in client.broadcasts.watch(broadcast_id, interval=_POLL_S):  # noqa: B007
                pass
    except TimeoutError:
        raise Failure(f"The broadcast was not done in {_PATIENCE_S:g} s.") from None
    return found
