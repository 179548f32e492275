"""Tenants and their quotas, for operators."""

from collections.abc import AsyncIterator, Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.tenant_service_pb2 import (
    CreateTenantRequest,
    DeleteTenantRequest,
    GetTenantRequest,
    ListTenantsRequest,
    ListTenantsResponse,
    Quotas,
    SuspendTenantRequest,
    Tenant,
    UpdateQuotasRequest,
)

__all__ = ("Tenants",)


class Tenants:
    """`client.tenants`; needs the scope `operator`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.tenants

    async def create(
        self,
        tenant: str,
        *,
        display_name: str = "",
        quotas: Quotas | None = None,
        request_id: str | None = None,
    ) -> Tenant:
        """Create a tenant.

        Args:
            tenant: its name: 1 to 63 lower-case letters, digits and hyphens.
            display_name: name to show.
            quotas: what it may use; None: the server's defaults.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = CreateTenantRequest(
            request_id=request_id or new_request_id(), tenant=tenant, display_name=display_name, quotas=quotas
        )
        return (await self._transport.call(self._stub.CreateTenant, request)).tenant

    async def get(self, tenant: str) -> Tenant:
        """One tenant."""
        return (await self._transport.call(self._stub.GetTenant, GetTenantRequest(tenant=tenant))).tenant

    def all(self, *, page_size: int = 0) -> AsyncIterator[Tenant]:
        """All tenants, by name."""
        request = ListTenantsRequest(page_size=page_size)

        async def fetch(token: str) -> ListTenantsResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListTenants, request)

        return self._transport.items(fetch, lambda page: iter(page.tenants))

    async def suspend(self, tenant: str, *, request_id: str | None = None) -> Tenant:
        """Refuse the tenant's calls and end its streams within a second. Nothing is lost."""
        request = SuspendTenantRequest(request_id=request_id or new_request_id(), tenant=tenant)
        return (await self._transport.call(self._stub.SuspendTenant, request)).tenant

    async def resume(self, tenant: str, *, request_id: str | None = None) -> Tenant:
        """Lift a suspension."""
        request = SuspendTenantRequest(request_id=request_id or new_request_id(), tenant=tenant, resume=True)
        return (await self._transport.call(self._stub.SuspendTenant, request)).tenant

    async def delete(self, tenant: str, *, request_id: str | None = None) -> Tenant:
        """Suspend a tenant and erase everything of it, in the background."""
        request = DeleteTenantRequest(request_id=request_id or new_request_id(), tenant=tenant)
        return (await self._transport.call(self._stub.DeleteTenant, request)).tenant

    async def update_quotas(
        self, tenant: str, quotas: Quotas, *, fields: Iterable[str] = (), request_id: str | None = None
    ) -> Tenant:
        """Change quotas.

        Args:
            tenant: its name.
            quotas: the new values; 0 is the server's default.
            fields: which fields of `quotas` to set; empty: all of them.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = UpdateQuotasRequest(
            request_id=request_id or new_request_id(),
            tenant=tenant,
            quotas=quotas,
            update_mask=FieldMask(paths=fields),
        )
        return (await self._transport.call(self._stub.UpdateQuotas, request)).tenant
