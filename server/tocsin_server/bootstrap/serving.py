"""A server, wired. Read `bootstrap` from the top: what is opened first is closed last."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

from tocsin_server.bootstrap.answering import make_services, make_status, server_options
from tocsin_server.bootstrap.ground import Ground, open_ground
from tocsin_server.bootstrap.optional import Refused, joined_fleet, tls_credentials
from tocsin_server.bootstrap.parts import Loop, Parts, make_access, make_parts
from tocsin_server.bootstrap.port import announce
from tocsin_server.channels.log import LogProvider
from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.time import SECOND
from tocsin_server.rpc.server import RpcServer
from tocsin_server.service.hub import Hub
from tocsin_server.service.ports import Clock
from tocsin_server.service.providers import Providers
from tocsin_server.service.rates import SharedSendRates
from tocsin_server.service.sessions import Sessions
from tocsin_server.service.status import Component, Status
from tocsin_server.settings import Settings
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.engine import EngineUnusable
from tocsin_server.store.sqlite.lock import StoreLocked
from tocsin_server.store.store import Store
from tocsin_server.workers.deliver import DeliverWorker
from tocsin_server.workers.health import HealthWorker
from tocsin_server.workers.poll import PollWorker
from tocsin_server.workers.supervision import supervised

REFUSALS: tuple[type[Exception], ...] = (Refused, StoreLocked, EngineUnusable, StorageUnavailable)
"""What starting fails with for reasons that lie outside; the text of each is for whoever started it."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers. Leaving the context that gave it ends it."""

    port: int
    store: Store
    hub: Hub
    sessions: Sessions
    status: Status
    clock: Clock


@asynccontextmanager
async def bootstrap(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    clock: Clock | None = None,
    providers: Providers | None = None,
    share_port: bool = False,
) -> AsyncIterator[Server]:
    """A running server. On leaving it drains: within `drain_timeout` everyone is told to go elsewhere, everything that
    was taken is answered, and what is queued is written. With `share_port` others may listen on its port as well.

    `providers`: who takes deliveries, in the place of those that the settings name. Raises Refused, StoreLocked,
    EngineUnusable, StorageUnavailable, OSError.
    """
    clock = clock or SystemClock()
    providers = providers or Providers(dict.fromkeys(settings.logged_channels, LogProvider()))

    async with AsyncExitStack() as stack:
        # What is opened. What a lambda names is there by the time that it is called.
        ground = await stack.enter_async_context(
            open_ground(
                settings,
                environ,
                clock,
                max_queue_bytes=lambda tenant: access.directory.quotas(tenant).max_queue_bytes,
                followed=lambda: parts.streams.hub.inboxes,
            )
        )
        access = await make_access(ground)
        fleet = await stack.enter_async_context(
            joined_fleet(
                settings,
                ground.instance_id,
                lambda detail: _tell_of_bus(ground.components.bus, parts.streams.poll, detail),
            )
        )

        # What is made of it.
        parts = make_parts(ground, access, fleet, providers)
        status = make_status(ground, parts, draining=lambda: rpc.admission.draining)
        rpc = RpcServer(
            make_services(ground, parts, status),
            ground.codec,
            clock,
            access.authenticator,
            server_options(settings, share_port=share_port),
            telemetry=ground.watch.calls,
            credentials=tls_credentials(settings),
        )
        sessions = parts.streams.sessions
        health = HealthWorker(ground.components.storage, ground.store.writer, rpc.set_serving)
        _measure(ground, parts)

        # What runs: nothing of it inside a span or a request.
        _start_writer(ground, parts)
        loops = _loops(ground, parts) | {"health": health.run}
        for name, run in loops.items():
            await stack.enter_async_context(_running(name, run))
        port = await rpc.start(settings.listen)
        deliver = parts.workers.deliver if "deliver" in settings.role_names else None
        stack.push_async_callback(_drain, rpc, sessions, health, deliver, settings, share_port=share_port)
        await rpc.set_serving(True)
        if settings.port_file is not None:
            announce(settings.port_file, port)
        yield Server(port, ground.store, parts.streams.hub, sessions, status, clock)


def _tell_of_bus(component: Component, poll: PollWorker, detail: str) -> None:
    """Hints come, or not any more and why: either way storage is looked into at once."""
    poll.hurry()
    if detail:
        # The others' hints may still come, and then they poll slowly.
        others = poll.interval_when(healthy=True)
        component.degraded(
            detail,
            f"Changes made on other replicas arrive within {poll.interval / SECOND:g} s, those made here at replicas "
            f"whose own bus is well within {others / SECOND:g} s; their sessions are neither listed nor ended here; "
            "each replica limits the rate of sends by itself.",
        )
    else:
        component.ok()


def _measure(ground: Ground, parts: Parts) -> None:
    metrics, streams, workers = ground.metrics, parts.streams, parts.workers
    metrics.observe_queue("writer", ground.store.writer.depth)
    metrics.observe_sessions(lambda: streams.sessions.count, lambda: streams.hub.followed_count)
    metrics.observe_hub(lambda: streams.hub.backlog)
    metrics.observe_bus(parts.fleet.bus.figures)
    metrics.observe_lag(ground.loop_lag.worst, lambda: workers.timers.lag)
    metrics.observe_deliveries(workers.deliver.attempts, lambda: workers.deliver.lag)


def _start_writer(ground: Ground, parts: Parts) -> None:
    """From here on something can be committed, and each commit is told to these in this order."""
    writer = ground.store.writer
    writer.listen(parts.streams.hub)
    writer.listen(parts.fleet.bus)
    for worker in parts.workers.listeners:
        writer.listen(worker)
    writer.listen(parts.access.authenticator.on_commit)
    writer.listen(parts.deciding.policy_watch.on_commit)
    writer.start()


def _loops(ground: Ground, parts: Parts) -> dict[str, Loop]:
    """What runs as a task each, by name."""
    loops: dict[str, Loop] = {
        "credentials": parts.access.authenticator.run,
        "policies": parts.deciding.policy_watch.run,
        "templates": parts.deciding.template_cache.run,
        "sessions": parts.streams.sessions.pulse,
        "bus": parts.fleet.bus.run,
        "poll": parts.streams.poll.run,
        "loop lag": ground.loop_lag.run,
    }
    if isinstance(parts.rates, SharedSendRates):
        loops["rates"] = parts.rates.run
    return loops | parts.workers.loops(ground.settings.role_names)


async def _drain(
    rpc: RpcServer,
    sessions: Sessions,
    health: HealthWorker,
    deliver: DeliverWorker | None,
    settings: Settings,
    *,
    share_port: bool,
) -> None:
    """First whoever sends callers here is told; then streams end one after the other; then the rest is finished."""
    health.draining = True
    await rpc.set_serving(False)
    await asyncio.sleep(settings.drain_delay)
    rpc.drain()
    if share_port:
        rpc.hand_over()
    half, quarter = settings.drain_timeout / 2, settings.drain_timeout / 4
    await asyncio.gather(sessions.drain(half), *((deliver.drain(half),) if deliver is not None else ()))
    await rpc.stop(quarter)


@asynccontextmanager
async def _running(name: str, run: Loop) -> AsyncIterator[None]:
    task = asyncio.create_task(supervised(name, run), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
