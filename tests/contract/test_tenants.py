"""Tenants: kept apart, within their quotas, suspended and erased."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.contract.conftest import Key, Refusal, Tocsin, reason, refused, spec
from tests.support.waiting import eventually
from tocsin.v1 import inbox_service_pb2 as inbox
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1 import tenant_service_pb2 as pb


class Operator:
    """Somebody with the scope to do everything."""

    def __init__(self, tocsin: Tocsin, key: Key) -> None:
        self.tocsin = tocsin
        self.metadata = key.metadata

    async def create(self, name: str = "acme", **fields: Any) -> pb.CreateTenantResponse:
        request = pb.CreateTenantRequest(tenant=name, **fields)
        return await self.tocsin.tenants.CreateTenant(request, metadata=self.metadata)

    async def got(self, name: str = "acme") -> pb.Tenant:
        request = pb.GetTenantRequest(tenant=name)
        return (await self.tocsin.tenants.GetTenant(request, metadata=self.metadata)).tenant

    async def suspend(self, name: str = "acme", **fields: Any) -> pb.SuspendTenantResponse:
        request = pb.SuspendTenantRequest(tenant=name, **fields)
        return await self.tocsin.tenants.SuspendTenant(request, metadata=self.metadata)

    async def delete(self, name: str = "acme") -> pb.DeleteTenantResponse:
        request = pb.DeleteTenantRequest(tenant=name)
        return await self.tocsin.tenants.DeleteTenant(request, metadata=self.metadata)

    async def update(self, *paths: str, quotas: pb.Quotas, name: str = "acme") -> pb.Tenant:
        request = pb.UpdateQuotasRequest(
            tenant=name, quotas=quotas, update_mask=FieldMask(paths=paths) if paths else None
        )
        return (await self.tocsin.tenants.UpdateQuotas(request, metadata=self.metadata)).tenant

    async def key_of(self, name: str = "acme") -> Key:
        return await self.tocsin.create_key("admin", tenant=name, metadata=self.metadata)


@pytest.fixture
async def operator(tocsin: Tocsin) -> Operator:
    return Operator(tocsin, await tocsin.create_key("admin", "operator"))


async def send(
    tocsin: Tocsin, key: Key, recipient: str = "ada", title: str = "t"
) -> notifications.SendResult:
    request = notifications.SendRequest(request_id="r", notification=spec(recipient, title))
    return (await tocsin.notifications.Send(request, metadata=key.metadata)).result


async def entries(tocsin: Tocsin, key: Key) -> inbox.ListEntriesResponse:
    return await tocsin.inbox.ListEntries(inbox.ListEntriesRequest(recipient="ada"), metadata=key.metadata)


async def test_a_tenant_is_created_once(operator: Operator) -> None:
    quotas = pb.Quotas(max_recipients=10)
    created = await operator.create(display_name="Acme", quotas=quotas, request_id="c")
    assert created.tenant == await operator.got()
    assert created.tenant.state == pb.TENANT_STATE_ACTIVE
    assert created.tenant.display_name == "Acme"
    assert created.tenant.quotas == quotas
    again = await operator.create(display_name="Acme", quotas=quotas, request_id="c")
    assert (again.tenant, again.replayed) == (created.tenant, True)
    assert await refused(operator.create()) == Refusal(
        "ALREADY_EXISTS", "TENANT_EXISTS", {"tenant": "acme"}, []
    )


@pytest.mark.parametrize("name", ["", "-a", "Acme", "a b", "a" * 64, "a\0"])
async def test_a_tenant_has_a_plain_name(operator: Operator, name: str) -> None:
    assert set((await refused(operator.create(name))).fields) == {"tenant"}


async def test_tenants_are_listed_by_name(operator: Operator) -> None:
    for name in ("beta", "acme"):
        await operator.create(name)
    tenants = operator.tocsin.tenants
    first = await tenants.ListTenants(pb.ListTenantsRequest(page_size=2), metadata=operator.metadata)
    request = pb.ListTenantsRequest(page_size=2, page_token=first.next_page_token)
    rest = await tenants.ListTenants(request, metadata=operator.metadata)
    assert [tenant.tenant for page in (first, rest) for tenant in page.tenants] == ["acme", "beta", "default"]
    assert rest.next_page_token == ""


async def test_tenants_know_nothing_of_each_other(operator: Operator) -> None:
    tocsin = operator.tocsin
    keys = []
    for name in ("acme", "beta"):
        await operator.create(name)
        keys.append(await operator.key_of(name))
    acme, beta = keys
    sent = await send(tocsin, acme, title="acme's")
    assert await reason(entries(tocsin, beta)) == "RECIPIENT_NOT_FOUND"
    asked = notifications.GetNotificationRequest(notification_id=sent.notification_id)
    call = tocsin.notifications.GetNotification(asked, metadata=beta.metadata)
    assert await reason(call) == "NOTIFICATION_NOT_FOUND"
    # Neither are recipients shared, nor request ids, nor cursors.
    assert not (await send(tocsin, beta, title="beta's")).replayed
    request = inbox.MarkEntriesRequest(recipient="ada", mark=inbox.MARK_READ, up_to_cursor=sent.cursor)
    assert await reason(tocsin.inbox.MarkEntries(request, metadata=beta.metadata)) == "CURSOR_MISMATCH"
    assert [entry.content.simple.title for entry in (await entries(tocsin, acme)).entries] == ["acme's"]


async def test_a_suspended_tenant_is_refused_until_it_is_resumed(operator: Operator) -> None:
    tocsin = operator.tocsin
    await operator.create()
    key = await operator.key_of()
    await send(tocsin, key)
    assert (await operator.suspend()).tenant.state == pb.TENANT_STATE_SUSPENDED
    refusal = await refused(entries(tocsin, key))
    assert refusal == Refusal("PERMISSION_DENIED", "TENANT_SUSPENDED", {"tenant": "acme"}, [])
    assert (await operator.suspend(resume=True)).tenant.state == pb.TENANT_STATE_ACTIVE
    assert len((await entries(tocsin, key)).entries) == 1


async def test_a_deleted_tenant_is_erased(operator: Operator) -> None:
    await operator.create()
    key = await operator.key_of()
    await send(operator.tocsin, key)
    assert (await operator.delete()).tenant.state == pb.TENANT_STATE_DELETING
    assert await reason(entries(operator.tocsin, key)) in ("TENANT_SUSPENDED", "CREDENTIALS_REVOKED")

    async def gone() -> bool:
        tenants = await operator.tocsin.tenants.ListTenants(
            pb.ListTenantsRequest(), metadata=operator.metadata
        )
        return [tenant.tenant for tenant in tenants.tenants] == ["default"]

    await eventually(gone, "the tenant to be gone")
    assert await reason(operator.got()) == "TENANT_NOT_FOUND"
    # A new one of the name has nothing of the old.
    await operator.create()
    assert await reason(entries(operator.tocsin, await operator.key_of())) == "RECIPIENT_NOT_FOUND"


async def test_the_default_tenant_stays(operator: Operator) -> None:
    assert (await refused(operator.suspend("default"))).fields == ["tenant"]
    assert (await refused(operator.delete("default"))).fields == ["tenant"]


async def test_quotas_are_changed_one_by_one(operator: Operator) -> None:
    await operator.create(quotas=pb.Quotas(max_recipients=10, max_streams=3))
    changed = await operator.update("max_recipients", quotas=pb.Quotas(max_recipients=1, max_streams=99))
    assert changed.quotas == pb.Quotas(max_recipients=1, max_streams=3)
    key = await operator.key_of()
    await send(operator.tocsin, key, "one")
    request = notifications.SendRequest(notification=spec("two"))
    call = operator.tocsin.notifications.Send(request, metadata=key.metadata)
    refusal = await refused(call)
    assert refusal.reason == "QUOTA_EXCEEDED"
    assert refusal.metadata == {"quota": "max_recipients", "limit": "1"}
    changed = await operator.update(quotas=pb.Quotas(max_recipients=2))
    assert changed.quotas == pb.Quotas(max_recipients=2)
    await operator.tocsin.notifications.Send(request, metadata=key.metadata)


async def test_what_does_not_exist_is_not_found(operator: Operator) -> None:
    for call in (
        operator.got("nobody"),
        operator.suspend("nobody"),
        operator.delete("nobody"),
        operator.update(quotas=pb.Quotas(), name="nobody"),
        operator.key_of("nobody"),
    ):
        assert await refused(call) == Refusal("NOT_FOUND", "TENANT_NOT_FOUND", {"tenant": "nobody"}, [])
