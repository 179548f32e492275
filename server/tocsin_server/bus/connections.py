"""Connections to Redis, whatever form it has: pooled ones for commands, and those that messages come in by.

Everything has a timeout and nothing is tried twice in here: what fails is told to whoever knows what it means. The
repetition of redis-py itself would connect and subscribe again in silence, and hide what was lost meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from redis.asyncio import (
    Connection,
    ConnectionPool,
    Redis,
    RedisCluster,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.client import PubSub
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from tocsin_server.bus.address import Kind, RedisAddress
from tocsin_server.bus.channels import NUMBERS

SOCKET_TIMEOUT_S = 1.0
"""For connecting, for a command's answer, for what is written to be taken."""
MAX_PIPELINES = 16
"""At once, and so at most as many connections for commands to each server."""
CLOSE_TIMEOUT_S = 1.0

FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
"""What anything here fails with."""

Result = TypeVar("Result")
Command: TypeAlias = tuple[str | bytes | int | float, ...]


class Once(Retry):
    """Tries once. The other retry policies reconnect even when they do not repeat."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    async def call_with_retry(
        self, do: Callable[[], Awaitable[Result]], *_args: object, **_options: object
    ) -> Result:
        """What it gives, or fails with."""
        return await do()


@dataclass(frozen=True, slots=True)
class Links:
    """The connections that messages come in by: one, or one to each primary of a cluster."""

    pubsubs: tuple[PubSub, ...]
    by_number: tuple[int, ...]
    """Which of them carries the channels of a number."""

    def number_of(self, index: int) -> int:
        """A number that a connection carries."""
        return self.by_number.index(index)

    async def connect(self) -> None:
        """Raises FAILURES."""
        async with asyncio.timeout(SOCKET_TIMEOUT_S):
            for pubsub in self.pubsubs:
                await pubsub.connect()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        """Never fails."""
        for pubsub in self.pubsubs:
            with suppress(*FAILURES):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
                    await pubsub.connection_pool.disconnect()


class Connections:
    """Of one address. Nothing is connected before it is used."""

    def __init__(self, address: RedisAddress) -> None:
        self._pipelines = asyncio.Semaphore(MAX_PIPELINES)
        self._cluster: RedisCluster | None = None
        self._message_pool: Callable[[], ConnectionPool]
        self.client: Redis | RedisCluster
        options = _options(address)
        if address.kind is Kind.CLUSTER:
            self.client = self._cluster = RedisCluster(
                startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
                ssl=address.tls,
                **options,
            )
            return
        if address.kind is Kind.SENTINEL:
            # The user and the password are those of the servers.
            sentinel_options = {**options, "username": None, "password": None, "ssl": address.tls}
            sentinels = Sentinel(address.hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
            service_options = {**options, "db": address.database, "ssl": address.tls}
            self._message_pool = lambda: (
                sentinels.master_for(address.service, **service_options).connection_pool
            )
        else:
            self._message_pool = lambda: _pool(address, options)
        self.client = Redis(connection_pool=self._message_pool())

    @property
    def sharded(self) -> bool:
        """Whether a channel belongs to one node of a cluster: SSUBSCRIBE and SPUBLISH in the place of the others."""
        return self._cluster is not None

    async def links(self) -> Links:
        """For messages, not connected yet; on a cluster, to those who are its primaries now. Raises FAILURES."""
        if self._cluster is None:
            return Links((PubSub(self._message_pool()),), (0,) * NUMBERS)
        await self._cluster.nodes_manager.initialize()
        owners = [self._cluster.get_node_from_key(f"{{{number}}}") for number in range(NUMBERS)]
        nodes = {owner.name: owner for owner in owners if owner is not None}
        indexes = {name: index for index, name in enumerate(nodes)}
        if None in owners:
            raise RedisError("a part of the cluster has no primary")
        return Links(
            tuple(PubSub(_node_pool(node)) for node in nodes.values()),
            tuple(indexes[owner.name] for owner in owners if owner is not None),
        )

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Runs commands in one pipeline, in their order on each server; their answers. Raises FAILURES."""
        async with asyncio.timeout(SOCKET_TIMEOUT_S), self._pipelines:
            pipeline: Any = self.client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute()
            return answers

    async def publish(self, messages: Sequence[tuple[str, bytes]]) -> list[int]:
        """Publishes (channel, data) in one pipeline; how many heard each. Raises FAILURES."""
        command = "SPUBLISH" if self.sharded else "PUBLISH"
        return await self.execute([(command, channel, data) for channel, data in messages])

    async def subscribe(self, pubsub: PubSub, channels: Sequence[str]) -> None:
        """Subscribes to channels of one number. Raises FAILURES."""
        subscribe = pubsub.ssubscribe if self.sharded else pubsub.subscribe
        async with asyncio.timeout(SOCKET_TIMEOUT_S):
            await subscribe(*channels)

    async def unsubscribe(self, pubsub: PubSub, channels: Sequence[str]) -> None:
        """Inverse of `subscribe`."""
        unsubscribe: Any = pubsub.sunsubscribe if self.sharded else pubsub.unsubscribe
        async with asyncio.timeout(SOCKET_TIMEOUT_S):
            await unsubscribe(*channels)

    async def close(self) -> None:
        """Never fails."""
        with suppress(*FAILURES):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.client.aclose()
                if isinstance(self.client, Redis):
                    await self.client.connection_pool.disconnect()
                else:
                    # A client that no command was run by keeps open by what it asked who its nodes are.
                    for nodes in ("nodes_cache", "startup_nodes"):
                        await self.client.nodes_manager.aclose(nodes)


def _options(address: RedisAddress) -> dict[str, Any]:
    return {
        "username": address.username,
        "password": address.password,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        # Messages and answers do not come on one connection, so that the older protocol, which every server and
        # Sentinel speaks, lacks nothing.
        "protocol": 2,
        "retry": Once(),
    }


def _pool(address: RedisAddress, options: dict[str, Any]) -> ConnectionPool:
    """Of one server."""
    options = {**options, "db": address.database}
    if address.path:
        return ConnectionPool(UnixDomainSocketConnection, path=address.path, **options)
    ((host, port),) = address.hosts
    kind = SSLConnection if address.tls else Connection
    return ConnectionPool(kind, host=host, port=port, **options)


def _node_pool(node: ClusterNode) -> ConnectionPool:
    """Of one node of a cluster."""
    return ConnectionPool(node.connection_class, **{**node.connection_kwargs, "retry": Once()})
