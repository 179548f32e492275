"""A server, wired. Read `bootstrap` from the top: what is opened first is closed last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from uuid_utils import uuid4

import tocsin_server
from tocsin_server.bootstrap.optional import Refused, joined_fleet, tls_credentials, token_verifier, watching
from tocsin_server.bootstrap.port import announce
from tocsin_server.channels.log import LogProvider
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.listening import refusal_to_listen
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.server import RpcServer, ServerOptions, Services
from tocsin_server.service.access import Authenticator
from tocsin_server.service.api_keys import ApiKeys
from tocsin_server.service.broadcasts import Broadcasts
from tocsin_server.service.categories import Categories
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.drafting import BroadcastDrafts
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.hub import Hub
from tocsin_server.service.inboxes import Inboxes
from tocsin_server.service.metrics import LoopLag, Metrics
from tocsin_server.service.notifications import Notifications
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.placing import Placing
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import BusEars, Clock
from tocsin_server.service.preferences import PreferenceCenter
from tocsin_server.service.providers import Providers
from tocsin_server.service.rates import SendRates, SharedSendRates
from tocsin_server.service.recipients import Recipients
from tocsin_server.service.releases import Releases
from tocsin_server.service.sending import Sending
from tocsin_server.service.session import SessionParts
from tocsin_server.service.sessions import Sessions, StreamLimits
from tocsin_server.service.status import Component, QueueReport, Status, StatusSources, StreamReport
from tocsin_server.service.template_cache import TemplateCache
from tocsin_server.service.templates import Templates
from tocsin_server.service.tenant_cache import PolicyWatch
from tocsin_server.service.tenants import TenantDirectory, Tenants
from tocsin_server.service.topics import Topics
from tocsin_server.service.unsubscribing import UnsubscribeTokens
from tocsin_server.settings import Settings
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.engine import EngineUnusable
from tocsin_server.store.sqlite.lock import StoreLocked
from tocsin_server.store.store import Store, StoreOptions, open_store
from tocsin_server.workers.broadcast import CHUNK_TIME, SHARED_CHUNK_TIME, BroadcastWorker
from tocsin_server.workers.clock import ClockWorker
from tocsin_server.workers.deliver import DeliverLimits, DeliverWorker
from tocsin_server.workers.epoch import EpochWorker
from tocsin_server.workers.erasure import ErasureWorker
from tocsin_server.workers.health import HealthWorker
from tocsin_server.workers.poll import PollWorker
from tocsin_server.workers.retention import RetentionPolicy, RetentionWorker
from tocsin_server.workers.supervision import supervised

log = structlog.get_logger(__name__)


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
    instance_id, start_time = str(uuid4()), clock.now()
    has_clock, has_deliver = ("clock" in settings.role_names), ("deliver" in settings.role_names)
    storage, hearing, credentials, deciding, timing, keeping, outgoing = (
        Component(name, clock)
        for name in ("storage", "bus", "credentials", "policies", "timers", "retention", "deliveries")
    )
    providers = providers or Providers(dict.fromkeys(settings.logged_channels, LogProvider()))

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
                    url=settings.database_url,
                    cache_bytes=settings.page_cache_bytes,
                    reader_threads=settings.reader_threads,
                    writer_threads=settings.writer_threads,
                    retention=_micros(settings.retention),
                    default_quotas=settings.default_quotas,
                    max_queue_bytes=lambda tenant: directory.quotas(tenant).max_queue_bytes,
                    # Other replicas hear of inboxes that nobody follows here.
                    heard=lambda: None if settings.redis_url else hub.inboxes,
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

        # What is decided by.
        policies, policy_watch = Policies(store.policies), PolicyWatch(store.policies, deciding)
        policy_watch.watch(policies)

        # What others hear of.
        def on_bus_health(detail: str) -> None:
            poll.hurry()
            if detail:
                hearing.degraded(detail, _without_bus(poll.interval))
            else:
                hearing.ok()

        fleet = await stack.enter_async_context(joined_fleet(settings, instance_id, on_bus_health))
        bus = fleet.bus

        # What is done.
        codec, cursors = WireCodec(), Cursors(store.facts)
        page_tokens = PageTokens(store.facts.cursor_key)
        renderer = LiquidRenderer()
        template_cache = TemplateCache(store.templates, renderer, codec)
        templates = Templates(writer, store.templates, renderer, codec, page_tokens, clock, template_cache)
        hub = Hub(codec, metrics, bus)
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
        sessions = Sessions(
            parts, page_tokens, limits, authenticator.still_valid, fleet.presence, instance_id
        )
        quota = (
            lambda tenant: directory.quotas(tenant).max_sends_per_second,
            asyncio.get_running_loop().time,
        )
        rates = SendRates(*quota)
        shared_rates = SharedSendRates(fleet.buckets, rates, *quota) if fleet.buckets is not None else None
        facts = SendFacts(policies, store.recipients, providers.enabled)
        releases = Releases(writer, store.plans, clock, facts, templates)
        timers = ClockWorker(readers, releases.fire, clock, timing)
        deliver = DeliverWorker(
            store.deliveries,
            writer,
            clock,
            codec,
            providers,
            outgoing,
            DeliverLimits(settings.delivery_concurrency, _micros(settings.delivery_timeout)),
        )
        poll = PollWorker(hub, readers, _micros(settings.poll_interval), lambda: bus.healthy)
        bus.listen(
            BusEars(
                offer=hub.offer,
                missed=poll.missed,
                missed_all=poll.missed_all,
                find=sessions.find,
                end=sessions.end,
            )
        )
        status = Status(
            tocsin_server.__version__,
            instance_id,
            start_time,
            store.facts.schema_version,
            StatusSources(
                components=(
                    *(storage, hearing, credentials, deciding),
                    *((timing, keeping) if has_clock else ()),
                    *((outgoing,) if has_deliver else ()),
                ),
                queues=(lambda: _writer_queue(store), *((deliver.queue,) if has_deliver else ())),
                streams=lambda: StreamReport(sessions.count, hub.followed_count, poll.interval),
                epoch=lambda: cursors.epoch,
                draining=lambda: rpc.admission.draining,
                event_loop_lag=loop_lag.worst,
                timer_lag=lambda: timers.lag,
            ),
        )
        catch_up = authenticator.catch_up
        services = Services(
            sending=Sending(
                writer,
                store.plans,
                codec,
                cursors,
                clock,
                shared_rates or rates,
                facts,
                templates,
                settings.max_content_bytes,
            ),
            notifications=Notifications(
                writer, readers, store.deliveries, codec, cursors, page_tokens, settings.max_content_bytes
            ),
            sessions=sessions,
            inboxes=Inboxes(writer, readers, readers, codec, cursors, page_tokens, fleet.summaries),
            recipients=Recipients(writer, store.recipients, readers, readers, codec, cursors, page_tokens),
            broadcasts=Broadcasts(
                writer, store.broadcasts, templates, codec, page_tokens, clock, settings.max_content_bytes
            ),
            topics=Topics(writer, store.topics, codec, page_tokens),
            categories=Categories(writer, store.categories, codec, page_tokens, _micros(settings.retention)),
            preferences=PreferenceCenter(
                writer,
                store.recipients,
                policies,
                codec,
                UnsubscribeTokens(store.facts),
                clock,
                authenticator.still_valid,
            ),
            templates=templates,
            tenants=Tenants(writer, store.tenants, codec, page_tokens, catch_up),
            api_keys=ApiKeys(writer, store.api_keys, codec, page_tokens, clock, catch_up),
            status=status,
        )
        rpc = RpcServer(
            services,
            codec,
            clock,
            authenticator,
            _server_options(settings, share_port=share_port),
            telemetry=watch.calls,
            credentials=tls_credentials(settings),
        )
        metrics.observe_queue("writer", writer.depth)
        metrics.observe_sessions(lambda: sessions.count, lambda: hub.followed_count)
        metrics.observe_bus(bus.figures)
        metrics.observe_lag(loop_lag.worst, lambda: timers.lag)
        metrics.observe_deliveries(deliver.attempts, lambda: deliver.lag)

        # What runs: nothing of it inside a span or a request.
        health = HealthWorker(storage, writer, rpc.set_serving)
        retention = RetentionWorker(readers, writer, clock, _retention_policy(settings), keeping)
        epoch = EpochWorker(readers.facts, cursors, sessions.end_all)
        erasure = ErasureWorker(store.tenants, store.topics, writer, _micros(settings.sweep_interval))
        drafts = BroadcastDrafts(store.broadcasts, facts, templates, codec, clock, settings.max_content_bytes)
        chunk_time = SHARED_CHUNK_TIME if settings.database_url else CHUNK_TIME
        broadcast = BroadcastWorker(store.broadcasts, writer, drafts, clock, chunk_time)
        workers = (timers, deliver, broadcast, erasure)
        for listener in (hub, bus, *workers, authenticator.on_commit, policy_watch.on_commit):
            writer.listen(listener)
        writer.start()
        loops = {
            "credentials": authenticator.run,
            "policies": policy_watch.run,
            "templates": template_cache.run,
            "sessions": sessions.pulse,
            "bus": bus.run,
            "poll": poll.run,
            "epoch": epoch.run,
            "loop lag": loop_lag.run,
            "health": health.run,
        }
        if has_clock:
            loops |= {"timers": timers.run, "retention": retention.run, "erasure": erasure.run}
        if has_deliver:
            loops |= {"deliveries": deliver.run}
        if "broadcast" in settings.role_names:
            loops |= {"broadcasts": broadcast.run}
        for name, run in loops.items():
            await stack.enter_async_context(_running(name, run))
        if shared_rates is not None:
            await stack.enter_async_context(_running("rates", shared_rates.run))
        port = await rpc.start(settings.listen)
        stack.push_async_callback(
            _drain,
            rpc,
            sessions,
            health,
            deliver if has_deliver else None,
            settings,
            share_port=share_port,
        )
        await rpc.set_serving(True)
        if settings.port_file is not None:
            announce(settings.port_file, port)
        yield Server(port, store, hub, sessions, status, clock)


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
async def _running(name: str, run: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.create_task(supervised(name, run), name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _server_options(settings: Settings, *, share_port: bool) -> ServerOptions:
    return ServerOptions(
        serves_callers="api" in settings.role_names,
        share_port=share_port,
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


def _without_bus(poll_interval: Micros) -> str:
    return (
        f"Changes made on other replicas arrive within {poll_interval / SECOND:g} s; their sessions are neither "
        "listed nor ended here; each replica limits the rate of sends by itself."
    )


def _writer_queue(store: Store) -> QueueReport:
    depth = store.writer.depth()
    return QueueReport("writer", depth.commands, depth.bytes, depth.oldest_age)


def _micros(seconds: float) -> Micros:
    return int(seconds * SECOND)
