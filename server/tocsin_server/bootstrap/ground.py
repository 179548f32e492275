"""What all parts of a server stand on: its settings and its clock, its store, and what tells how it is."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from uuid_utils import uuid4

from tocsin_server.bootstrap.optional import Watch, watching
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.metrics import LoopLag, Metrics
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.ports import Clock
from tocsin_server.service.status import Component
from tocsin_server.settings import Settings
from tocsin_server.store.store import Store, StoreOptions, open_store
from tocsin_server.store.transaction import InboxKey


@dataclass(frozen=True, slots=True)
class Components:
    """The parts that report how they are, under these names."""

    storage: Component
    bus: Component
    credentials: Component
    policies: Component
    timers: Component
    retention: Component
    deliveries: Component

    @classmethod
    def all_well(cls, clock: Clock) -> "Components":
        """None has reported anything yet."""
        return cls(*(Component(field.name, clock) for field in fields(cls)))

    def of_roles(self, roles: Collection[str]) -> tuple[Component, ...]:
        """Those that a server with these roles has."""
        return (
            *(self.storage, self.bus, self.credentials, self.policies),
            *((self.timers, self.retention) if "clock" in roles else ()),
            *((self.deliveries,) if "deliver" in roles else ()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What is there before anything else is made."""

    settings: Settings
    clock: Clock
    instance_id: str
    start_time: Micros
    watch: Watch
    metrics: Metrics
    loop_lag: LoopLag
    components: Components
    store: Store
    codec: WireCodec
    cursors: Cursors
    page_tokens: PageTokens


@asynccontextmanager
async def open_ground(
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    *,
    max_queue_bytes: Callable[[str], int],
    followed: Callable[[], Collection[InboxKey]],
) -> AsyncIterator[Ground]:
    """The store is open, but nothing is written yet; `followed` are the inboxes that have a session here.

    Raises Refused, StoreLocked, EngineUnusable, StorageUnavailable.
    """
    instance_id, start_time = str(uuid4()), clock.now()
    components = Components.all_well(clock)
    async with watching(settings, environ, instance_id) as watch:
        metrics = Metrics(watch.meter)
        options = StoreOptions(
            path=Path(settings.database),
            url=settings.database_url,
            cache_bytes=settings.page_cache_bytes,
            reader_threads=settings.reader_threads,
            writer_threads=settings.writer_threads,
            retention=micros(settings.retention),
            default_quotas=settings.default_quotas,
            max_queue_bytes=max_queue_bytes,
            # Other replicas hear of inboxes that nobody follows here.
            heard=lambda: None if settings.redis_url else followed(),
            on_group=lambda report: metrics.group_committed(report.commands, report.seconds),
            on_storage_error=partial(_tell_of_storage, components.storage, metrics),
        )
        async with open_store(options, clock) as store:
            yield Ground(
                settings=settings,
                clock=clock,
                instance_id=instance_id,
                start_time=start_time,
                watch=watch,
                metrics=metrics,
                loop_lag=LoopLag(),
                components=components,
                store=store,
                codec=WireCodec(),
                cursors=Cursors(store.facts),
                page_tokens=PageTokens(store.facts.cursor_key),
            )


def _tell_of_storage(component: Component, metrics: Metrics, detail: str) -> None:
    """Storage answers, or does not any more and why."""
    if detail:
        metrics.storage_errors += 1
        component.down(detail, "Nothing can be stored; every write is refused.")
    else:
        component.ok()


def micros(seconds: float) -> Micros:
    """Settings are in seconds."""
    return int(seconds * SECOND)
