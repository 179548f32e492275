"""A server, wired. Read `bootstrap` from the top: what is opened first is closed last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from uuid_utils import uuid4

import tocsin_server
from tocsin_server.bootstrap.optional import Refused, tls_credentials, token_verifier, watching
from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.listening import refusal_to_listen
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.server import RpcServer, ServerOptions, Services
from tocsin_server.service.access import Authenticator
from tocsin_server.service.api_keys import ApiKeys
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.hub import Hub
from tocsin_server.service.inboxes import Inboxes
from tocsin_server.service.metrics import LoopLag, Metrics
from tocsin_server.service.notifications import Notifications
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.placing import Placing
from tocsin_server.service.ports import Clock
from tocsin_server.service.rates import SendRates
from tocsin_server.service.recipients import Recipients
from tocsin_server.service.sending import Sending
from tocsin_server.service.session import SessionParts
from tocsin_server.service.sessions import Sessions, StreamLimits
from tocsin_server.service.status import Component, QueueReport, Status, StatusSources, StreamReport
from tocsin_server.service.tenants import TenantDirectory, Tenants
from tocsin_server.settings import Settings
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.lock import StoreLocked
from tocsin_server.store.store import Store, StoreOptions, open_store
from tocsin_server.workers.clock import ClockWorker
from tocsin_server.workers.erasure import ErasureWorker
from tocsin_server.workers.health import HealthWorker
from tocsin_server.workers.poll import PollWorker
from tocsin_server.workers.retention import RetentionPolicy, RetentionWorker
from tocsin_server.workers.supervision import supervised

HEALTHY_POLL_FACTOR = 10
"""Hints within one process are not lost but by a defect: storage is polled so many times more slowly."""

log = structlog.get_logger(__name__)


REFUSALS: tuple[type[Exception], ...] = (Refused, StoreLocked, StorageUnavailable)
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
    settings: Settings, environ: Mapping[str, str], *, clock: Clock | None = None
) -> AsyncIterator[Server]:
    """A running server. On leaving it drains: within `drain_timeout` everyone is told to go elsewhere, everything that
    was taken is answered, and what is queued is written.

    Raises Refused, StoreLocked, StorageUnavailable, OSError.
    """
    clock = clock or SystemClock()
    instance_id, start_time = str(uuid4()), clock.now()
    storage, credentials, timing, keeping = (
        Component(name, clock) for name in ("storage", "credentials", "timers", "retention")
    )

    async with AsyncExitStack() as stack:
        watch = await stack.enter_async_context(watching(settings, environ, instance_id))
        metrics, loop_lag = Metrics(watch.meter), LoopLag()

        def on_storage_error(detail: str) -> None:
            if detail:
                metrics.storage_errors += 1
                storage.down(detail, "Nothing can be stored; every write is refused.")
            else:
                storage.ok()

        # What is stored.
        store = await stack.enter_async_context(
            open_store(
                StoreOptions(
                    path=Path(settings.database),
                    cache_bytes=settings.page_cache_bytes,
                    reader_threads=settings.reader_threads,
                    retention=_micros(settings.retention),
                    default_quotas=settings.default_quotas,
                    max_queue_bytes=lambda tenant: directory.quotas(tenant).max_queue_bytes,
                    on_group=lambda report: metrics.group_committed(report.commands, report.seconds),
                    on_storage_error=on_storage_error,
                ),
                clock,
            )
        )
        writer, readers = store.writer, store.readers

        # Who may call.
        directory = TenantDirectory(store.tenants, settings.default_quotas)
        authenticator = Authenticator(
            store.api_keys, directory, clock, credentials, tokens=token_verifier(settings)
        )
        await authenticator.refresh()
        refusal = refusal_to_listen(
            settings.address,
            keys=authenticator.has_keys,
            tls=settings.tls_cert is not None,
            insecure=settings.insecure,
        )
        if refusal:
            raise Refused(refusal)

        # What is done.
        codec, cursors = WireCodec(), Cursors(store.facts)
        page_tokens = PageTokens(store.facts.cursor_key)
        hub = Hub(codec, metrics)
        parts = SessionParts(
            hub=hub,
            reader=readers,
            writer=writer,
            codec=codec,
            cursors=cursors,
            clock=clock,
            placing=Placing(readers, writer, cursors),
            metrics=metrics,
            tracing=watch.tracing,
            buffer_bytes=settings.session_buffer_bytes,
        )
        limits = StreamLimits(
            settings.max_streams_per_key, lambda tenant: directory.quotas(tenant).max_streams
        )
        sessions = Sessions(parts, page_tokens, limits, authenticator.still_valid)
        rates = SendRates(
            lambda tenant: directory.quotas(tenant).max_sends_per_second, asyncio.get_running_loop().time
        )
        timers = ClockWorker(readers, writer, clock, timing)
        poll = PollWorker(hub, readers, _micros(settings.poll_interval) * HEALTHY_POLL_FACTOR)
        status = Status(
            tocsin_server.__version__,
            instance_id,
            start_time,
            store.facts,
            StatusSources(
                components=(storage, credentials, timing, keeping),
                queues=(lambda: _writer_queue(store),),
                streams=lambda: StreamReport(sessions.count, hub.followed_count, poll.interval),
                draining=lambda: rpc.admission.draining,
                event_loop_lag=loop_lag.worst,
                timer_lag=lambda: timers.lag,
            ),
        )
        catch_up = authenticator.catch_up
        services = Services(
            sending=Sending(writer, codec, cursors, clock, rates, settings.max_content_bytes),
            notifications=Notifications(
                writer, readers, codec, cursors, page_tokens, settings.max_content_bytes
            ),
            sessions=sessions,
            inboxes=Inboxes(writer, readers, readers, codec, cursors, page_tokens),
            recipients=Recipients(writer, store.recipients, readers, readers, codec, cursors, page_tokens),
            tenants=Tenants(writer, store.tenants, codec, page_tokens, catch_up),
            api_keys=ApiKeys(writer, store.api_keys, codec, page_tokens, clock, catch_up),
            status=status,
        )
        rpc = RpcServer(
            services,
            codec,
            clock,
            authenticator,
            _server_options(settings),
            telemetry=watch.calls,
            credentials=tls_credentials(settings),
        )
        metrics.observe_queue("writer", writer.depth)
        metrics.observe_sessions(lambda: sessions.count, lambda: hub.followed_count)
        metrics.observe_lag(loop_lag.worst, lambda: timers.lag)

        # What runs: nothing of it inside a span or a request.
        health = HealthWorker(storage, writer, rpc.set_serving)
        retention = RetentionWorker(readers, writer, clock, _retention_policy(settings), keeping)
        erasure = ErasureWorker(store.tenants, writer, _micros(settings.sweep_interval))
        for listener in (hub, timers, erasure, authenticator.on_commit):
            writer.listen(listener)
        writer.start()
        for name, run in {
            "credentials": authenticator.run,
            "sessions": sessions.pulse,
            "timers": timers.run,
            "retention": retention.run,
            "erasure": erasure.run,
            "poll": poll.run,
            "loop lag": loop_lag.run,
            "health": health.run,
        }.items():
            await stack.enter_async_context(_running(name, run))
        port = await rpc.start(settings.listen)
        stack.push_async_callback(_drain, rpc, sessions, health, settings)
        await rpc.set_serving(True)
        if settings.port_file is not None:
            _write_port(settings.port_file, port)
        yield Server(port, store, hub, sessions, status, clock)


async def _drain(rpc: RpcServer, sessions: Sessions, health: HealthWorker, settings: Settings) -> None:
    """First whoever sends callers here is told; then streams end one after the other; then the rest is finished."""
    health.draining = True
    await rpc.set_serving(False)
    await asyncio.sleep(settings.drain_delay)
    rpc.drain()
    await sessions.drain(settings.drain_timeout / 2)
    await rpc.stop(settings.drain_timeout / 4)


@asynccontextmanager
async def _running(name: str, run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(supervised(name, run), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _server_options(settings: Settings) -> ServerOptions:
    return ServerOptions(
        max_message_bytes=settings.max_message_bytes,
        max_in_flight=settings.max_in_flight,
        max_recipients_per_subscribe=settings.max_recipients_per_subscribe,
        max_recipients_per_attach=settings.max_recipients_per_attach,
        request_timeout=settings.request_timeout,
        keepalive_time=settings.keepalive_time,
        keepalive_timeout=settings.keepalive_timeout,
    )


def _retention_policy(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(
        entries=_micros(settings.retention),
        rows=_micros(settings.prune_after),
        requests=_micros(settings.request_id_retention),
        events=_micros(settings.event_retention),
        positions=_micros(settings.position_retention),
        sweep_interval=_micros(settings.sweep_interval),
    )


def _writer_queue(store: Store) -> QueueReport:
    depth = store.writer.depth()
    return QueueReport("writer", depth.commands, depth.bytes, depth.oldest_age)


def _write_port(path: Path, port: int) -> None:
    """In one step, so that whoever waits for the file never reads half of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(f"{port}\n", encoding="ascii")
    temporary.replace(path)


def _micros(seconds: float) -> Micros:
    return int(seconds * SECOND)
