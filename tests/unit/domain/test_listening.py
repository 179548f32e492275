"""Who is on this machine, and where the server refuses to listen."""

import pytest

from tocsin_server.domain.listening import Address, is_local_peer, refusal_to_listen


@pytest.mark.parametrize(
    ("text", "address", "local"),
    [
        ("127.0.0.1:7700", Address("127.0.0.1", 7700), True),
        ("127.8.9.1:0", Address("127.8.9.1", 0), True),
        ("localhost:7700", Address("localhost", 7700), True),
        ("[::1]:7700", Address("::1", 7700), True),
        ("[::ffff:127.0.0.1]:7700", Address("::ffff:127.0.0.1", 7700), True),
        ("unix:/run/tocsin.sock", Address("", 0), True),
        ("unix-abstract:tocsin", Address("", 0), True),
        ("0.0.0.0:7700", Address("0.0.0.0", 7700), False),
        ("[::]:7700", Address("::", 7700), False),
        ("10.0.0.7:7700", Address("10.0.0.7", 7700), False),
        ("tocsin.example:7700", Address("tocsin.example", 7700), False),
        ("localhost.example:7700", Address("localhost.example", 7700), False),
    ],
)
def test_an_address_is_read(text: str, address: Address, local: bool) -> None:
    assert Address.parse(text) == address
    assert address.is_local is local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7700",
        "host",
        "host:",
        ":7700",
        "host:port",
        "host:65536",
        "host:-1",
        "host:٣",
        "::1:7700",
        "unix:",
    ],
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:50000", True),
        ("ipv6:[::1]:50000", True),
        ("ipv6:%5B::1%5D:50000", True),  # as grpcio writes it
        ("ipv6:[::ffff:127.0.0.1]:50000", True),
        ("unix:", True),
        ("unix:/run/tocsin.sock", True),
        ("ipv4:10.0.0.7:50000", False),
        ("ipv4:127.0.0.1.example:1", False),
        ("ipv6:[fe80::1%25lo]:50000", False),
        ("", False),
        ("127.0.0.1:50000", False),  # not how gRPC names a peer
    ],
)
def test_a_peer_is_on_this_machine_or_not(peer: str, local: bool) -> None:
    assert is_local_peer(peer) is local


@pytest.mark.parametrize(
    ("text", "keys", "tls", "insecure", "refused"),
    [
        ("127.0.0.1:1", False, False, False, None),
        ("unix:/run/t", False, False, False, None),
        ("0.0.0.0:1", True, True, False, None),
        ("0.0.0.0:1", False, False, True, None),
        ("0.0.0.0:1", True, False, False, "needs TLS"),
        ("0.0.0.0:1", False, True, False, "needs an API key"),
        ("0.0.0.0:1", False, False, False, "needs an API key .* and TLS"),
    ],
)
def test_beyond_loopback_it_takes_keys_and_tls(
    text: str, keys: bool, tls: bool, insecure: bool, refused: str | None
) -> None:
    refusal = refusal_to_listen(Address.parse(text), keys=keys, tls=tls, insecure=insecure)
    if refused is None:
        assert refusal is None
    else:
        with pytest.raises(PermissionError, match=refused):
            raise PermissionError(refusal)
