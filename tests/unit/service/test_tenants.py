"""What operators do with tenants, on a real store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.stores import QUOTAS, START, TurnedClock, stored
from tocsin_server.domain.access import DEFAULT_TENANT, Principal, Scope
from tocsin_server.domain.errors import (
    DeadlinePassed,
    InvalidFields,
    PageTokenInvalid,
    RequestIdReused,
    TenantExists,
    TenantNotFound,
)
from tocsin_server.domain.tenant import Quotas, Tenant, TenantState
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.tenants import TenantDirectory, Tenants
from tocsin_server.store.store import Store

OPERATOR = Principal(DEFAULT_TENANT, "op", frozenset({Scope.OPERATOR}))


class World:
    def __init__(self, store: Store) -> None:
        self.directory = TenantDirectory(store.tenants, QUOTAS)
        self.caught_up = 0
        self.tenants = Tenants(
            store.writer, store.tenants, WireCodec(), PageTokens(store.facts.cursor_key), self.catch_up
        )

    async def catch_up(self) -> None:
        self.caught_up += 1
        await self.directory.refresh()

    async def create(self, name: str, request_id: str = "", quotas: Quotas | None = None) -> Tenant:
        answer = await self.tenants.create(OPERATOR, request_id, name, name.title(), quotas or Quotas())
        return answer.receipt


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with stored(tmp_path, TurnedClock()) as store:
        yield World(store)


async def test_a_tenant_is_created_found_and_listed(world: World) -> None:
    made = await world.create("acme", quotas=Quotas(max_recipients=7))
    assert made == Tenant("acme", "Acme", TenantState.ACTIVE, Quotas(max_recipients=7), START)
    assert await world.tenants.get("acme") == made
    assert [tenant.name for tenant in (await world.tenants.list(0, "")).items] == ["acme", "default"]


async def test_names_are_unique(world: World) -> None:
    await world.create("acme")
    with pytest.raises(TenantExists) as refused:
        await world.create("acme")
    assert refused.value.metadata == {"tenant": "acme"}
    with pytest.raises(TenantExists):
        await world.create("default")


async def test_what_does_not_exist_is_not_found(world: World) -> None:
    with pytest.raises(TenantNotFound):
        await world.tenants.get("nowhere")
    with pytest.raises(TenantNotFound):
        await world.tenants.suspend(OPERATOR, "", "nowhere", resume=False)
    with pytest.raises(TenantNotFound):
        await world.tenants.delete(OPERATOR, "", "nowhere")
    with pytest.raises(TenantNotFound):
        await world.tenants.update_quotas(OPERATOR, "", "nowhere", Quotas(), frozenset())


async def test_a_repeated_request_gets_its_first_answer(world: World) -> None:
    first = await world.tenants.create(OPERATOR, "r1", "acme", "Acme", Quotas())
    again = await world.tenants.create(OPERATOR, "r1", "acme", "Acme", Quotas())
    assert (first.replayed, again.replayed) == (False, True)
    assert again.receipt == first.receipt
    with pytest.raises(RequestIdReused):
        await world.tenants.create(OPERATOR, "r1", "acme", "Another", Quotas())
    # Each RPC has request ids of its own.
    assert not (await world.tenants.suspend(OPERATOR, "r1", "acme", resume=False)).replayed


async def test_pages_follow_each_other_by_name(world: World) -> None:
    for number in range(5):
        await world.create(f"t{number}")
    names, token = [], ""
    for _ in range(3):
        page = await world.tenants.list(2, token)
        names += [tenant.name for tenant in page.items]
        token = page.next_page_token
    assert names == ["default", "t0", "t1", "t2", "t3", "t4"]
    assert token == ""
    with pytest.raises(PageTokenInvalid):
        await world.tenants.list(2, "forged")


async def test_a_suspended_tenant_can_go_on(world: World) -> None:
    await world.create("acme")
    suspended = await world.tenants.suspend(OPERATOR, "", "acme", resume=False)
    assert suspended.receipt.state is world.directory.state("acme") is TenantState.SUSPENDED
    resumed = await world.tenants.suspend(OPERATOR, "", "acme", resume=True)
    assert resumed.receipt.state is world.directory.state("acme") is TenantState.ACTIVE


async def test_there_is_no_way_back_from_being_deleted(world: World) -> None:
    await world.create("acme")
    deleted = await world.tenants.delete(OPERATOR, "", "acme")
    assert deleted.receipt.state is TenantState.DELETING
    assert (await world.tenants.delete(OPERATOR, "", "acme")).receipt == deleted.receipt
    with pytest.raises(TenantNotFound):
        await world.tenants.suspend(OPERATOR, "", "acme", resume=True)
    with pytest.raises(TenantNotFound):
        await world.tenants.update_quotas(OPERATOR, "", "acme", Quotas(), frozenset({"max_pending"}))
    with pytest.raises(TenantExists):
        await world.create("acme")


async def test_the_default_tenant_stays(world: World) -> None:
    with pytest.raises(InvalidFields) as refused:
        await world.tenants.suspend(OPERATOR, "", "default", resume=False)
    assert [violation.field for violation in refused.value.violations] == ["tenant"]
    with pytest.raises(InvalidFields):
        await world.tenants.delete(OPERATOR, "", "default")
    changed = await world.tenants.update_quotas(
        OPERATOR, "", "default", Quotas(max_streams=3), frozenset({"max_streams"})
    )
    assert changed.receipt.quotas == Quotas(max_streams=3)


async def test_only_named_quotas_are_set(world: World) -> None:
    await world.create("acme", quotas=Quotas(max_recipients=7, max_streams=8))
    changed = await world.tenants.update_quotas(
        OPERATOR, "", "acme", Quotas(max_recipients=9, max_pending=10), frozenset({"max_recipients"})
    )
    assert changed.receipt.quotas == Quotas(max_recipients=9, max_streams=8)
    back_to_default = await world.tenants.update_quotas(
        OPERATOR, "", "acme", Quotas(), frozenset({"max_recipients"})
    )
    assert back_to_default.receipt.quotas == Quotas(max_streams=8)


async def test_the_directory_fills_in_the_servers_defaults(world: World) -> None:
    await world.create("acme", quotas=Quotas(max_recipients=7))
    assert world.directory.quotas("acme").max_recipients == 7
    assert world.directory.quotas("acme").max_streams == QUOTAS.max_streams
    assert world.directory.quotas("nowhere") == QUOTAS
    assert world.directory.state("nowhere") is None


async def test_the_directory_knows_the_default_tenant_before_it_has_looked(tmp_path: Path) -> None:
    async with stored(tmp_path, TurnedClock()) as store:
        assert TenantDirectory(store.tenants, QUOTAS).state(DEFAULT_TENANT) is TenantState.ACTIVE


async def test_the_directory_reads_as_many_pages_as_there_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_server.service.tenants._TENANTS_PER_READ", 2)
    for number in range(4):
        await world.create(f"t{number}")
    assert all(world.directory.state(f"t{number}") is TenantState.ACTIVE for number in range(4))


async def test_what_is_answered_holds_here_already(world: World) -> None:
    await world.create("acme")
    await world.tenants.suspend(OPERATOR, "", "acme", resume=False)
    with pytest.raises(InvalidFields):
        await world.tenants.delete(OPERATOR, "", "default")
    assert world.caught_up == 2


async def test_what_comes_too_late_is_not_written(world: World) -> None:
    with pytest.raises(DeadlinePassed):
        await world.tenants.create(OPERATOR, "", "late", "", Quotas(), deadline=0.0)
    with pytest.raises(TenantNotFound):
        await world.tenants.get("late")
