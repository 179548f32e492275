"""The bus of replicas within one process, of which there is one unless a test makes more."""

import asyncio

from tocsin_server.domain.inbox import BroadcastChunk
from tocsin_server.service.ports import BusEars, BusFigures, Committed, SessionInfo, SessionQuery


class MemoryBus:
    """Implements `service.ports.Bus` and `Presence`. Nothing is lost, and what is told has arrived."""

    healthy = True

    def __init__(self, others: "list[MemoryBus] | None" = None) -> None:
        """`others` is shared by the replicas, and each one is added."""
        self._replicas = [] if others is None else others
        self._replicas.append(self)
        self.figures = BusFigures()
        self._ears: BusEars
        self._held: dict[str, str] = {}

    def listen(self, ears: BusEars) -> None:
        """See `ports.Bus`."""
        self._ears = ears

    def follow(self, tenant: str, recipient: str) -> None:
        """See `ports.Interest`. Everyone hears everything at once, so there is nothing to catch up with."""

    def unfollow(self, tenant: str, recipient: str) -> None:
        """See `ports.Interest`."""

    def __call__(self, committed: Committed) -> None:
        """See `ports.Bus`."""
        for other in self._others():
            self._count(other, len(committed.changes))
            other._ears.offer(committed.changes)
        for chunk in committed.chunks:
            self.publish_chunk(chunk)

    def publish_chunk(self, chunk: BroadcastChunk) -> None:
        """See `ports.Bus`."""
        changes = chunk.changes({(chunk.tenant, entry.recipient) for entry in chunk.entries})
        for other in self._others():
            self._count(other, 1)
            other._ears.offer(changes)

    async def run(self) -> None:
        """See `ports.Bus`."""
        await asyncio.get_running_loop().create_future()

    def opened(self, session_id: str, tenant: str) -> None:
        """See `ports.Presence`."""
        self._held[session_id] = tenant

    def closed(self, session_id: str) -> None:
        """See `ports.Presence`."""
        self._held.pop(session_id, None)

    async def sessions(self, query: SessionQuery) -> list[SessionInfo]:
        """See `ports.Presence`."""
        return [session for other in self._others() for session in other._ears.find(query)]

    async def terminate(self, session_id: str, tenant: str | None) -> bool:
        """See `ports.Presence`."""
        for other in self._others():
            its_tenant = other._held.get(session_id)
            if its_tenant is not None and tenant in (None, its_tenant):
                other._ears.end(session_id, its_tenant)
                return True
        return False

    def _others(self) -> "list[MemoryBus]":
        return [replica for replica in self._replicas if replica is not self]

    def _count(self, other: "MemoryBus", messages: int) -> None:
        self.figures.published += messages
        other.figures.received += messages
