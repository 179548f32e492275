"""Categories, default preferences, and the version that tells of both."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.store.conftest import MakeDesk
from tests.support.desk import Desk
from tests.support.stores import START, TurnedClock, on_postgres, stored
from tocsin_server.domain.category import (
    CATEGORY_FIELDS,
    MAX_CATEGORIES,
    Category,
    Overflow,
    Throttle,
    ThrottleScope,
)
from tocsin_server.domain.commands import (
    Answer,
    ChangeDefaultPreferences,
    ChangeTenant,
    CreateTenant,
    DeleteCategory,
    RequestKey,
    RequestSpace,
    UpsertCategory,
)
from tocsin_server.domain.errors import CategoryMandatory, CategoryNotFound, LimitReached
from tocsin_server.domain.notification import Channel, Priority
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.domain.preferences import Choice, Preferences, PreferencesChange
from tocsin_server.domain.quiet_hours import QuietHours, QuietWindow
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import DAY, HOUR
from tocsin_server.domain.value import replace
from tocsin_server.service.ports import Committed
from tocsin_server.store.store import Store

ORDERS = Category(
    "orders",
    "Orders",
    "What happens to an order.",
    (Channel.INBOX, Channel.PUSH),
    mandatory=False,
    priority=Priority.HIGH,
    throttles=(Throttle(ThrottleScope.CATEGORY, 3, HOUR, Overflow.DEFER, (Channel.PUSH,)),),
    retention=DAY,
)
NIGHTS = QuietHours((QuietWindow((1, 2, 3, 4, 5, 6, 7), 1320, 420),))


async def upsert(desk: Desk, category: Category, *fields: str, request: str = "") -> Category:
    key = RequestKey(RequestSpace.UPSERT_CATEGORY, request, b"1") if request else None
    named = frozenset(fields) or CATEGORY_FIELDS
    return await desk.submit(UpsertCategory(tenant=desk.tenant, request=key, category=category, fields=named))


async def delete(desk: Desk, name: str) -> Category:
    return await desk.submit(DeleteCategory(tenant=desk.tenant, name=name))


async def default(desk: Desk, **change: object) -> Preferences:
    command = ChangeDefaultPreferences(tenant=desk.tenant, change=PreferencesChange(**change))  # type: ignore[arg-type]
    return (await desk.submit(command)).preferences


async def policy(store: Store, tenant: str = "default") -> TenantPolicy:
    """As it is read; that its version is the one that is polled is checked, too."""
    read = (await store.policies.policies((tenant,)))[tenant]
    assert await store.policies.policy_versions((tenant,)) == {tenant: read.version}
    return read


async def test_a_category_comes_back_as_it_was_stored(desk: Desk, store: Store, clock: TurnedClock) -> None:
    created = await upsert(desk, ORDERS)
    assert created == replace(ORDERS, create_time=START, update_time=START)
    assert await store.categories.category("default", "orders") == created
    clock.time += HOUR
    changed = await upsert(desk, Category("orders", "Purchases", mandatory=True), "display_name", "mandatory")
    assert changed == replace(created, display_name="Purchases", mandatory=True, update_time=START + HOUR)
    assert await store.categories.category("default", "orders") == changed
    assert await store.categories.category("default", "nothing") is None
    assert await store.categories.category("other", "orders") is None


async def test_an_upsert_that_changes_nothing_is_no_change(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    created = await upsert(desk, ORDERS)
    before = await policy(store)
    clock.time += HOUR
    assert await upsert(desk, ORDERS) == created
    assert await policy(store) == before


async def test_a_repeated_request_is_answered_as_the_first_time(desk: Desk) -> None:
    created = await upsert(desk, ORDERS, request="r")
    await upsert(desk, Category("orders"))
    assert await upsert(desk, ORDERS, request="r") == created


async def test_categories_are_listed_by_code_points(desk: Desk, store: Store, make_desk: MakeDesk) -> None:
    names = ["A", "Z", "a", "a.b", "b"]
    for name in reversed(names):
        await upsert(desk, Category(name))
    await upsert(make_desk("other"), Category("c"))
    assert [each.name for each in await store.categories.categories("default", "", 100)] == names
    assert [each.name for each in await store.categories.categories("default", "Z", 2)] == ["a", "a.b"]


async def test_a_category_is_deleted_once(desk: Desk, store: Store) -> None:
    created = await upsert(desk, ORDERS)
    assert await delete(desk, "orders") == created
    assert await store.categories.category("default", "orders") is None
    with pytest.raises(CategoryNotFound):
        await delete(desk, "orders")


async def test_a_tenant_has_so_many_categories(desk: Desk, store: Store, make_desk: MakeDesk) -> None:
    commands = [
        UpsertCategory(tenant="default", category=Category(f"c{number}"), fields=CATEGORY_FIELDS)
        for number in range(MAX_CATEGORIES)
    ]
    await store.writer.submit(commands)
    with pytest.raises(LimitReached):
        await upsert(desk, Category("one-more"))
    await upsert(desk, Category("c0", "changed"))
    await upsert(make_desk("other"), Category("one-more"))
    await delete(desk, "c1")
    await upsert(desk, Category("one-more"))


async def test_the_default_is_part_of_the_policy(desk: Desk, store: Store) -> None:
    assert await policy(store) == TenantPolicy()
    await upsert(desk, ORDERS)
    said = await default(
        desk,
        made=(Choice(False, "orders", Channel.EMAIL),),
        values=Preferences(quiet_hours=NIGHTS),
        fields=frozenset({"quiet_hours"}),
    )
    assert said == Preferences((Choice(False, "orders", Channel.EMAIL),), NIGHTS)
    read = await policy(store)
    assert read.defaults == said
    assert read.category("orders").channels == ORDERS.channels
    assert read.category("undefined") == Category("undefined")
    assert read.throttled
    assert not (await policy(store, "other")).throttled


async def test_the_default_denies_no_mandatory_and_no_unknown_category(desk: Desk, store: Store) -> None:
    await upsert(desk, Category("security", mandatory=True))
    with pytest.raises(CategoryMandatory):
        await default(desk, made=(Choice(False, "security"),))
    with pytest.raises(CategoryNotFound):
        await default(desk, made=(Choice(True, "nothing"),))
    await default(desk, made=(Choice(False), Choice(True, "security")))
    assert len((await policy(store)).defaults.choices) == 2


async def test_every_change_raises_the_version_and_is_announced(
    desk: Desk, store: Store, commits: list[Committed], clock: TurnedClock
) -> None:
    versions = [(await policy(store)).version]

    async def risen() -> None:
        versions.append((await policy(store)).version)
        assert versions[-1] > versions[-2]
        assert commits[-1].policies_changed == {"default"}

    await upsert(desk, ORDERS)
    await risen()
    await upsert(desk, Category("news"))  # at the same time
    await risen()
    clock.time -= DAY  # clocks may go back
    await default(desk, made=(Choice(False),))
    await risen()
    await delete(desk, "news")
    await risen()
    await desk.send()
    assert commits[-1].policies_changed == frozenset()
    assert (await policy(store)).version == versions[-1]
    assert (await policy(store, "other")).version == 0


async def test_a_tenant_that_comes_again_has_nothing_of_the_old(
    desk: Desk, store: Store, make_desk: MakeDesk, clock: TurnedClock
) -> None:
    await desk.submit(CreateTenant(tenant="default", name="acme", display_name="", quotas=Quotas()))
    acme = make_desk("acme")
    await upsert(acme, ORDERS)
    await default(acme, made=(Choice(False),))
    before = await policy(store, "acme")
    await desk.submit(ChangeTenant(tenant="default", name="acme", state=TenantState.DELETING))
    await desk.erase_tenant("acme")
    assert await policy(store, "acme") == TenantPolicy()
    clock.time += HOUR
    await upsert(acme, Category("news"))
    after = await policy(store, "acme")
    assert list(after.categories) == ["news"]
    assert after.version != before.version


@on_postgres
async def test_replicas_that_change_a_policy_at_once_undo_nothing(
    tmp_path: Path, clock: TurnedClock, database_url: str
) -> None:
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(stored(tmp_path, clock, url=database_url)) for _ in range(2)
        ]
        names = [f"c{number}" for number in range(50)]
        await stores[0].writer.submit(
            [
                UpsertCategory(tenant="default", category=Category(name), fields=CATEGORY_FIELDS)
                for name in names
            ]
        )
        changes = [
            ChangeDefaultPreferences(tenant="default", change=PreferencesChange(made=(Choice(False, name),)))
            for name in names
        ]
        calls = [stores[number % 2].writer.submit((change,)) for number, change in enumerate(changes)]
        for (answer,) in await asyncio.gather(*calls):
            assert isinstance(answer, Answer)
        policy = (await stores[0].policies.policies(("default",)))["default"]
    assert [choice.category for choice in policy.defaults.choices] == sorted(names)
