"""The way out: what is to be said waits in a bounded queue and goes out in pipelines. Nobody waits for it."""

import asyncio
import random
from collections import deque
from collections.abc import Sequence

from tocsin_server.bus.backoff import backoff_seconds
from tocsin_server.bus.channels import EVERYONE, recipient_channel
from tocsin_server.bus.connections import FAILURES, Connections
from tocsin_server.bus.messages import Lost, encode, entry_bytes, hint_of
from tocsin_server.domain.inbox import InboxChange, InboxErased
from tocsin_server.service.ports import BusFigures

MAX_QUEUED_MESSAGES = 100_000
"""More are not published, and the others are told that something is missing."""
MAX_QUEUED_BYTES = 32 << 20
"""Beyond it hints are bare, and other messages are not published."""
MESSAGES_PER_PIPELINE = 256
BYTES_PER_PIPELINE = 1 << 20
"""Exceeded by one message at most: a pipeline must be done within a second."""


class Publisher:
    """Run `run` as a task."""

    def __init__(self, connections: Connections, origin: bytes, figures: BusFigures) -> None:
        self._connections = connections
        self._origin = origin
        self._figures = figures
        self._changes: deque[tuple[InboxChange | InboxErased, bool]] = deque()
        self._messages: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._lost = False
        self._wake = asyncio.Event()

    def changes(self, changes: Sequence[InboxChange | InboxErased]) -> None:
        """Takes hints. They are encoded later, so that a commit waits for nothing but this."""
        for change in changes:
            if len(self._changes) >= MAX_QUEUED_MESSAGES:
                self._drop(1)
                continue
            size = entry_bytes(change)
            bare = self._bytes + size > MAX_QUEUED_BYTES
            self._changes.append((change, bare))
            self._bytes += 0 if bare else size
        self._wake.set()

    def message(self, channel: str, data: bytes) -> None:
        """Takes another message."""
        if len(self._messages) >= MAX_QUEUED_MESSAGES or self._bytes + len(data) > MAX_QUEUED_BYTES:
            self._drop(1)
        else:
            self._messages.append((channel, data))
            self._bytes += len(data)
        self._wake.set()

    async def run(self) -> None:
        """Publishes, for ever. What cannot be published is dropped, and the others are told so when they can be."""
        failures = 0
        while True:
            await self._wake.wait()
            batch = self._batch()
            if not batch:
                self._wake.clear()
                continue
            try:
                await self._connections.publish(batch)
            except FAILURES:
                # What waits behind it would come late and be of no use: one look into storage replaces all of it.
                self._drop(len(batch) + len(self._changes) + len(self._messages))
                self._changes.clear()
                self._messages.clear()
                self._bytes = 0
                failures += 1
                await asyncio.sleep(backoff_seconds(failures, random.random()))  # noqa: S311  # jitter
                continue
            self._figures.published += len(batch)
            failures = 0

    def _drop(self, count: int) -> None:
        self._figures.dropped += count
        self._lost = True

    def _batch(self) -> list[tuple[str, bytes]]:
        """The next messages. That something was lost goes first, so that it is healed whatever becomes of the rest."""
        batch: list[tuple[str, bytes]] = []
        size = 0
        if self._lost:
            self._lost = False
            batch.append((EVERYONE, encode(Lost(self._origin))))
        while len(batch) < MESSAGES_PER_PIPELINE and size < BYTES_PER_PIPELINE:
            if self._messages:
                channel, data = self._messages.popleft()
                self._bytes -= len(data)
            elif self._changes:
                change, bare = self._changes.popleft()
                self._bytes -= 0 if bare else entry_bytes(change)
                channel = recipient_channel(change.tenant, change.recipient)
                data = hint_of(change, self._origin, bare=bare)
            else:
                break
            batch.append((channel, data))
            size += len(data)
        return batch
