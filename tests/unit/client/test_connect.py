import asyncio
from pathlib import Path

import grpc
import pytest
import trustme

import tocsin
from tests.unit.client.fake_server import FakeServer
from tocsin.v1.system_service_pb2 import GetStatusRequest, GetStatusResponse


async def test_the_key_goes_with_every_call_raw_ones_too(server: FakeServer) -> None:
    server.answer("GetStatus", GetStatusResponse(version="1"))
    async with tocsin.connect(server.target, api_key="tsk_secret") as client:
        assert (await client.system.status()).version == "1"
        await client.stubs.system.GetStatus(GetStatusRequest(), metadata=(("x-more", "yes"),))
    first, second = server.metadata["GetStatus"]
    assert first["authorization"] == second["authorization"] == "Bearer tsk_secret"
    assert second["x-more"] == "yes"
    assert first["user-agent"].startswith("tocsin-python/")


async def test_a_key_that_changes_is_asked_for_at_every_call(server: FakeServer) -> None:
    server.answer("GetStatus", GetStatusResponse())
    keys = iter(["first", "second"])
    async with tocsin.connect(server.target, api_key=lambda: next(keys)) as client:
        await client.system.status()
        await client.system.status()
    assert [m["authorization"] for m in server.metadata["GetStatus"]] == ["Bearer first", "Bearer second"]


async def test_without_a_key_none_is_sent(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("GetStatus", GetStatusResponse())
    await client.system.status()
    assert "authorization" not in server.metadata["GetStatus"][0]


async def test_target_and_key_come_from_an_environment_that_is_handed_in(server: FakeServer) -> None:
    server.answer("GetStatus", GetStatusResponse())
    environ = {"TOCSIN_TARGET": server.target, "TOCSIN_API_KEY": "from-environ"}
    async with tocsin.connect_from_environ(environ) as client:
        await client.system.status()
    async with tocsin.connect_from_environ({**environ, "TOCSIN_API_KEY": ""}) as client:
        await client.system.status()
    assert [m.get("authorization") for m in server.metadata["GetStatus"]] == ["Bearer from-environ", None]


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


async def test_tls_with_a_certificate_of_our_own(authority: trustme.CA, tmp_path: Path) -> None:
    issued = authority.issue_cert("127.0.0.1")
    key, chain = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    fake = FakeServer()
    fake.answer("GetStatus", GetStatusResponse(version="1"))
    await fake.start(
        grpc.ssl_server_credentials([(key, chain)], authority.cert_pem.bytes(), require_client_auth=True)
    )
    try:
        ours = authority.issue_cert("client.example")
        ca_file = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        tls = tocsin.TLSConfig(ca_file, ours.cert_chain_pems[0].bytes(), ours.private_key_pem.bytes())
        async with tocsin.connect(fake.target, api_key="tsk", tls=tls) as client:
            assert (await client.system.status()).version == "1"
    finally:
        await fake.stop()


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        tocsin.TLSConfig(cert=b"x").credentials()


async def test_calls_under_way_and_later_ones_fail_when_the_client_is_closed(server: FakeServer) -> None:
    async def never(_: GetStatusRequest) -> GetStatusResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.answer("GetStatus", never)
    async with tocsin.connect(server.target) as client:
        under_way = asyncio.create_task(client.system.status())
        await server.until(lambda: server.requests["GetStatus"])
    with pytest.raises(tocsin.ClosedError):
        await under_way
    with pytest.raises(tocsin.ClosedError):
        await client.system.status()


async def test_a_cancelled_call_is_cancelled_and_not_closed(
    client: tocsin.Client, server: FakeServer
) -> None:
    async def never(_: GetStatusRequest) -> GetStatusResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.answer("GetStatus", never)
    call = asyncio.create_task(client.system.status())
    await server.until(lambda: server.requests["GetStatus"])
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
