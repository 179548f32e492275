"""Health and reflection, which every gRPC tool expects."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.calls import reason_of
from tests.support.waiting import eventually
from tests.unit.rpc.conftest import Served, serving
from tests.unit.rpc.test_pipeline import RAW
from tocsin_server.domain.errors import CredentialsMissing
from tocsin_server.rpc.server import ServerOptions

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICES = {
    "tocsin.v1.NotificationService",
    "tocsin.v1.InboxService",
    "tocsin.v1.RecipientService",
    "tocsin.v1.TemplateService",
    "tocsin.v1.TenantService",
    "tocsin.v1.SystemService",
}


@pytest.mark.parametrize("service", ["", *sorted(SERVICES)])
async def test_health_is_told_without_credentials(served: Served, service: str) -> None:
    served.authenticator.error = CredentialsMissing()
    health: Any = HealthStub(served.channel)
    request = health_pb2.HealthCheckRequest(service=service)
    assert (await health.Check(request)).status == SERVING
    await served.rpc.set_serving(False)
    assert (await health.Check(request)).status == NOT_SERVING


async def test_liveness_is_told_apart_from_what_storage_does(served: Served) -> None:
    health: Any = HealthStub(served.channel)
    request = health_pb2.HealthCheckRequest(service="liveness")
    assert (await health.Check(request)).status == SERVING
    await served.rpc.set_serving(False)
    assert (await health.Check(request)).status == SERVING


async def test_a_watcher_sees_the_server_drain_and_does_not_keep_it(served: Served) -> None:
    health: Any = HealthStub(served.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    await served.rpc.set_serving(False)
    assert (await watch.read()).status == NOT_SERVING
    async with asyncio.timeout(5):
        await served.rpc.stop(grace=30)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await watch.read()
    assert reason_of(error.value) == "SERVER_DRAINING"


async def test_a_watcher_that_leaves_is_forgotten(served: Served) -> None:
    before = len(asyncio.all_tasks())
    health: Any = HealthStub(served.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    await watch.read()
    watch.cancel()
    await eventually(lambda: len(asyncio.all_tasks()) <= before, "the end of its tasks")


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
async def test_services_and_their_messages_can_be_explored(served: Served, version: str) -> None:
    reflect = served.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="tocsin.v1.NotificationService")

    services, file = [response async for response in reflect(asked())]
    assert {service.name for service in services.list_services_response.service} >= SERVICES
    assert file.file_descriptor_response.file_descriptor_proto


async def test_stopping_waits_for_what_is_being_served(served: Served) -> None:
    """A call that was taken is answered; who comes after is sent away with a reason."""
    served.sending.gate.clear()
    call = asyncio.ensure_future(served.raw("Send", RAW))
    await eventually(lambda: served.sending.calls, "the call")
    served.rpc.admission.close()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await served.raw("Send", RAW)
    assert (error.value.code(), reason_of(error.value)) == (grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING")
    stopping = asyncio.ensure_future(served.rpc.stop(grace=30))
    await asyncio.sleep(0.05)
    served.sending.gate.set()
    assert await call
    await stopping


async def test_a_port_that_is_taken_is_an_error(served: Served) -> None:
    port = await served.rpc.start("127.0.0.1:0")
    with pytest.raises(OSError, match="cannot listen on"):
        await served.rpc.start(f"127.0.0.1:{port}")


async def test_a_server_without_callers_serves_its_own_state_and_refuses_the_rest() -> None:
    async with serving(options=ServerOptions(serves_callers=False)) as served:
        health: Any = HealthStub(served.channel)
        for service in ("", "tocsin.v1.SystemService"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert (await health.Check(request)).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await health.Check(health_pb2.HealthCheckRequest(service="tocsin.v1.InboxService"))
        assert error.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await served.raw("Send", RAW)
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
