"""Tenants of a running server, and their keys."""

from collections.abc import Iterable, Sequence

import grpc

from tests.support.calls import CALL_TIMEOUT_S, ask, channel_to
from tests.support.waiting import eventually
from tocsin.v1.broadcast_service_pb2 import ListBroadcastsRequest
from tocsin.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from tocsin.v1.system_service_pb2 import CreateApiKeyRequest
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub
from tocsin.v1.tenant_service_pb2 import CreateTenantRequest
from tocsin.v1.tenant_service_pb2_grpc import TenantServiceStub

Metadata = Sequence[tuple[str, str]]


async def tenants_with_keys(addresses: Sequence[str], names: Iterable[str]) -> dict[str, str]:
    """Makes tenants and a key of each, which every replica knows from then on."""
    async with channel_to(addresses[0]) as channel:
        system, tenants = SystemServiceStub(channel), TenantServiceStub(channel)
        for name in names:
            await ask(tenants.CreateTenant, CreateTenantRequest(tenant=name))
        operator = await ask(
            system.CreateApiKey, CreateApiKeyRequest(display_name="operator", scopes=["admin", "operator"])
        )
        made = {}
        for name in names:
            request = CreateApiKeyRequest(display_name="key", scopes=["admin"], tenant=name)
            call = system.CreateApiKey(request, metadata=bearer(operator.secret), timeout=CALL_TIMEOUT_S)
            made[name] = (await call).secret
    for address in addresses:
        for key in made.values():
            await _known(address, key)
    return made


def bearer(key: str) -> Metadata:
    """What a call with a key carries."""
    return (("authorization", f"Bearer {key}"),)


async def _known(address: str, key: str) -> None:
    async with channel_to(address) as channel:

        async def accepted() -> bool:
            try:
                await BroadcastServiceStub(channel).ListBroadcasts(
                    ListBroadcastsRequest(), metadata=bearer(key), timeout=CALL_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
                return False
            return True

        await eventually(accepted, f"{address} to know a key")
