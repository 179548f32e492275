"""What is left of a tenant that was erased: nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from tests.support.broadcasting import Station
from tests.support.deliveries import PlanDeliveries
from tests.support.stores import START, TurnedClock, stored
from tocsin_server.domain.access import ApiKey, Scope
from tocsin_server.domain.audience import FilterAudience
from tocsin_server.domain.category import CATEGORY_FIELDS, Category
from tocsin_server.domain.commands import (
    AcknowledgePositions,
    AddMembers,
    Answer,
    ChangeTenant,
    CreateApiKey,
    CreateTemplateVersion,
    CreateTenant,
    CreateTopic,
    EraseTenant,
    RequestKey,
    RequestSpace,
    ShownContent,
    StoreNotification,
    SweepReceipt,
    UpsertCategory,
    UpsertRecipient,
)
from tocsin_server.domain.cursor import UNFILTERED
from tocsin_server.domain.delivery import NewDelivery
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.ids import notification_id, recipient_hash
from tocsin_server.domain.notification import Channel, NotificationSpec, Priority
from tocsin_server.domain.recipient import PROFILE_FIELDS, Profile
from tocsin_server.domain.sending import ChannelDraft, Draft
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import HOUR
from tocsin_server.service.credentials import new_key
from tocsin_server.store.store import Store

COLUMNS_OF_SQLITE = """
    SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
    WHERE tables.type = 'table'"""

COLUMNS_OF_POSTGRES = """
    SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"""


def rows_of(path: Path, url: str | None, tenant: str) -> dict[str, int]:
    """How many rows of each table are a tenant's; contents are counted whosesoever they are."""
    columns = COLUMNS_OF_SQLITE if url is None else COLUMNS_OF_POSTGRES
    place = "?" if url is None else "%s"
    opened: Any = sqlite3.connect(path) if url is None else psycopg.connect(url)
    with closing(opened) as connection:
        tables = [table for table, column in connection.execute(columns).fetchall() if column == "tenant"]
        counts = {}
        for table in tables:
            query = f"SELECT count(*) FROM {table} WHERE tenant = {place}"
            counts[table] = connection.execute(query, (tenant,)).fetchone()[0]
        counts["contents"] = connection.execute("SELECT count(*) FROM contents").fetchone()[0]
    return counts


async def broadcast(store: Store, tenant: str) -> None:
    """A broadcast with a class, and an exception."""
    clock = TurnedClock()
    station = Station(store, clock, tenant)
    made = await station.create(FilterAudience("locale = de"), start_time=START)
    (due,) = [each for each in await store.broadcasts.due_broadcasts(10) if each.broadcast.tenant == tenant]
    await station.desk.submit(await station.drafts.of_classes(due, (0,)))
    assert made.id == due.broadcast.id
    await station.desk.upsert("r0", locale="pt")


async def fill(store: Store, tenant: str, notifications: int) -> None:
    """Something of everything."""
    made = new_key(START)
    key = ApiKey(made.id, tenant, "", (Scope.SEND,), (), (), START)
    request = RequestKey(RequestSpace.UPSERT_RECIPIENT, "r1", b"\1fingerprint")
    await store.writer.submit([CreateTenant(tenant="default", name=tenant, display_name="", quotas=Quotas())])
    await store.writer.submit([CreateApiKey(tenant=tenant, key=key, secret_hash=made.hash)])
    await store.writer.submit(
        [
            UpsertRecipient(
                tenant=tenant, request=request, recipient="r0", profile=Profile("de"), fields=PROFILE_FIELDS
            )
        ]
    )
    await store.writer.submit(
        [UpsertCategory(tenant=tenant, category=Category("orders"), fields=CATEGORY_FIELDS)]
    )
    await store.writer.submit(
        [CreateTemplateVersion(tenant=tenant, name="welcome", definition=b"d", activate=True)]
    )
    inbox = (await store.readers.heads(tenant, ["r0"]))["r0"]
    position = ConsumerPosition("phone", "r0", inbox.incarnation, UNFILTERED, 0)
    await store.writer.submit([AcknowledgePositions(tenant=tenant, positions=(position,))])
    await store.writer.submit([CreateTopic(tenant=tenant, topic="news", display_name="")])
    await store.writer.submit([AddMembers(tenant=tenant, topic="news", recipients=("r0", "r1"))])
    await broadcast(store, tenant)
    drafts = [
        Draft(
            notification_id(START, recipient_hash(tenant, f"r{number % 3}"), number),
            tenant,
            f"r{number % 3}",
            "orders",
            Priority.NORMAL,
            (ChannelDraft(Channel.INBOX), ChannelDraft(Channel.EMAIL, ("ada@example.com",), "log")),
            "",
            START,
            START + HOUR if number % 2 else None,
            None,
            takes_slots=True,
        )
        for number in range(notifications)
    ]
    await store.writer.submit(
        [
            StoreNotification(
                tenant=tenant,
                draft=draft,
                spec=NotificationSpec(draft.recipient, draft.category),
                shown=ShownContent(b"c"),
                envelope=b"e",
                any_profile=True,
            )
            for draft in drafts
        ]
    )
    deliveries = tuple(
        NewDelivery(tenant, draft.id, draft.recipient, Channel.EMAIL, "a@example.com", "log", START)
        for draft in drafts
    )
    await store.writer.submit([PlanDeliveries(tenant=tenant, deliveries=deliveries)])


async def erase(store: Store, tenant: str, limit: int) -> SweepReceipt:
    (answer,) = await store.writer.submit([EraseTenant(tenant="default", name=tenant, limit=limit)])
    assert isinstance(answer, Answer)
    return answer.receipt


async def test_a_deleted_tenant_is_erased_chunk_by_chunk_and_wholly(
    tmp_path: Path, database_url: str | None
) -> None:
    path = tmp_path / "tocsin.db"
    async with stored(tmp_path, TurnedClock(), url=database_url) as store:
        await fill(store, "acme", 10)
        await fill(store, "zeta", 4)
        before = rows_of(path, database_url, "acme")
        assert all(before.values()), "every table that knows tenants holds something of this one"
        others = rows_of(path, database_url, "zeta")
        await store.writer.submit([ChangeTenant(tenant="default", name="acme", state=TenantState.DELETING)])
        receipts = []
        while True:
            receipts.append(await erase(store, "acme", 3))
            assert receipts[-1].count <= 3
            if not receipts[-1].more:
                break
        assert sum(receipt.count for receipt in receipts) == sum(before.values()) - before["contents"]
        left = rows_of(path, database_url, "acme")
        assert left.pop("contents") == 5
        assert set(left.values()) == {0}
        assert rows_of(path, database_url, "zeta") == others | {"contents": 5}
        assert await store.tenants.tenant("acme") is None
        assert [key.tenant for key in (await store.api_keys.all_active_keys()).values()] == ["zeta"]


async def test_only_a_deleted_tenant_is_erased(tmp_path: Path, database_url: str | None) -> None:
    async with stored(tmp_path, TurnedClock(), url=database_url) as store:
        await fill(store, "acme", 2)
        for name in ("acme", "nowhere"):
            assert await erase(store, name, 1_000) == SweepReceipt(0)
        assert rows_of(tmp_path / "tocsin.db", database_url, "acme")["notifications"] == 2


async def test_a_name_is_free_again_once_its_tenant_is_erased(
    tmp_path: Path, database_url: str | None
) -> None:
    async with stored(tmp_path, TurnedClock(), url=database_url) as store:
        await fill(store, "acme", 2)
        await store.writer.submit([ChangeTenant(tenant="default", name="acme", state=TenantState.DELETING)])
        while (await erase(store, "acme", 1_000)).more:
            pass
        await fill(store, "acme", 1)
        again = await store.tenants.tenant("acme")
        assert again is not None
        assert again.state is TenantState.ACTIVE


async def test_tenants_come_back_as_they_were_stored(tmp_path: Path, database_url: str | None) -> None:
    async with stored(tmp_path, TurnedClock(), url=database_url) as store:
        (answer,) = await store.writer.submit(
            [CreateTenant(tenant="default", name="acme", display_name="Acme", quotas=Quotas(7, 0, 3))]
        )
        assert isinstance(answer, Answer)
    async with stored(tmp_path, TurnedClock(), url=database_url) as store:
        assert await store.tenants.tenant("acme") == answer.receipt
        assert [tenant.name for tenant in await store.tenants.tenants("", 10)] == ["acme", "default"]
        assert [tenant.name for tenant in await store.tenants.tenants("acme", 10)] == ["default"]
        assert [tenant.name for tenant in await store.tenants.tenants("", 1)] == ["acme"]
