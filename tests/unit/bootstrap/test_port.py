"""The port that a fleet has, before and while nobody listens on it."""

import errno
import socket
from pathlib import Path

import pytest

from tocsin_server.bootstrap.port import announce, held


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="the machine has no IPv6")
HOSTS = ["127.0.0.1", "localhost", "0.0.0.0", *(pytest.param(host, marks=IPV6) for host in ("[::1]", "[::]"))]


@pytest.mark.parametrize("host", HOSTS)
def test_a_free_port_is_found_and_stays_taken(host: str) -> None:
    with held(f"{host}:0") as (listen, port):
        assert listen == f"{host}:{port}"
        with held(listen) as again:
            assert again == (listen, port)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as other, pytest.raises(OSError, match="in use"):
            other.bind((host.strip("[]"), port))


def test_nobody_is_connected_to_who_only_holds_it() -> None:
    with held("127.0.0.1:0") as (_, port), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_port_of_somebody_else_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"cannot listen on {listen}") as error, held(listen):
            pass
    assert error.value.errno == errno.EADDRINUSE


def test_the_port_is_announced_in_one_step(tmp_path: Path) -> None:
    announce(tmp_path / "port", 4711)
    assert (tmp_path / "port").read_text() == "4711\n"
    assert [path.name for path in tmp_path.iterdir()] == ["port"]
