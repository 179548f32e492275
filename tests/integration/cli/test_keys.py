"""`tocsin keys`, TLS, and what is said to those who may not."""

from pathlib import Path

import pytest
import trustme

from tests.integration.cli.conftest import Cli
from tests.support.processes import Servers
from tests.support.waiting import eventually


async def test_the_first_key_is_made_without_a_server_and_opens_it(alone: Cli, servers: Servers) -> None:
    server = await servers.prepare({"TOCSIN_DRAIN_DELAY": "0"})
    database = ("--local", "--database", str(server.database))
    made = await alone("keys", "create", "first", "--scope", "admin", *database, "--json")
    secret = made.json["secret"]
    assert secret.startswith("tsk_")
    assert made.err == ""

    await server.start()
    cli = alone.at(server.address)
    refused = await cli("status", code=1)
    assert refused.err.startswith("tocsin: CREDENTIALS_MISSING: ")
    assert "--api-key" in refused.err
    await cli("--api-key", secret, "status")

    locked = await alone("keys", "create", "second", "--scope", "send", *database, code=1)
    assert f"is in use by process {server.pid}" in locked.err
    assert "running server" in locked.err


async def test_keys_are_created_listed_and_revoked(
    alone: Cli, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await servers.start({"TOCSIN_DRAIN_DELAY": "0"})
    cli = alone.at(server.address)
    monkeypatch.setenv(
        "TOCSIN_API_KEY", (await cli("keys", "create", "root", "--scope", "admin", "--json")).json["secret"]
    )
    arguments = ("--scope", "send", "--scope", "inbox:read", "--recipient", "team-*", "--expires", "2h")
    made = (await cli("keys", "create", "sender", *arguments, "--json")).json
    sender = ("--api-key", made["secret"])

    await cli("send", "team-a", "--category", "c", "--title", "t", *sender)
    refused = await cli("send", "ada", "--category", "c", "--title", "t", *sender, code=1)
    assert "RECIPIENT_NOT_ALLOWED" in refused.err
    assert "SCOPE_MISSING" in (await cli("mark", "team-a", "read", "--all", *sender, code=1)).err

    listed = (await cli("keys", "list")).out
    assert "team-*" in listed
    assert made["secret"] not in listed
    assert "revoked sender" in (await cli("keys", "revoke", made["apiKey"]["apiKeyId"])).out
    assert "CREDENTIALS_REVOKED" in (await cli("inbox", "team-a", *sender, code=1)).err
    assert "API_KEY_NOT_FOUND" in (await cli("keys", "revoke", "nokey", code=1)).err


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--scope", "everything"), id="no such scope"),
        pytest.param((), id="no scope at all"),
        pytest.param(("--scope", "send", "--database", "x.db"), id="a database without --local"),
        pytest.param(("--scope", "send", "--expires", "never"), id="no instant"),
    ],
)
async def test_what_makes_no_key_ends_with_2(alone: Cli, arguments: tuple[str, ...]) -> None:
    await alone("keys", "create", "x", *arguments, code=2)


async def test_tls_is_asked_for_and_trusted(alone: Cli, servers: Servers, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    certificate.cert_chain_pems[0].write_to_path(cert)
    certificate.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    server = await servers.start(
        {"TOCSIN_TLS_CERT": str(cert), "TOCSIN_TLS_KEY": str(key), "TOCSIN_DRAIN_DELAY": "0"}, ready=False
    )
    port_file = server.folder / "port"
    server.port = await eventually(lambda: port_file.exists() and int(port_file.read_text()), "the port file")
    cli = alone.at(server.address)
    await cli("status", "--tls-ca", str(ca))
    assert "UNAVAILABLE" in (await cli("status", "--tls", code=1)).err
    assert "No such file" in (await cli("status", "--tls-ca", "nowhere.pem", code=1)).err
    assert "belong together" in (await cli("status", "--tls-client-cert", str(cert), code=1)).err
