"""TenantService: tenants and their quotas."""

from collections.abc import Mapping

from tocsin.v1 import tenant_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import tenants as convert
from tocsin_server.rpc.methods import Unary
from tocsin_server.service.tenants import Tenants


class TenantServicer:
    """Serves TenantService."""

    service = pb.DESCRIPTOR.services_by_name["TenantService"]

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants

    def methods(self) -> Mapping[str, Unary]:
        """Every RPC with the scope that it needs."""
        return {
            "CreateTenant": Unary(Scope.OPERATOR, self.create),
            "GetTenant": Unary(Scope.OPERATOR, self.get),
            "ListTenants": Unary(Scope.OPERATOR, self.list),
            "SuspendTenant": Unary(Scope.OPERATOR, self.suspend),
            "DeleteTenant": Unary(Scope.OPERATOR, self.delete),
            "UpdateQuotas": Unary(Scope.OPERATOR, self.update_quotas),
        }

    async def create(self, request: pb.CreateTenantRequest, call: CallContext) -> pb.CreateTenantResponse:
        """Creates a tenant."""
        answer = await self._tenants.create(
            call.principal,
            request.request_id,
            request.tenant,
            request.display_name,
            convert.quotas_from(request.quotas),
            deadline=call.deadline,
        )
        return pb.CreateTenantResponse(
            tenant=convert.tenant_message(answer.receipt), replayed=answer.replayed
        )

    async def get(self, request: pb.GetTenantRequest, _call: CallContext) -> pb.GetTenantResponse:
        """One tenant."""
        tenant = await self._tenants.get(request.tenant)
        return pb.GetTenantResponse(tenant=convert.tenant_message(tenant))

    async def list(self, request: pb.ListTenantsRequest, _call: CallContext) -> pb.ListTenantsResponse:
        """A page of tenants."""
        return convert.page_message(await self._tenants.list(request.page_size, request.page_token))

    async def suspend(self, request: pb.SuspendTenantRequest, call: CallContext) -> pb.SuspendTenantResponse:
        """Suspends a tenant, or lets it go on."""
        answer = await self._tenants.suspend(
            call.principal,
            request.request_id,
            request.tenant,
            resume=request.resume,
            deadline=call.deadline,
        )
        return pb.SuspendTenantResponse(
            tenant=convert.tenant_message(answer.receipt), replayed=answer.replayed
        )

    async def delete(self, request: pb.DeleteTenantRequest, call: CallContext) -> pb.DeleteTenantResponse:
        """Suspends a tenant and has it erased."""
        answer = await self._tenants.delete(
            call.principal, request.request_id, request.tenant, deadline=call.deadline
        )
        return pb.DeleteTenantResponse(
            tenant=convert.tenant_message(answer.receipt), replayed=answer.replayed
        )

    async def update_quotas(
        self, request: pb.UpdateQuotasRequest, call: CallContext
    ) -> pb.UpdateQuotasResponse:
        """Changes quotas."""
        answer = await self._tenants.update_quotas(
            call.principal,
            request.request_id,
            request.tenant,
            convert.quotas_from(request.quotas),
            convert.quota_fields_from(request),
            deadline=call.deadline,
        )
        return pb.UpdateQuotasResponse(
            tenant=convert.tenant_message(answer.receipt), replayed=answer.replayed
        )
