"""What is read of broadcasts."""

from collections.abc import Sequence
from typing import Any

from tocsin_server.domain.broadcast import Broadcast
from tocsin_server.domain.ids import lowest_id_at
from tocsin_server.domain.notification import NotificationState
from tocsin_server.domain.recipient_class import RecipientClass
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import Clock, DueBroadcast
from tocsin_server.store.audience import LAST_KEY, audience_of
from tocsin_server.store.broadcasts import COLUMNS, BroadcastRow, broadcast_row, plain
from tocsin_server.store.classes import read_classes
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Blob, Connection, Select

_GET = Select(COLUMNS, "FROM broadcasts WHERE tenant = ? AND id {in_keys}")

_LIST = Select(
    COLUMNS,
    """FROM (SELECT * FROM broadcasts WHERE tenant = :tenant AND id < :before ORDER BY id DESC LIMIT :limit) AS page""",
)

# What is due of a suspended tenant waits. A CROSS JOIN keeps SQLite to this order: by the index of wake times.
_DUE = Select(
    (*COLUMNS, Blob("content", nullable=True), Blob("trace")),
    f"""FROM (
        SELECT b.* FROM broadcasts AS b CROSS JOIN tenants AS t
        WHERE b.wake_time <= :now AND t.name = b.tenant AND t.state = {int(TenantState.ACTIVE)}
        ORDER BY b.wake_time LIMIT :limit) AS due""",
)

_NEXT_WAKE = "SELECT min(wake_time) FROM broadcasts WHERE wake_time > ?"

_ENTRIES = f"""
    SELECT n.id FROM notifications AS n
    WHERE n.tenant = :tenant AND n.id > :after AND n.id <= :last AND n.state = {int(NotificationState.STORED)}
    AND n.broadcast_class_pk IN (SELECT pk FROM broadcast_classes WHERE tenant = :tenant AND broadcast_pk = :pk)
    ORDER BY n.id LIMIT :limit"""


_READ_IN_CHUNKS = ("inboxes", "recipients", "topic_members")


class BroadcastRows:
    """Implements `ports.BroadcastReader`."""

    def __init__(self, pool: ReadPool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def broadcast(self, tenant: str, id: bytes) -> Broadcast | None:
        """See `ports.BroadcastReader`."""
        row = await self._pool.run(lambda connection: _row(connection, tenant, id))
        return row and plain(row)

    async def broadcasts(self, tenant: str, before: bytes | None, limit: int) -> list[Broadcast]:
        """See `ports.BroadcastReader`."""
        asked = {"tenant": tenant, "before": b"\xff" * 17 if before is None else before, "limit": limit}
        rows = await self._pool.run(lambda connection: connection.select(_LIST, asked))
        found = (plain(broadcast_row(row)) for row in rows)
        return sorted(found, key=lambda broadcast: broadcast.id, reverse=True)

    async def due_broadcasts(self, limit: int) -> list[DueBroadcast]:
        """See `ports.BroadcastReader`."""
        asked = {"now": self._clock.now(), "limit": limit}
        rows = await self._pool.run(lambda connection: connection.select(_DUE, asked))
        return [DueBroadcast(plain(broadcast_row(row)), content, trace) for *row, content, trace in rows]

    async def next_wake_time(self) -> Micros | None:
        """See `ports.BroadcastReader`."""
        now = self._clock.now()
        (time,) = await self._pool.run(lambda connection: connection.execute(_NEXT_WAKE, (now,)).fetchone())
        return time  # type: ignore[no-any-return]

    async def audience_size(self, tenant: str, id: bytes) -> int:
        """See `ports.BroadcastReader`."""

        def read(connection: Connection) -> int:
            # What is counted here is about to be read in chunks, by plans that depend on how much there is.
            connection.analyze(_READ_IN_CHUNKS)
            row = _row(connection, tenant, id)
            if row is None:
                return 0
            audience = audience_of(connection, row.pk, tenant, row.topic_id, row.filter, row.create_time)
            values: dict[str, Any] = {"after": "", "upto": LAST_KEY}
            (count,) = connection.execute(
                f"SELECT count(*) {audience.sql}", audience.values | values
            ).fetchone()
            return int(count)

        return await self._pool.run(read)

    async def classes(self, tenant: str, ids: Sequence[int]) -> dict[int, RecipientClass]:
        """See `ports.BroadcastReader`."""
        return await self._pool.run(lambda connection: read_classes(connection, tenant, ids))

    async def stored_entries(self, tenant: str, id: bytes, after: bytes, limit: int) -> list[bytes]:
        """See `ports.BroadcastReader`."""

        def read(connection: Connection) -> list[bytes]:
            row = _row(connection, tenant, id)
            if row is None or row.finish_time is None:
                return []
            asked = {
                "tenant": tenant,
                "pk": row.pk,
                "after": max(after, lowest_id_at(row.start_time)),
                "last": lowest_id_at(row.finish_time + SECOND),
                "limit": limit,
            }
            return [entry for (entry,) in connection.execute(_ENTRIES, asked)]

        return await self._pool.run(read)


def _row(connection: Connection, tenant: str, id: bytes) -> BroadcastRow | None:
    rows = connection.select_in(_GET, (tenant,), (id,))
    return broadcast_row(rows[0]) if rows else None
