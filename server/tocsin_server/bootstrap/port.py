"""The port that a server listens on: held for a whole fleet, and announced to whoever waits for it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tocsin_server.domain.listening import Address


@contextmanager
def held(listen: str) -> Iterator[tuple[str, int]]:
    """Holds the port, a free one for port 0, and gives the address with it and the port alone.

    The socket is bound and does not listen, so that nobody is connected to it: whoever listens on the same address
    with SO_REUSEPORT gets the connections. While it is held the port is taken even when nobody listens. Raises OSError.
    """
    address = Address.parse(listen)
    family, kind, protocol, _, bind_to = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.socket(family, kind, protocol) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind(bind_to)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {listen}: {error.strerror}") from error
        port = holder.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        yield f"{host}:{port}", port


def announce(path: Path, port: int) -> None:
    """Writes the port to a file in one step, so that whoever waits for the file never reads half of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(f"{port}\n", encoding="ascii")
    temporary.replace(path)
