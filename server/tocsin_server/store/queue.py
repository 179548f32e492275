"""The queue before the writer: one a tenant, served in turn, bounded in bytes; with a lane for each thread."""

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tocsin_server.domain.commands import Answer, Command
from tocsin_server.domain.errors import QueueFull, StorageUnavailable, TocsinError
from tocsin_server.domain.time import SECOND
from tocsin_server.service.ports import QueueDepth

COMMANDS_PER_TURN = 128
"""How many commands of one tenant go into a group before the next tenant's turn."""


@dataclass(slots=True)
class Ticket:
    """One call's commands on their way: resolved when the last of them is."""

    future: asyncio.Future[list[Answer[Any] | TocsinError]]
    outcomes: list[Answer[Any] | TocsinError | None]
    left: int

    def settle(self, index: int, outcome: Answer[Any] | TocsinError) -> None:
        """Event loop only."""
        self.outcomes[index] = outcome
        self.left -= 1
        if not self.left and not self.future.done():
            self.future.set_result(self.outcomes)  # type: ignore[arg-type]  # every place is filled by now


@dataclass(slots=True)
class Queued:
    """A command in the queue."""

    command: Command[Any]
    ticket: Ticket
    index: int
    deadline: float | None
    payload_bytes: int
    lane: int = 0
    enqueued_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Lane:
    """What one of the writer's threads takes from."""

    by_tenant: dict[str, deque[Queued]] = field(default_factory=dict)
    count: int = 0
    released: bool = False


class CommandQueue:
    """Filled by the event loop, drained by the writer's threads, each from a lane of its own. What was put waits to be
    released. A tenant's bytes are counted over all lanes.
    """

    def __init__(self, lanes: int = 1) -> None:
        self._changed = threading.Condition()
        self._lanes = [_Lane() for _ in range(lanes)]
        self._bytes: dict[str, int] = {}
        self._closed = False

    def put(self, items: list[Queued], tenant: str, max_bytes: int) -> None:
        """Queues all items of a tenant, each in its lane, or none of them.

        Raises QueueFull when that would be too many bytes, though an empty queue takes any; StorageUnavailable once it
        is closed.
        """
        size = sum(item.payload_bytes for item in items)
        with self._changed:
            if self._closed:
                raise StorageUnavailable
            queued = self._bytes.get(tenant, 0)
            if queued and queued + size > max_bytes:
                raise QueueFull(limit=max_bytes)
            self._bytes[tenant] = queued + size
            for item in items:
                lane = self._lanes[item.lane]
                lane.by_tenant.setdefault(tenant, deque()).append(item)
                lane.count += 1

    def release(self) -> None:
        """Lets the writer have what was put."""
        with self._changed:
            for lane in self._lanes:
                lane.released = lane.count > 0
            self._changed.notify_all()

    def put_back(self, items: list[Queued]) -> None:
        """Puts items of an unfinished group in front again."""
        with self._changed:
            for item in reversed(items):
                tenant, lane = item.command.tenant, self._lanes[item.lane]
                lane.by_tenant.setdefault(tenant, deque()).appendleft(item)
                lane.count += 1
                lane.released = True
                self._bytes[tenant] = self._bytes.get(tenant, 0) + item.payload_bytes

    def take(self, most: int, most_bytes: int, lane: int = 0) -> list[Queued]:
        """What waits in a lane, up to a group, once it is released. Empty: closed and drained."""
        own = self._lanes[lane]
        with self._changed:
            while not (own.count and own.released) and not self._closed:
                self._changed.wait()
            group: list[Queued] = []
            left = most_bytes
            while own.count and len(group) < most and left > 0:
                tenant, waiting = next(iter(own.by_tenant.items()))
                turn = min(COMMANDS_PER_TURN, most - len(group), len(waiting))
                taken_bytes = 0
                for _ in range(turn):
                    item = waiting.popleft()
                    group.append(item)
                    own.count -= 1
                    taken_bytes += item.payload_bytes
                    if taken_bytes >= left:
                        break
                left -= taken_bytes
                self._after_turn(own, tenant, waiting, taken_bytes)
            own.released = own.count > 0
            return group

    def close(self) -> None:
        """What is queued is still served; nothing more is taken in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def depth(self) -> QueueDepth:
        """What waits now."""
        with self._changed:
            oldest = min(
                (waiting[0].enqueued_at for lane in self._lanes for waiting in lane.by_tenant.values()),
                default=None,
            )
            age = 0 if oldest is None else int((time.monotonic() - oldest) * SECOND)
            return QueueDepth(sum(lane.count for lane in self._lanes), sum(self._bytes.values()), age)

    def _after_turn(self, lane: _Lane, tenant: str, waiting: deque[Queued], taken_bytes: int) -> None:
        """The tenant goes to the end of the line, or out of it."""
        del lane.by_tenant[tenant]
        if waiting:
            lane.by_tenant[tenant] = waiting
        self._bytes[tenant] -= taken_bytes
        if not self._bytes[tenant]:
            del self._bytes[tenant]
