"""What Redis URLs say, and which client is made of them."""

import pytest
from redis.asyncio import RedisCluster, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.sentinel import SentinelConnectionPool

from tocsin_server.bus.address import Kind, RedisAddress
from tocsin_server.bus.connections import SOCKET_TIMEOUT_S, Connections

SINGLE, SENTINEL, CLUSTER = Kind.SINGLE, Kind.SENTINEL, Kind.CLUSTER


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", RedisAddress(SINGLE, (("cache", 6379),))),
        ("redis://cache:7000/3", RedisAddress(SINGLE, (("cache", 7000),), database=3)),
        # A password may have what a URL must not have.
        ("rediss://ann:p%40ss@[::1]:1", RedisAddress(SINGLE, (("::1", 1),), True, "ann", "p@ss")),
        # Before users there were only passwords.
        ("redis://:secret@cache", RedisAddress(SINGLE, (("cache", 6379),), password="secret")),
        ("redis+unix:///run/redis.sock", RedisAddress(SINGLE, (), path="/run/redis.sock")),
        (
            "redis+sentinel://:pw@a,b:26380/mymaster/2",
            RedisAddress(
                SENTINEL, (("a", 26379), ("b", 26380)), password="pw", service="mymaster", database=2
            ),
        ),
        ("rediss+sentinel://a/main", RedisAddress(SENTINEL, (("a", 26379),), True, service="main")),
        ("redis+cluster://a,b:7001", RedisAddress(CLUSTER, (("a", 6379), ("b", 7001)))),
        ("rediss+cluster://a", RedisAddress(CLUSTER, (("a", 6379),), True)),
    ],
)
def test_forms(url: str, expected: RedisAddress) -> None:
    assert RedisAddress.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://cache", "none of"),
        ("redis+ring://cache", "none of"),
        ("redis://", "host is missing"),
        ("redis://a,b", "several hosts"),
        ("redis://a:port", "ort"),
        ("redis://a/one", "database is a number"),
        ("redis://a/1/2", "database is a number"),
        ("redis://a?db=1", r"no \?"),
        ("redis+sentinel://a", "service is missing"),
        ("redis+cluster://a/1", "no databases"),
        ("redis+unix://", "path of a socket"),
    ],
)
def test_what_is_not_understood(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        RedisAddress.parse(url)


def connections(url: str) -> Connections:
    return Connections(RedisAddress.parse(url))


async def test_every_form_has_its_client() -> None:
    sentinel = connections("rediss+sentinel://:pw@a,b/main").client
    assert not isinstance(sentinel, RedisCluster)
    pool = sentinel.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "main"
    cluster = connections("redis+cluster://a,b")
    assert isinstance(cluster.client, RedisCluster)
    assert cluster.sharded
    single = connections("rediss://cache")
    assert not isinstance(single.client, RedisCluster)
    assert single.client.connection_pool.connection_class is SSLConnection
    assert not single.sharded
    socket = connections("redis+unix:///run/redis.sock").client
    assert not isinstance(socket, RedisCluster)
    assert socket.connection_pool.connection_class is UnixDomainSocketConnection


async def test_nothing_waits_for_ever_or_tries_again_by_itself() -> None:
    for url in ("redis://cache", "redis+sentinel://a/main"):
        client = connections(url).client
        assert not isinstance(client, RedisCluster)
        options = client.connection_pool.connection_kwargs
        assert options["socket_timeout"] == options["socket_connect_timeout"] == SOCKET_TIMEOUT_S
        assert options["retry"].get_retries() == 0
        assert options["protocol"] == 2
