"""Counts of inboxes in Redis, for those who do not mind their age."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin_server.bus.channels import recipient_number
from tocsin_server.bus.connections import FAILURES, Connections
from tocsin_server.bus.scripts import script
from tocsin_server.domain.inbox import Counts, Inbox
from tocsin_server.service.ports import CachedInbox

TTL_MS = 300_000
TIMEOUT_S = 0.1
"""The row itself is read sooner."""
REST_S = 1.0
"""After a failure it is left alone for so long."""

_FIELDS = ("incarnation", "revision", "unread", "unseen", "total")


class RedisSummaries:
    """Implements `service.ports.SummaryCache`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._set = script("set_summary")
        self._resting_until = 0.0

    async def get(self, tenant: str, recipients: Sequence[str]) -> dict[str, CachedInbox]:
        """See `ports.SummaryCache`."""
        names = list(dict.fromkeys(recipients))
        keys = [_key(tenant, name) for name in names]
        # The time that is left first: should the counts be renewed in between, they seem older than they are.
        commands: list[tuple[str, ...]] = [("PTTL", key) for key in keys]
        answers = await self._execute(commands + [("HMGET", key, *_FIELDS) for key in keys])
        found = {}
        for name, left, fields in zip(names, answers, answers[len(names) :], strict=False):
            if left > 0 and None not in fields:
                revision, unread, unseen, total = map(int, fields[1:])
                inbox = Inbox(tenant, name, fields[0], revision, counts=Counts(unread, unseen, total))
                found[name] = CachedInbox(inbox, max(TTL_MS - left, 0) * 1_000)
        return found

    async def put(self, read: Sequence[Inbox], seen: Mapping[str, CachedInbox], age: int) -> None:
        """See `ports.SummaryCache`."""
        keep = TTL_MS - age // 1_000
        if keep <= 0:
            return
        commands: list[tuple[str | bytes | int, ...]] = []
        for inbox in read:
            before, counts = seen.get(inbox.recipient), inbox.counts
            commands.append(
                (
                    *("EVAL", self._set, 1, _key(inbox.tenant, inbox.recipient)),
                    *(inbox.incarnation, inbox.revision, counts.unread, counts.unseen, counts.total),
                    *(before.inbox.incarnation if before else b"", keep),
                )
            )
        await self._execute(commands)

    async def _execute(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        """Nothing if it takes too long, or fails."""
        if not commands or time.monotonic() < self._resting_until:
            return []
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._connections.execute(commands)
        except FAILURES:
            self._resting_until = time.monotonic() + REST_S
            return []


def _key(tenant: str, recipient: str) -> str:
    return f"c:{{{recipient_number(tenant, recipient)}}}:{tenant}:{recipient}"
