"""Reads on threads of their own, with a connection each: nothing waits for the writer, and nothing blocks the loop.

Entries come as a `Select`. While a database works the interpreter's lock is free, and it is taken again once a query
instead of once a row: on a busy event loop that is the difference between microseconds and milliseconds.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tocsin_server.domain.commands import Timer, TimerKind
from tocsin_server.domain.entry import (
    ChangesPage,
    ConsumerPosition,
    EntryFilter,
    EntryPage,
    NotificationFilter,
    StoredEntry,
    Wanted,
)
from tocsin_server.domain.ids import lowest_id_at
from tocsin_server.domain.inbox import Inbox, Status
from tocsin_server.domain.notification import Event, NotificationState
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock, StoreFacts
from tocsin_server.store.events import read_events
from tocsin_server.store.facts import read_fact
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import NO_LIMIT, Blob, Connection, Select
from tocsin_server.store.transaction import SELECT_INBOXES, inbox_of

_ENTRIES_PER_READ = 512

_STORED = int(NotificationState.STORED)

# Past its expire time an entry shows as expired, even in the moment before its timer has made it so.
_ENTRY = (
    Blob("n.id"),
    "n.recipient",
    "n.revision",
    "n.content_revision",
    f"CASE WHEN n.state = {_STORED} AND n.expire_time <= :now THEN {int(NotificationState.EXPIRED)} ELSE n.state END",
    f"CASE WHEN n.state = {_STORED} AND n.expire_time <= :now THEN {int(Status.GONE)} ELSE n.status END",
    "n.category",
    Blob("c.body", "CASE WHEN n.expire_time <= :now THEN NULL ELSE {} END", nullable=True),
    Blob("coalesce(b.envelope, n.envelope)"),
    Blob("coalesce(b.trace, n.trace)"),
    "n.seen_time",
    "n.read_time",
    "n.archived_time",
    "n.snoozed_until",
    f"CASE WHEN n.state = {_STORED} AND n.expire_time <= :now THEN n.expire_time ELSE n.final_time END",
    "n.interacted_time",
    "n.deliver_time",
    "b.pk IS NOT NULL",
)


@lru_cache(256)
def _entries_in(page: str) -> Select:
    """The entries whose `pk` a query gives."""
    return Select(
        _ENTRY,
        f"""FROM ({page}) AS page
        JOIN notifications AS n ON n.pk = page.pk LEFT JOIN contents AS c ON c.id = n.content_id
        LEFT JOIN broadcast_classes AS b ON b.pk = n.broadcast_class_pk""",
    )


# `length` of a blob reads its header only: bodies that do not fit are never touched. What has expired comes without its
# body, and must not count with it either: whether a page is complete is told by the sizes of what came.
_CHANGES = _entries_in(
    f"""
        SELECT pk FROM (
            SELECT n.pk, sum(size) OVER (ORDER BY n.revision ROWS UNBOUNDED PRECEDING) - size AS before FROM (
                SELECT n.pk, n.revision, length(coalesce(b.envelope, n.envelope))
                    + CASE WHEN n.expire_time <= :now THEN 0 ELSE coalesce(length(c.body), 0) END AS size
                FROM notifications AS n LEFT JOIN contents AS c ON c.id = n.content_id
                LEFT JOIN broadcast_classes AS b ON b.pk = n.broadcast_class_pk
                WHERE n.tenant = :tenant AND n.recipient = :recipient AND n.revision > :after
                    AND (n.revision > :unread_up_to OR n.status <= {int(Status.SEEN)})
                ORDER BY n.revision LIMIT {_ENTRIES_PER_READ}
            ) AS n
        ) AS sized WHERE before < :max_bytes"""
)

_HEADS_OF = Select(("tenant", *SELECT_INBOXES.columns), "FROM inboxes WHERE (tenant, recipient) {in_pairs}")

_POSITIONS = """
    SELECT consumer, recipient, incarnation, filter, revision, update_time FROM consumer_positions
    WHERE tenant = ? AND consumer = ? AND recipient {in_keys}"""

# What falls due for a suspended tenant waits. A CROSS JOIN keeps SQLite to this order: by the index of due times.
_DUE_TIMERS = f"""
    SELECT t.pk, t.tenant, t.kind, t.due_time, t.recipient, t.notification_id
    FROM timers AS t CROSS JOIN tenants
    WHERE tenants.name = t.tenant AND tenants.state = {int(TenantState.ACTIVE)} AND t.due_time <= ?
    ORDER BY t.due_time LIMIT ?"""

_EXPIRABLE = """
    SELECT pk, tenant, id, create_time, state, deliver_time FROM notifications WHERE pk > ? ORDER BY pk LIMIT ?"""

_PRUNABLE = f"""
    SELECT i.tenant, i.recipient,
        EXISTS (SELECT 1 FROM (
            SELECT n.change_time, n.state FROM notifications AS n
            WHERE n.tenant = i.tenant AND n.recipient = i.recipient AND n.revision > 0 ORDER BY n.revision LIMIT 1
        ) AS oldest WHERE oldest.change_time < :cutoff AND oldest.state <> {_STORED})
        OR EXISTS (SELECT 1 FROM notifications AS n
            WHERE n.tenant = i.tenant AND n.recipient = i.recipient AND n.revision = 0
            AND n.state > {int(NotificationState.BATCHED)} AND n.change_time < :cutoff)
    FROM inboxes AS i WHERE (i.tenant, i.recipient) > (:tenant, :recipient)
    ORDER BY i.tenant, i.recipient LIMIT :limit"""

_LATEST_MIGRATION = "SELECT max(name) FROM schema_migrations"


class Readers:
    """Implements the ports that read inboxes, notifications, timers and what retention looks for."""

    def __init__(self, pool: ReadPool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    # --- InboxReader --------------------------------------------------------------------------------------------------

    async def heads(self, tenant: str, recipients: Sequence[str]) -> dict[str, Inbox]:
        """See `ports.InboxReader`."""

        def read(connection: Connection) -> dict[str, Inbox]:
            with connection.snapshot():
                rows = connection.select_in(SELECT_INBOXES, (tenant,), recipients)
            return {row[0]: inbox_of(tenant, row) for row in rows}

        return await self._pool.run(read)

    async def heads_of(self, inboxes: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Inbox]:
        """See `ports.InboxReader`."""

        def read(connection: Connection) -> dict[tuple[str, str], Inbox]:
            with connection.snapshot():
                rows = connection.select_pairs(_HEADS_OF, inboxes)
            return {(tenant, row[0]): inbox_of(tenant, row) for tenant, *row in rows}

        return await self._pool.run(read)

    async def changes(self, tenant: str, wanted: Sequence[Wanted], max_bytes: int) -> ChangesPage:
        """See `ports.InboxReader`."""

        def read(connection: Connection) -> ChangesPage:
            entries: list[StoredEntry] = []
            complete, left = 0, max_bytes
            parameters = {"tenant": tenant, "now": self._clock.now()}
            with connection.snapshot():
                for recipient, after, unread_up_to in wanted:
                    found = _gathered(
                        connection,
                        _CHANGES,
                        parameters
                        | {
                            "recipient": recipient,
                            "after": after,
                            "unread_up_to": unread_up_to,
                            "max_bytes": left,
                        },
                    )
                    found.sort(key=lambda entry: entry.revision)
                    entries += found
                    left -= sum(len(entry.content or b"") + len(entry.envelope) for entry in found)
                    if left <= 0 or len(found) == _ENTRIES_PER_READ:
                        break
                    complete += 1
                    if len(entries) >= _ENTRIES_PER_READ:
                        break
                # Often few of the many that are asked for fit into a page.
                reached = [each.recipient for each in wanted[: complete + 1]]
                rows = connection.select_in(SELECT_INBOXES, (tenant,), reached)
            return ChangesPage(entries, complete, {row[0]: inbox_of(tenant, row) for row in rows})

        return await self._pool.run(read)

    async def entries(
        self, tenant: str, recipient: str, filter: EntryFilter, before: int | None, limit: int
    ) -> EntryPage:
        """See `ports.InboxReader`."""
        categories = (
            f"AND category IN ({_places(filter.categories, 'category')})" if filter.categories else ""
        )
        thread = "AND thread = :thread AND thread <> ''" if filter.thread else ""
        # One bounded index range a status, merged: the cost is the page's, however large the inbox.
        ranges = " UNION ALL ".join(
            f"""SELECT * FROM (SELECT pk, content_revision FROM notifications
                WHERE tenant = :tenant AND recipient = :recipient AND status = {status}
                AND content_revision < :before {categories} {thread}
                ORDER BY content_revision DESC LIMIT :limit) AS of_status"""
            for status in map(int, filter.statuses)
        )
        page = f"SELECT pk FROM ({ranges}) AS merged ORDER BY content_revision DESC LIMIT :limit"
        parameters = {
            "tenant": tenant,
            "recipient": recipient,
            "before": NO_LIMIT if before is None else before,
            "limit": limit + 1,
            "thread": filter.thread,
            "now": self._clock.now(),
            **{f"category{index}": category for index, category in enumerate(filter.categories)},
        }

        def read(connection: Connection) -> EntryPage:
            with connection.snapshot():
                found = _gathered(connection, _entries_in(page), parameters)
                rows = connection.select_in(SELECT_INBOXES, (tenant,), (recipient,))
            found.sort(key=lambda entry: entry.content_revision, reverse=True)
            return EntryPage(found[:limit], inbox_of(tenant, rows[0]) if rows else None, len(found) > limit)

        return await self._pool.run(read)

    async def positions(
        self, tenant: str, consumer: str, recipients: Sequence[str]
    ) -> list[ConsumerPosition]:
        """See `ports.InboxReader`."""

        def read(connection: Connection) -> list[ConsumerPosition]:
            rows = connection.rows_in(_POSITIONS, (tenant, consumer), recipients)
            return [ConsumerPosition(*row) for row in rows]

        return await self._pool.run(read)

    # --- NotificationReader -------------------------------------------------------------------------------------------

    async def notification(self, tenant: str, id: bytes) -> StoredEntry | None:
        """See `ports.NotificationReader`."""
        page = "SELECT pk FROM notifications WHERE tenant = :tenant AND id = :id"
        parameters = {"tenant": tenant, "id": id, "now": self._clock.now()}
        found = await self._pool.run(lambda connection: _gathered(connection, _entries_in(page), parameters))
        return found[0] if found else None

    async def timeline(self, tenant: str, id: bytes, limit: int) -> list[Event]:
        """See `ports.NotificationReader`."""
        found = await self._pool.run(lambda connection: read_events(connection, tenant, (id,), limit))
        return [event.event for event in found]

    async def notifications(
        self, tenant: str, filter: NotificationFilter, before: bytes | None, limit: int
    ) -> list[StoredEntry]:
        """See `ports.NotificationReader`."""
        conditions = ["tenant = :tenant", "id < :before", "id >= :start"]
        source = "notifications"
        if filter.recipient:
            conditions.append("recipient = :recipient")
            # All of one recipient's, sorted, rather than all of the tenant's in order.
            source = "notifications INDEXED BY notifications_by_revision"
        if filter.category:
            conditions.append("category = :category")
        if filter.states:
            conditions.append(f"state IN ({', '.join(str(int(state)) for state in filter.states)})")
        end = lowest_id_at(filter.end_time) if filter.end_time is not None else b"\xff" * 17
        parameters = {
            "tenant": tenant,
            "before": end if before is None else min(before, end),
            "start": lowest_id_at(filter.start_time) if filter.start_time is not None else b"",
            "recipient": filter.recipient,
            "category": filter.category,
            "limit": limit,
            "now": self._clock.now(),
        }
        page = f"SELECT pk FROM {source} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
        found = await self._pool.run(lambda connection: _gathered(connection, _entries_in(page), parameters))
        return sorted(found, key=lambda entry: entry.id, reverse=True)

    # --- TimerReader and RetentionReader ------------------------------------------------------------------------------

    async def due_timers(self, until: Micros, limit: int) -> list[Timer]:
        """See `ports.TimerReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(_DUE_TIMERS, (until, limit)).fetchall()
        )
        return [Timer(pk, tenant, TimerKind(kind), due, *rest) for pk, tenant, kind, due, *rest in rows]

    async def expirable(
        self, created_before: Micros, after: int, limit: int
    ) -> tuple[list[tuple[str, bytes]], int]:
        """See `ports.RetentionReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(_EXPIRABLE, (after, limit)).fetchall()
        )
        found: list[tuple[str, bytes]] = []
        for pk, tenant, id, create_time, state, deliver_time in rows:
            if create_time >= created_before:
                return found, 0
            # What had been scheduled entered later than it was made, and has a timer of its own.
            if state == NotificationState.STORED and deliver_time is None:
                found.append((tenant, id))
            after = pk
        return found, after if len(rows) == limit else 0

    async def prunable(
        self, changed_before: Micros, after: tuple[str, str], limit: int
    ) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
        """See `ports.RetentionReader`."""
        tenant, recipient = after
        parameters = {"cutoff": changed_before, "tenant": tenant, "recipient": recipient, "limit": limit}
        rows = await self._pool.run(lambda connection: connection.execute(_PRUNABLE, parameters).fetchall())
        found = [(tenant, recipient) for tenant, recipient, prunable in rows if prunable]
        return found, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    # --- facts --------------------------------------------------------------------------------------------------------

    async def facts(self) -> StoreFacts:
        """What is fixed while the store is open."""

        def read(connection: Connection) -> StoreFacts:
            (applied,) = connection.execute(_LATEST_MIGRATION).fetchone()
            return StoreFacts(
                read_fact(connection, "cursor_key") or b"",
                read_fact(connection, "epoch") or b"",
                int(applied.partition("_")[0]),
            )

        return await self._pool.run(read)


def _gathered(connection: Connection, select: Select, parameters: dict[str, Any]) -> list[StoredEntry]:
    return [StoredEntry._make(row) for row in connection.select(select, parameters)]


def _places(values: Sequence[Any], name: str) -> str:
    return ", ".join(f":{name}{index}" for index in range(len(values)))
