"""A real server behind TLS: who gets through, and how certificates are renewed while it runs."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from tocsin_server.rpc.tls import TlsUnusable, server_credentials

METHOD = "/test/Echo"


class Files:
    """A server's certificate and key, and whose certificates it wants of callers."""

    def __init__(self, folder: Path) -> None:
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.client_ca = folder / "ca.pem"

    def write(self, issued: trustme.LeafCert) -> None:
        self.write_cert(issued)
        self.key.write_bytes(issued.private_key_pem.bytes())

    def write_cert(self, issued: trustme.LeafCert) -> None:
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


Start = Callable[[grpc.ServerCredentials], Awaitable[int]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts servers that echo; they end with the test."""
    servers = []

    async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def start(credentials: grpc.ServerCredentials) -> int:
        server = grpc.aio.server()
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Echo": handler}),))
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        servers.append(server)
        return port

    yield start
    for server in servers:
        await server.stop(None)


async def call(port: int, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bytes:
    """One call on a connection of its own, and so with a handshake of its own."""
    chain = key = None
    if client is not None:
        chain = b"".join(blob.bytes() for blob in client.cert_chain_pems)
        key = client.private_key_pem.bytes()
    credentials = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), key, chain)
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as channel:
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        return await echo(b"hello", timeout=20)


async def refused(port: int, authority: trustme.CA, client: trustme.LeafCert | None = None) -> bool:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call(port, authority, client)
    return error.value.code() is grpc.StatusCode.UNAVAILABLE


async def serial(port: int, authority: trustme.CA) -> int:
    """The serial number of the certificate that the server shows."""
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return load_der_x509_certificate(shown).serial_number


def serial_of(issued: trustme.LeafCert) -> int:
    return load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number


async def test_callers_who_trust_the_authority_get_through(
    files: Files, authority: trustme.CA, start: Start
) -> None:
    files.write(authority.issue_cert("localhost"))
    port = await start(server_credentials(files.cert, files.key))
    assert await call(port, authority) == b"hello"
    assert await refused(port, trustme.CA())


async def test_a_renewed_certificate_is_shown_to_the_next_caller(
    files: Files, authority: trustme.CA, start: Start
) -> None:
    first, second = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    files.write(first)
    port = await start(server_credentials(files.cert, files.key))
    assert await serial(port, authority) == serial_of(first)
    files.write(second)
    assert await serial(port, authority) == serial_of(second)
    assert await call(port, authority) == b"hello"


async def test_between_the_certificate_and_its_key_the_old_ones_hold(
    files: Files, authority: trustme.CA, start: Start
) -> None:
    first, second = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    files.write(first)
    port = await start(server_credentials(files.cert, files.key))
    files.write_cert(second)
    assert await serial(port, authority) == serial_of(first)
    files.key.unlink()
    assert await serial(port, authority) == serial_of(first)
    files.write(second)
    assert await serial(port, authority) == serial_of(second)


async def test_with_an_authority_for_callers_they_need_a_certificate(
    files: Files, authority: trustme.CA, start: Start
) -> None:
    callers = trustme.CA()
    files.write(authority.issue_cert("localhost"))
    files.client_ca.write_bytes(callers.cert_pem.bytes())
    port = await start(server_credentials(files.cert, files.key, files.client_ca))
    known = callers.issue_cert("service.example")
    assert await call(port, authority, known) == b"hello"
    assert await refused(port, authority)
    assert await refused(port, authority, trustme.CA().issue_cert("service.example"))


async def test_the_authority_of_callers_is_renewed_too(
    files: Files, authority: trustme.CA, start: Start
) -> None:
    old, new = trustme.CA(), trustme.CA()
    files.write(authority.issue_cert("localhost"))
    files.client_ca.write_bytes(old.cert_pem.bytes())
    port = await start(server_credentials(files.cert, files.key, files.client_ca))
    files.client_ca.write_bytes(new.cert_pem.bytes())
    assert await call(port, authority, new.issue_cert("service.example")) == b"hello"
    assert await refused(port, authority, old.issue_cert("service.example"))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("cert.pem", None, "No such file"),
        ("key.pem", None, "No such file"),
        ("ca.pem", None, "No such file"),
        ("cert.pem", b"", "is not a certificate"),
        (
            "cert.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "is not a certificate",
        ),
        ("key.pem", b"nothing", "is not an unencrypted private key"),
        ("ca.pem", b"nothing", "holds no certificates"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name(
    files: Files, authority: trustme.CA, name: str, content: bytes | None, why: str
) -> None:
    files.write(authority.issue_cert("localhost"))
    files.client_ca.write_bytes(authority.cert_pem.bytes())
    path = files.cert.with_name(name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TlsUnusable, match=f"{name}: {why}"):
        server_credentials(files.cert, files.key, files.client_ca)


def test_a_key_of_another_certificate_is_refused(files: Files, authority: trustme.CA) -> None:
    files.write(authority.issue_cert("localhost"))
    files.write_cert(authority.issue_cert("localhost"))
    with pytest.raises(TlsUnusable, match=r"key\.pem: is not the key of the certificate in .*cert\.pem"):
        server_credentials(files.cert, files.key)


def test_an_encrypted_key_is_refused(files: Files, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    files.write(issued)
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    files.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))
    )
    with pytest.raises(TlsUnusable, match="unencrypted"):
        server_credentials(files.cert, files.key)
