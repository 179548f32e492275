"""The bus of a fleet, by Redis or Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b

import msgspec

from tocsin_server.bus.address import RedisAddress
from tocsin_server.bus.buckets import RedisBuckets
from tocsin_server.bus.channels import EVERYONE, recipient_of
from tocsin_server.bus.connections import Connections
from tocsin_server.bus.fleet import Fleet
from tocsin_server.bus.messages import (
    Broadcast,
    Changed,
    End,
    Erased,
    Find,
    Found,
    Heartbeat,
    Lost,
    broadcast_of,
    change_of,
    changes_of,
    decode,
)
from tocsin_server.bus.presence import RedisPresence
from tocsin_server.bus.publisher import Publisher
from tocsin_server.bus.subscriber import Key, Subscriber
from tocsin_server.bus.summaries import RedisSummaries
from tocsin_server.domain.inbox import BroadcastChunk
from tocsin_server.service.ports import BusEars, BusFigures, Committed

_ORIGIN_BYTES = 6


@asynccontextmanager
async def redis_fleet(url: str, instance: str, on_health: Callable[[str], None]) -> AsyncIterator[Fleet]:
    """What replicas share by Redis; `on_health` gets what is wrong, or nothing when nothing is.

    Connects when it is used. Raises ValueError for a URL that is not understood.
    """
    connections = Connections(RedisAddress.parse(url))
    bus = RedisBus(connections, instance, on_health)
    try:
        yield Fleet(bus, bus.presence, RedisBuckets(connections), RedisSummaries(connections))
    finally:
        await connections.close()


class RedisBus:
    """Implements `service.ports.Bus`."""

    def __init__(self, connections: Connections, instance: str, on_health: Callable[[str], None]) -> None:
        self.figures = BusFigures()
        self._origin = blake2b(instance.encode(), digest_size=_ORIGIN_BYTES).digest()
        self._tell_health = on_health
        self._publisher = Publisher(connections, self._origin, self.figures)
        self._subscriber = Subscriber(
            connections,
            instance,
            on_message=self._on_message,
            on_confirmed=self._on_confirmed,
            on_health=self._on_health,
        )
        self.presence = RedisPresence(connections, self._publisher, instance, lambda: self.healthy)
        self._ears: BusEars

    @property
    def healthy(self) -> bool:
        """See `ports.Bus`."""
        return self._subscriber.healthy

    def listen(self, ears: BusEars) -> None:
        """See `ports.Bus`."""
        self._ears = ears

    def follow(self, tenant: str, recipient: str) -> None:
        """See `ports.Interest`."""
        self._subscriber.follow((tenant, recipient))

    def unfollow(self, tenant: str, recipient: str) -> None:
        """See `ports.Interest`."""
        self._subscriber.unfollow((tenant, recipient))

    def __call__(self, committed: Committed) -> None:
        """See `ports.Bus`."""
        if committed.changes:
            self._publisher.changes(committed.changes)
        for chunk in committed.chunks:
            self.publish_chunk(chunk)

    def publish_chunk(self, chunk: BroadcastChunk) -> None:
        """See `ports.Bus`."""
        self._publisher.message(EVERYONE, broadcast_of(chunk, self._origin))

    async def run(self) -> None:
        """See `ports.Bus`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._subscriber.run())
            tasks.create_task(self._publisher.run())
            tasks.create_task(self.presence.run())

    # --- what is heard ------------------------------------------------------------------------------------------------

    def _on_health(self, detail: str) -> None:
        if not detail:
            self.figures.reconnects += 1
            self.presence.refresh()
        self._tell_health(detail)

    def _on_confirmed(self, key: Key) -> None:
        tenant, recipient = key
        self._ears.missed(tenant, (recipient,))

    def _on_message(self, channel: str, data: bytes) -> None:
        try:
            message = decode(data)
        except msgspec.DecodeError:
            # Of a version that says more than this one knows: whatever it was, storage tells.
            self.figures.dropped += 1
            self._look_up(channel)
            return
        match message:
            case Heartbeat(sent):
                self.figures.lag_seconds = time.monotonic() - sent
                return
            case Changed(origin) | Erased(origin) | Broadcast(origin) | Lost(origin):
                if origin == self._origin:
                    return
        self.figures.received += 1
        match message:
            case Changed() | Erased():
                key = recipient_of(channel)
                if key is not None:
                    self._ears.offer([change_of(message, *key)])
            case Broadcast():
                self._ears.offer(changes_of(message, self._subscriber.wanted))
            case Lost():
                self._ears.missed_all()
            case Find():
                if message.asker != self.presence.instance:
                    self.presence.asked(message, self._ears.find(message.query))
            case Found():
                self.presence.answered(message)
            case End(session_id, tenant):
                self._ears.end(session_id, tenant)

    def _look_up(self, channel: str) -> None:
        key = recipient_of(channel)
        if key is not None:
            self._on_confirmed(key)
        elif channel == EVERYONE:
            self._ears.missed_all()
