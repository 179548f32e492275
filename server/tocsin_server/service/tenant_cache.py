"""What changes rarely, kept in memory a tenant each, and how every replica hears of changes within a second.

Whatever is kept so has the version of its tenant's policy, which rises with every change in the change's own
transaction. A change that is committed here is out of the cache before its caller is answered, so that a caller sees
what it has done; of others' the version tells, which is looked at more than twice a second. What has changed is
forgotten, and read again when it is next asked for.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import structlog

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.service.ports import Committed, PolicyReader
from tocsin_server.service.status import Component

REFRESH_INTERVAL_S = 0.4
UNREFRESHED_AFTER_S = 2.0
"""Later than this, changes of other replicas have not come within the second that is promised."""

_log = structlog.get_logger(__name__)


class Versioned(Protocol):
    """Something of a tenant's."""

    @property
    def version(self) -> int:
        """The version of the tenant's policy that it was read with, in one snapshot; 0: nothing was ever said."""


Kept = TypeVar("Kept", bound=Versioned)


class TenantCache(Generic[Kept]):
    """Keeps one thing a tenant: those asked for last, up to a weight. Not to be shared between threads."""

    def __init__(
        self,
        read: Callable[[Sequence[str]], Awaitable[Mapping[str, Kept]]],
        weigh: Callable[[Kept], int],
        max_weight: int,
    ) -> None:
        """`read` gives what there is of each of some tenants."""
        self._read = read
        self._weigh = weigh
        self._max_weight = max_weight
        self._weight = 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Kept]] = {}

    def of(self, tenant: str) -> Kept | None:
        """What is known of a tenant; None: nothing at the moment, `known` reads it. Well under a microsecond."""
        kept = self._kept.get(tenant)
        if kept is not None:
            self._kept.move_to_end(tenant)
        return kept

    async def known(self, tenant: str) -> Kept:
        """What is known of a tenant, read when that is nothing yet. Raises StorageUnavailable."""
        kept = self.of(tenant)
        if kept is not None:
            return kept
        reading = self._reading.get(tenant)
        if reading is None:
            reading = self._reading[tenant] = asyncio.create_task(self._fetch(tenant))
            reading.add_done_callback(_look_at)
        # Whoever gives up does not give up for the others.
        return await asyncio.shield(reading)

    def versions(self) -> Mapping[str, int]:
        """The version of everything that is kept."""
        return {tenant: kept.version for tenant, kept in self._kept.items()}

    def forget(self, tenant: str) -> None:
        """It has changed: whoever asks from now on gets what is read from now on."""
        self._reading.pop(tenant, None)
        kept = self._kept.pop(tenant, None)
        if kept is not None:
            self._weight -= self._weigh(kept)

    async def _fetch(self, tenant: str) -> Kept:
        this = asyncio.current_task()
        try:
            kept = (await self._read((tenant,)))[tenant]
            # What was changed meanwhile is right for those who asked before, and for nobody else.
            if self._reading.get(tenant) is this:
                self._keep(tenant, kept)
            return kept
        finally:
            if self._reading.get(tenant) is this:
                del self._reading[tenant]

    def _keep(self, tenant: str, kept: Kept) -> None:
        self._kept[tenant] = kept
        self._weight += self._weigh(kept)
        while self._weight > self._max_weight and len(self._kept) > 1:
            self.forget(next(iter(self._kept)))


class PolicyWatch:
    """Has caches forget what has changed. Run `run` as a task, and let it hear of commits before anyone is answered."""

    def __init__(
        self,
        reader: PolicyReader,
        component: Component,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._component = component
        self._monotonic = monotonic
        self._caches: list[TenantCache[Versioned]] = []
        self._checked = monotonic()

    def watch(self, cache: "TenantCache[Kept]") -> None:
        """From now on the cache is told."""
        self._caches.append(cache)  # type: ignore[arg-type]

    def on_commit(self, committed: Committed) -> None:
        """A commit listener."""
        for tenant in committed.policies_changed:
            self._forget(tenant)

    async def refresh(self) -> None:
        """Forgets what storage has in another version. Raises StorageUnavailable; what is known stays then."""
        started = self._monotonic()
        held = [cache.versions() for cache in self._caches]
        tenants: Collection[str] = {tenant for versions in held for tenant in versions}
        if tenants:
            current = await self._reader.policy_versions(sorted(tenants))
            for versions in held:
                for tenant, version in versions.items():
                    if current[tenant] != version:
                        self._forget(tenant)
        self._checked = started
        self._component.ok()

    async def run(self) -> None:
        """Looks every so often, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        """One look, whose failure is told of when it lasts."""
        try:
            await self.refresh()
        except Exception as error:
            if not isinstance(error, StorageUnavailable):
                _log.exception("policies could not be looked at")
            if self._monotonic() > self._checked + UNREFRESHED_AFTER_S:
                self._component.degraded(
                    f"policies cannot be read: {error}",
                    "Changes of categories and default preferences on other replicas are not acted on here.",
                )

    def _forget(self, tenant: str) -> None:
        for cache in self._caches:
            cache.forget(tenant)


def _look_at(reading: "asyncio.Task[Kept]") -> None:
    """An error is for those who wait. Where nobody does any more, asyncio is not to complain of that."""
    if not reading.cancelled():
        reading.exception()
