"""Several replicas on one opened store: each has a hub, sessions and a bus, and only one hears of commits directly."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.stores import TurnedClock
from tests.support.streams import Exchange, Follower
from tests.support.waiting import eventually
from tocsin_server.bus.fleet import Fleet
from tocsin_server.bus.memory import MemoryBus
from tocsin_server.bus.redis import redis_fleet
from tocsin_server.domain.inbox import InboxChange, InboxErased
from tocsin_server.domain.time import HOUR, Micros
from tocsin_server.service.hub import Hub
from tocsin_server.service.ports import BusEars
from tocsin_server.store.store import Store
from tocsin_server.workers.poll import PollWorker

Line: TypeAlias = Callable[[Hub, Iterable[InboxChange | InboxErased]], None]
"""Brings to a hub what was heard."""


@dataclass
class Replica:
    """One of them."""

    name: str
    streams: Exchange
    fleet: Fleet
    poll: PollWorker
    line: Line
    health: list[str] = field(default_factory=list)
    """What its bus has told of itself."""
    missed: list[tuple[str, str]] = field(default_factory=list)
    """Whose hints may have been lost, as the bus has told."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether its bus is."""
        return self.fleet.bus.healthy

    @property
    def catch_ups(self) -> int:
        """Times that a session read from storage what it lacked."""
        return self.streams.parts.metrics.catch_ups

    async def follows(self, *recipients: str) -> Follower:
        """A stream that is live, and whose recipients the bus tells of; nothing more is about to be read for it."""
        follower = await self.streams.live(*recipients, max_recipients=10_000)
        if not isinstance(self.fleet.bus, MemoryBus):
            await eventually(
                lambda: {("default", recipient) for recipient in recipients} <= {*self.missed},
                f"subscriptions; confirmed: {len(self.missed)}",
            )
            # What was looked at because of them is done, when what is asked after it is.
            await eventually(lambda: not self.poll._doubted, "the catch-up to begin")
            await self.poll.poll()
        return follower

    async def until_healthy(self) -> None:
        """Waits for it."""
        await eventually(lambda: self.healthy, f"the bus of {self.name}; it said {self.health}")

    def _missed(self, tenant: str, recipients: Sequence[str]) -> None:
        self.missed += [(tenant, recipient) for recipient in recipients]
        self.poll.missed(tenant, recipients)

    def start(self) -> None:
        """Listens, publishes and polls."""
        self.fleet.bus.listen(
            BusEars(
                offer=lambda changes: self.line(self.streams.hub, changes),
                missed=self._missed,
                missed_all=self.poll.missed_all,
                find=self.streams.sessions.find,
                end=self.streams.sessions.end,
            )
        )
        self._tasks = [asyncio.create_task(self.fleet.bus.run()), asyncio.create_task(self.poll.run())]

    async def stop(self) -> None:
        """As at the end of a process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.streams.close()


class Replicas:
    """Makes replicas on one store. Commits go to the first one's hub, unless somebody else has them."""

    def __init__(
        self, store: Store, clock: TurnedClock, stack: AsyncExitStack, *, first_commits: bool = True
    ) -> None:
        self.store = store
        self._clock = clock
        self._stack = stack
        self._first_commits = first_commits
        self._memory: list[MemoryBus] = []
        self.all: list[Replica] = []

    async def join(
        self, url: str | None, *, poll_interval: Micros = HOUR, line: Line | None = None
    ) -> Replica:
        """Another one, on the Redis at the URL or on the memory of this process.

        It polls hardly ever, unless told. What its bus hears comes by the `line`.
        """
        name = f"replica-{len(self.all)}"
        health: list[str] = []

        def on_health(detail: str) -> None:
            health.append(detail)
            replica.poll.hurry()

        if url is None:
            bus = MemoryBus(self._memory)
            fleet = Fleet(bus, bus)
        else:
            fleet = await self._stack.enter_async_context(redis_fleet(url, name, on_health))
        streams = Exchange(self.store, self._clock, fleet=fleet, instance=name)
        poll = PollWorker(streams.hub, self.store.readers, poll_interval, lambda: fleet.bus.healthy)
        replica = Replica(
            name, streams, fleet, poll, line or (lambda hub, changes: hub.offer(changes)), health
        )
        if self._first_commits and not self.all:
            self.store.writer.listen(streams.hub)
            self.store.writer.listen(fleet.bus)
        self.all.append(replica)
        self._stack.push_async_callback(replica.stop)
        replica.start()
        await replica.until_healthy()
        return replica


@asynccontextmanager
async def replicas(store: Store, clock: TurnedClock) -> AsyncIterator[Replicas]:
    """Ends all that were made."""
    async with AsyncExitStack() as stack:
        yield Replicas(store, clock, stack)
