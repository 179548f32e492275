"""The parts of a server, section by section, each made of the ones before it. Nothing runs yet, nothing is opened."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from tocsin_server.bootstrap.ground import Ground, micros
from tocsin_server.bootstrap.optional import Refused, token_verifier
from tocsin_server.bus.fleet import Fleet
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.listening import refusal_to_listen
from tocsin_server.service.access import Authenticator
from tocsin_server.service.drafting import BroadcastDrafts
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.hub import Hub
from tocsin_server.service.placing import Placing
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import BusEars, CommitListener
from tocsin_server.service.providers import Providers
from tocsin_server.service.rates import SendRates, SharedSendRates
from tocsin_server.service.releases import Releases
from tocsin_server.service.session import SessionParts
from tocsin_server.service.sessions import Sessions, StreamLimits
from tocsin_server.service.template_cache import TemplateCache
from tocsin_server.service.templates import Templates
from tocsin_server.service.tenant_cache import PolicyWatch
from tocsin_server.service.tenants import TenantDirectory
from tocsin_server.workers.broadcast import CHUNK_TIME, SHARED_CHUNK_TIME, BroadcastWorker
from tocsin_server.workers.clock import ClockWorker
from tocsin_server.workers.deliver import DeliverLimits, DeliverWorker
from tocsin_server.workers.epoch import EpochWorker
from tocsin_server.workers.erasure import ErasureWorker
from tocsin_server.workers.poll import PollWorker
from tocsin_server.workers.retention import RetentionPolicy, RetentionWorker

Loop = Callable[[], Awaitable[None]]
"""What runs as a task, for ever."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call, and how much."""

    directory: TenantDirectory
    authenticator: Authenticator


async def make_access(ground: Ground) -> Access:
    """Knows all keys. Raises Refused where anyone could call who can reach the port; StorageUnavailable."""
    settings, store = ground.settings, ground.store
    directory = TenantDirectory(store.tenants, settings.default_quotas)
    authenticator = Authenticator(
        store.api_keys,
        directory,
        ground.clock,
        ground.components.credentials,
        tokens=token_verifier(settings),
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
    return Access(directory, authenticator)


def _make_rates(access: Access, fleet: Fleet) -> SendRates | SharedSendRates:
    """How fast tenants may send: all replicas together, where they can share that."""
    now = asyncio.get_running_loop().time

    def per_second(tenant: str) -> int:
        return access.directory.quotas(tenant).max_sends_per_second

    alone = SendRates(per_second, now)
    return alone if fleet.buckets is None else SharedSendRates(fleet.buckets, alone, per_second, now)


@dataclass(frozen=True, slots=True)
class Streams:
    """Who hears of changes, and from whom."""

    hub: Hub
    sessions: Sessions
    poll: PollWorker


def _make_streams(ground: Ground, access: Access, fleet: Fleet) -> Streams:
    """The bus is listened to."""
    settings, store, bus = ground.settings, ground.store, fleet.bus
    hub = Hub(ground.codec, ground.metrics, bus)
    parts = SessionParts(
        hub=hub,
        reader=store.readers,
        writer=store.writer,
        codec=ground.codec,
        cursors=ground.cursors,
        clock=ground.clock,
        placing=Placing(store.readers, store.writer, ground.cursors),
        metrics=ground.metrics,
        tracing=ground.watch.tracing,
        buffer_bytes=settings.session_buffer_bytes,
    )
    limits = StreamLimits(
        settings.max_streams_per_key, lambda tenant: access.directory.quotas(tenant).max_streams
    )
    sessions = Sessions(
        parts,
        ground.page_tokens,
        limits,
        access.authenticator.still_valid,
        fleet.presence,
        ground.instance_id,
    )
    poll = PollWorker(hub, store.readers, micros(settings.poll_interval), lambda: bus.healthy)
    bus.listen(
        BusEars(
            offer=hub.offer,
            missed=poll.missed,
            missed_all=poll.missed_all,
            find=sessions.find,
            end=sessions.end,
        )
    )
    return Streams(hub, sessions, poll)


@dataclass(frozen=True, slots=True)
class Deciding:
    """What is decided by, and what is shown."""

    policies: Policies
    policy_watch: PolicyWatch
    facts: SendFacts
    template_cache: TemplateCache
    templates: Templates


def _make_deciding(ground: Ground, providers: Providers) -> Deciding:
    """What `providers` take is sent, on channels other than the inbox."""
    store, codec = ground.store, ground.codec
    policies = Policies(store.policies)
    policy_watch = PolicyWatch(store.policies, ground.components.policies)
    policy_watch.watch(policies)
    renderer = LiquidRenderer()
    template_cache = TemplateCache(store.templates, renderer, codec)
    return Deciding(
        policies,
        policy_watch,
        SendFacts(policies, store.recipients, providers.enabled),
        template_cache,
        Templates(
            store.writer, store.templates, renderer, codec, ground.page_tokens, ground.clock, template_cache
        ),
    )


@dataclass(frozen=True, slots=True)
class Workers:
    """Everything that happens at a time, or after its call was answered."""

    timers: ClockWorker
    deliver: DeliverWorker
    broadcast: BroadcastWorker
    erasure: ErasureWorker
    retention: RetentionWorker
    epoch: EpochWorker

    @property
    def listeners(self) -> tuple[CommitListener, ...]:
        """Those that commits give something to do."""
        return self.timers, self.deliver, self.broadcast, self.erasure

    def loops(self, roles: Collection[str]) -> dict[str, Loop]:
        """What runs on a server with these roles, by name."""
        loops: dict[str, Loop] = {"epoch": self.epoch.run}
        if "clock" in roles:
            loops |= {"timers": self.timers.run, "retention": self.retention.run, "erasure": self.erasure.run}
        if "deliver" in roles:
            loops |= {"deliveries": self.deliver.run}
        if "broadcast" in roles:
            loops |= {"broadcasts": self.broadcast.run}
        return loops


def _make_workers(ground: Ground, streams: Streams, deciding: Deciding, providers: Providers) -> Workers:
    """All of them, whichever run here: a commit wakes them, and what they lag behind is told."""
    settings, store, clock, codec = ground.settings, ground.store, ground.clock, ground.codec
    components, writer = ground.components, store.writer
    facts, templates = deciding.facts, deciding.templates
    releases = Releases(writer, store.plans, clock, facts, templates)
    drafts = BroadcastDrafts(store.broadcasts, facts, templates, codec, clock, settings.max_content_bytes)
    chunk_time = SHARED_CHUNK_TIME if settings.database_url else CHUNK_TIME
    return Workers(
        timers=ClockWorker(store.readers, releases.fire, clock, components.timers),
        deliver=DeliverWorker(
            store.deliveries,
            writer,
            clock,
            codec,
            providers,
            components.deliveries,
            DeliverLimits(settings.delivery_concurrency, micros(settings.delivery_timeout)),
        ),
        broadcast=BroadcastWorker(store.broadcasts, writer, drafts, clock, chunk_time),
        erasure=ErasureWorker(store.tenants, store.topics, writer, micros(settings.sweep_interval)),
        retention=RetentionWorker(
            store.readers,
            writer,
            clock,
            RetentionPolicy(
                entries=micros(settings.retention),
                rows=micros(settings.prune_after),
                requests=micros(settings.request_id_retention),
                events=micros(settings.event_retention),
                positions=micros(settings.position_retention),
                sweep_interval=micros(settings.sweep_interval),
            ),
            components.retention,
        ),
        epoch=EpochWorker(store.readers.facts, ground.cursors, streams.sessions.end_all),
    )


@dataclass(frozen=True, slots=True)
class Parts:
    """All sections."""

    access: Access
    fleet: Fleet
    rates: SendRates | SharedSendRates
    streams: Streams
    deciding: Deciding
    workers: Workers


def make_parts(ground: Ground, access: Access, fleet: Fleet, providers: Providers) -> Parts:
    """The sections that are made of others."""
    streams = _make_streams(ground, access, fleet)
    deciding = _make_deciding(ground, providers)
    workers = _make_workers(ground, streams, deciding, providers)
    return Parts(access, fleet, _make_rates(access, fleet), streams, deciding, workers)
