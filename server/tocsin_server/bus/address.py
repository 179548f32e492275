"""What a Redis URL says: one server, a service that Sentinels watch over, or a cluster."""

from dataclasses import dataclass
from enum import Enum
from urllib.parse import SplitResult, unquote, urlsplit

DEFAULT_PORT = 6379
DEFAULT_SENTINEL_PORT = 26379


class Kind(Enum):
    """How the servers belong together."""

    SINGLE = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is, and as whom to connect. Of the forms

    `redis://[user:password@]host[:port][/database]`, `redis+unix:///path/of/socket`,
    `redis+sentinel://[user:password@]host[:port],…/service[/database]`,
    `redis+cluster://[user:password@]host[:port],…`

    and, with TLS, the same beginning with `rediss`.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    """Of Sentinels or of some nodes of a cluster, where it is one of these."""
    tls: bool = False
    username: str | None = None
    password: str | None = None
    service: str = ""
    """What Sentinels call it."""
    database: int = 0
    path: str = ""
    """Of a socket, in the place of a host."""

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Raises ValueError, whose text says what is wrong and repeats nothing of the URL but its scheme."""
        parts = urlsplit(url)
        scheme, _, form = parts.scheme.partition("+")
        if scheme not in ("redis", "rediss") or form not in ("", "unix", "sentinel", "cluster"):
            raise ValueError(
                f"{parts.scheme}:// is none of redis://, redis+unix://, redis+sentinel://, redis+cluster://, "
                "nor one of these with rediss"
            )
        if parts.query or parts.fragment:
            raise ValueError(f"a {parts.scheme}:// URL has no ? and no #")
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        tls = scheme == "rediss"
        as_whom = (unquote(username) or None, unquote(password) or None)
        if form == "unix":
            if hosts or tls or not parts.path:
                raise ValueError("redis+unix:// is followed by the path of a socket")
            return cls(Kind.SINGLE, (), False, *as_whom, path=parts.path)
        kind = Kind(form)
        default_port = DEFAULT_SENTINEL_PORT if kind is Kind.SENTINEL else DEFAULT_PORT
        found = tuple(_host(host, default_port) for host in hosts.split(","))
        if kind is Kind.SINGLE and len(found) > 1:
            raise ValueError("several hosts need redis+sentinel:// or redis+cluster://")
        service, database = _path(kind, parts)
        return cls(kind, found, tls, *as_whom, service=service, database=database)


def _host(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    # Reading the port checks it.
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port


def _path(kind: Kind, parts: SplitResult) -> tuple[str, int]:
    """The service and the database."""
    names = [unquote(name) for name in parts.path.split("/") if name]
    service = ""
    if kind is Kind.SENTINEL:
        if not names:
            raise ValueError("redis+sentinel://host,…/service: the service is missing")
        service, *names = names
    if kind is Kind.CLUSTER and names:
        raise ValueError("a cluster has no databases to choose from")
    if len(names) > 1 or not all(name.isdecimal() for name in names):
        raise ValueError("the database is a number")
    return service, int(names[0]) if names else 0
