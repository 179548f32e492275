"""The queue before the writer: one a tenant, served in turn, bounded in bytes."""

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
    enqueued_at: float = field(default_factory=time.monotonic)


class CommandQueue:
    """Filled by the event loop, drained by the writer's thread. What was put waits to be released."""

    def __init__(self) -> None:
        self._filled = threading.Condition()
        self._by_tenant: dict[str, deque[Queued]] = {}
        self._bytes: dict[str, int] = {}
        self._count = 0
        self._released = False
        self._closed = False

    def put(self, items: list[Queued], tenant: str, max_bytes: int) -> None:
        """Queues all items of a tenant, or none of them.

        Raises QueueFull when that would be too many bytes, though an empty queue takes any; StorageUnavailable once it
        is closed.
        """
        size = sum(item.payload_bytes for item in items)
        with self._filled:
            if self._closed:
                raise StorageUnavailable
            queued = self._bytes.get(tenant, 0)
            if queued and queued + size > max_bytes:
                raise QueueFull(limit=max_bytes)
            self._bytes[tenant] = queued + size
            self._by_tenant.setdefault(tenant, deque()).extend(items)
            self._count += len(items)

    def release(self) -> None:
        """Lets the writer have what was put."""
        with self._filled:
            self._released = True
            self._filled.notify()

    def put_back(self, items: list[Queued]) -> None:
        """Puts items of an unfinished group in front again."""
        with self._filled:
            for item in reversed(items):
                tenant = item.command.tenant
                self._by_tenant.setdefault(tenant, deque()).appendleft(item)
                self._bytes[tenant] = self._bytes.get(tenant, 0) + item.payload_bytes
                self._count += 1
                self._released = True

    def take(self, most: int, most_bytes: int) -> list[Queued]:
        """What waits, up to a group, once it is released. Empty: closed and drained."""
        with self._filled:
            while not (self._count and self._released) and not self._closed:
                self._filled.wait()
            group: list[Queued] = []
            left = most_bytes
            while self._count and len(group) < most and left > 0:
                tenant, waiting = next(iter(self._by_tenant.items()))
                turn = min(COMMANDS_PER_TURN, most - len(group), len(waiting))
                taken_bytes = 0
                for _ in range(turn):
                    item = waiting.popleft()
                    group.append(item)
                    self._count -= 1
                    taken_bytes += item.payload_bytes
                    if taken_bytes >= left:
                        break
                left -= taken_bytes
                self._after_turn(tenant, waiting, taken_bytes)
            self._released = self._count > 0
            return group

    def close(self) -> None:
        """What is queued is still served; nothing more is taken in."""
        with self._filled:
            self._closed = True
            self._filled.notify()

    def depth(self) -> QueueDepth:
        """What waits now."""
        with self._filled:
            oldest = min(
                (waiting[0].enqueued_at for waiting in self._by_tenant.values() if waiting), default=None
            )
            age = 0 if oldest is None else int((time.monotonic() - oldest) * SECOND)
            return QueueDepth(self._count, sum(self._bytes.values()), age)

    def _after_turn(self, tenant: str, waiting: deque[Queued], taken_bytes: int) -> None:
        """The tenant goes to the end of the line, or out of it."""
        del self._by_tenant[tenant]
        if waiting:
            self._by_tenant[tenant] = waiting
            self._bytes[tenant] -= taken_bytes
        else:
            del self._bytes[tenant]
