"""What is kept of tenants: read once, forgotten when it changes, bounded."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.support.stores import TurnedClock
from tests.support.waiting import eventually
from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.service.ports import Committed
from tocsin_server.service.status import Component, ComponentState
from tocsin_server.service.tenant_cache import UNREFRESHED_AFTER_S, PolicyWatch, TenantCache


@dataclass
class Thing:
    """What is kept."""

    version: int
    weight: int = 1


class Storage:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.things: dict[str, Thing] = {}
        self.read: list[str] = []
        self.looks: list[Sequence[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def things_of(self, tenants: Sequence[str]) -> Mapping[str, Thing]:
        self.read += tenants
        seen = {tenant: self.things.get(tenant, Thing(0)) for tenant in tenants}
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return seen

    async def policies(self, tenants: Sequence[str]) -> dict[str, TenantPolicy]:
        raise NotImplementedError

    async def policy_versions(self, tenants: Sequence[str]) -> dict[str, int]:
        self.looks.append(tenants)
        if self.error is not None:
            raise self.error
        return {tenant: self.things.get(tenant, Thing(0)).version for tenant in tenants}


class World:
    def __init__(self) -> None:
        self.storage = Storage()
        self.cache = TenantCache[Thing](self.storage.things_of, lambda thing: thing.weight, 10)
        self.component = Component("policies", TurnedClock())
        self.seconds = 0.0
        self.watch = PolicyWatch(self.storage, self.component, monotonic=lambda: self.seconds)
        self.watch.watch(self.cache)

    def commit(self, tenant: str, version: int, weight: int = 1) -> None:
        """Another replica does so: nobody is told."""
        self.storage.things[tenant] = Thing(version, weight)

    def commit_here(self, tenant: str, version: int) -> None:
        self.commit(tenant, version)
        self.watch.on_commit(Committed(policies_changed=frozenset({tenant})))


@pytest.fixture
def world() -> World:
    return World()


async def test_what_is_known_is_read_once(world: World) -> None:
    assert world.cache.of("acme") is None
    world.commit("acme", 7)
    first = await world.cache.known("acme")
    assert first.version == 7
    assert world.cache.of("acme") is first
    assert await world.cache.known("acme") is first
    assert world.storage.read == ["acme"]


async def test_those_who_wait_share_a_read(world: World) -> None:
    world.storage.gate.clear()
    waiting = [asyncio.create_task(world.cache.known("acme")) for _ in range(3)]
    await eventually(lambda: world.storage.read, "the read to begin")
    waiting[0].cancel()  # one gives up
    world.storage.gate.set()
    assert await asyncio.gather(*waiting[1:]) == [Thing(0)] * 2
    assert world.storage.read == ["acme"]


async def test_a_change_made_here_is_seen_at_once(world: World) -> None:
    await world.cache.known("acme")
    world.commit_here("acme", 1)
    assert world.cache.of("acme") is None
    assert (await world.cache.known("acme")).version == 1


async def test_a_read_that_a_change_overtakes_is_not_kept(world: World) -> None:
    world.storage.gate.clear()
    early = asyncio.create_task(world.cache.known("acme"))
    await eventually(lambda: world.storage.read, "the read to begin")
    world.commit_here("acme", 1)
    late = asyncio.create_task(world.cache.known("acme"))
    await eventually(lambda: len(world.storage.read) == 2, "the other read to begin")
    world.storage.gate.set()
    assert (await early).version == 0
    assert (await late).version == 1
    assert world.cache.of("acme") == Thing(1)


async def test_a_change_made_elsewhere_is_found_by_its_version(world: World) -> None:
    await world.cache.known("acme")
    await world.cache.known("beta")
    world.commit("acme", 1)
    await world.watch.refresh()
    assert world.cache.of("acme") is None
    assert world.cache.of("beta") == Thing(0)
    assert world.storage.looks == [["acme", "beta"]]
    await world.cache.known("acme")
    world.commit("acme", 0)  # erased, and so of an earlier version
    await world.watch.refresh()
    assert world.cache.of("acme") is None


async def test_nobody_is_asked_about_nothing(world: World) -> None:
    await world.watch.refresh()
    assert world.storage.looks == []


async def test_those_asked_for_last_are_kept(world: World) -> None:
    for tenant, weight in (("a", 4), ("b", 4), ("c", 1)):
        world.commit(tenant, 1, weight)
        await world.cache.known(tenant)
    assert world.cache.of("a") is not None
    world.commit("d", 1, 2)
    await world.cache.known("d")
    assert sorted(world.cache.versions()) == ["a", "c", "d"]
    world.commit("e", 1, 99)  # more than there is room for, alone
    await world.cache.known("e")
    assert sorted(world.cache.versions()) == ["e"]
    world.commit("f", 1, 1)
    await world.cache.known("f")
    assert sorted(world.cache.versions()) == ["f"]


async def test_what_cannot_be_read_is_told_and_asked_for_again(world: World) -> None:
    world.storage.error = StorageUnavailable()
    with pytest.raises(StorageUnavailable):
        await world.cache.known("acme")
    world.storage.error = None
    assert await world.cache.known("acme") == Thing(0)


@pytest.mark.parametrize("error", [StorageUnavailable(), RuntimeError("a defect")])
async def test_a_watch_that_sees_nothing_says_so_and_keeps_what_is_known(
    world: World, error: Exception
) -> None:
    await world.cache.known("acme")

    async def state_after_a_look() -> ComponentState:
        await world.watch.look()
        return world.component.report.state

    world.storage.error = error
    assert await state_after_a_look() is ComponentState.OK
    world.seconds = UNREFRESHED_AFTER_S + 0.1
    assert await state_after_a_look() is ComponentState.DEGRADED
    assert world.cache.of("acme") == Thing(0)
    world.storage.error = None
    assert await state_after_a_look() is ComponentState.OK
