"""Where the server listens, whom it takes for a caller on the same machine, and what it refuses to do.

Addresses are written as gRPC does: `host:port`, `[IPv6]:port`, `unix:path`, `unix-abstract:name`; a peer may begin with
`ipv4:` or `ipv6:`.
"""

from ipaddress import ip_address

from tocsin_server.domain.value import Value

_UNIX = ("unix:", "unix-abstract:")


class Address(Value, frozen=True):
    """An address to listen on."""

    host: str
    """A name or an IP address without brackets; empty for a Unix socket."""
    port: int
    """0: any free one."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises ValueError, whose text says what is wrong."""
        if text.startswith(_UNIX):
            if not text.partition(":")[2]:
                raise ValueError(f"{text!r} names no socket")
            return cls("", 0)
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:7700")
        if not host or not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port, [IPv6]:port or unix:path")
        return cls(host, int(port))

    @property
    def is_local(self) -> bool:
        """Whether only callers on this machine can reach it."""
        return not self.host or self.host == "localhost" or _is_loopback(self.host)


def is_local_peer(peer: str) -> bool:
    """Whether a peer, as gRPC names it, is on this machine."""
    if peer.startswith(_UNIX):
        return True
    # grpcio writes the brackets of IPv6 as in a URI.
    kind, _, rest = peer.replace("%5B", "[").replace("%5D", "]").partition(":")
    host = rest.rpartition(":")[0].strip("[]")
    return kind in ("ipv4", "ipv6") and _is_loopback(host)


def refusal_to_listen(address: Address, *, keys: bool, tls: bool, insecure: bool) -> str | None:
    """Why the server must not listen there; None: it may.

    Without an API key everyone is let in, so only callers on this machine may get through; without TLS keys and
    notifications would cross the network in the clear.
    """
    if address.is_local or insecure or (keys and tls):
        return None
    wanting = " and ".join(
        want
        for has, want in ((keys, "an API key (tocsin keys create --local)"), (tls, "TLS (tls_cert, tls_key)"))
        if not has
    )
    return f"To listen on {address.host} the server needs {wanting}, or insecure to go without."


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
