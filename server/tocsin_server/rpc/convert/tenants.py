"""TenantService: tenants and their quotas."""

from tocsin.v1 import tenant_service_pb2 as pb
from tocsin_server.domain.tenant import Quotas, Tenant
from tocsin_server.domain.value import field_names
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.service.paging import Page

QUOTA_FIELDS = frozenset(field_names(Quotas))


def quotas_from(message: pb.Quotas) -> Quotas:
    """Quotas; 0 where the server's default holds."""
    return Quotas(
        max_recipients=message.max_recipients,
        max_pending=message.max_pending,
        max_api_keys=message.max_api_keys,
        max_streams=message.max_streams,
        max_queue_bytes=message.max_queue_bytes,
        max_sends_per_second=message.max_sends_per_second,
    )


def quota_fields_from(request: pb.UpdateQuotasRequest) -> frozenset[str]:
    """Which quotas are to be set: all of them unless it is said."""
    return frozenset(request.update_mask.paths) or QUOTA_FIELDS


def tenant_message(tenant: Tenant) -> pb.Tenant:
    """A tenant."""
    quotas = tenant.quotas
    return pb.Tenant(
        tenant=tenant.name,
        display_name=tenant.display_name,
        state=pb.TenantState.ValueType(tenant.state),
        quotas=pb.Quotas(
            max_recipients=quotas.max_recipients,
            max_pending=quotas.max_pending,
            max_api_keys=quotas.max_api_keys,
            max_streams=quotas.max_streams,
            max_queue_bytes=quotas.max_queue_bytes,
            max_sends_per_second=quotas.max_sends_per_second,
        ),
        create_time=timestamp(tenant.create_time),
    )


def page_message(page: Page[Tenant]) -> pb.ListTenantsResponse:
    """A page of tenants."""
    return pb.ListTenantsResponse(
        tenants=map(tenant_message, page.items), next_page_token=page.next_page_token
    )
