"""What the commands of one transaction share: the inboxes they lock and the rows they leave behind.

Handlers read and change inboxes here, and hand over events, timers and changes. `flush` writes them, one statement a
table.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.commands import TimerKind
from tocsin_server.domain.errors import QuotaExceeded
from tocsin_server.domain.inbox import Counts, Inbox, InboxChange, InboxErased
from tocsin_server.domain.notification import Event
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Committed
from tocsin_server.store.events import INSERT_EVENTS, event_row
from tocsin_server.store.statements import insert_rows, select_in

_SELECT_INBOXES = """
    SELECT json_array(recipient, hex(incarnation), revision, floor, unread, unseen, total) AS value
    FROM inboxes WHERE tenant = ? AND recipient IN"""

_UPSERT_INBOXES = (
    "INSERT INTO inboxes (tenant, recipient, incarnation, revision, floor, unread, unseen, total)"
)

_ON_INBOX_CONFLICT = """
    ON CONFLICT (tenant, recipient) DO UPDATE SET
        incarnation = excluded.incarnation, revision = excluded.revision, floor = excluded.floor,
        unread = excluded.unread, unseen = excluded.unseen, total = excluded.total"""

_INSERT_RECIPIENTS = "INSERT INTO recipients (tenant, recipient, profile, create_time, update_time)"

_INSERT_TIMERS = "INSERT INTO timers (tenant, kind, due_time, recipient, notification_id)"

_SELECT_USAGE = "SELECT quotas, recipient_count, pending_count FROM tenants WHERE name = ?"

_UPDATE_USAGE = """
    UPDATE tenants SET recipient_count = recipient_count + ?, pending_count = pending_count + ? WHERE name = ?"""

EMPTY_PROFILE = msgpack.encode({})

InboxKey = tuple[str, str]
"""Tenant and recipient."""


@dataclass(slots=True)
class Usage:
    """What a tenant uses, as far as this transaction knows it."""

    quotas: Quotas
    recipients: int
    pending: int
    new_recipients: int = 0
    new_pending: int = 0


@dataclass(slots=True)
class Transaction:
    """One transaction under way. Made by the writer, used by handlers, in the writer's thread only."""

    connection: Connection
    now: Micros
    default_quotas: Quotas
    retention: Micros
    """How long entries are kept before they expire by themselves."""
    next_content_id: int
    """Contents get their ids here: the writer is the only one who gives them out."""
    changes: list[InboxChange | InboxErased] = field(default_factory=list)
    credentials_changed: bool = False
    _inboxes: dict[InboxKey, Inbox | None] = field(default_factory=dict)
    _changed: dict[InboxKey, Inbox] = field(default_factory=dict)
    _recipients: list[tuple[Any, ...]] = field(default_factory=list)
    _events: list[tuple[Any, ...]] = field(default_factory=list)
    _timers: list[tuple[Any, ...]] = field(default_factory=list)
    _usage: dict[str, Usage] = field(default_factory=dict)
    _earliest_timer: Micros | None = None

    def lock_inboxes(self, keys: Iterable[InboxKey]) -> None:
        """Loads the counter rows of those that are not loaded yet, in sorted order."""
        missing: dict[str, list[str]] = {}
        for tenant, recipient in sorted({key for key in keys if key not in self._inboxes}):
            missing.setdefault(tenant, []).append(recipient)
        for tenant, recipients in missing.items():
            self._inboxes.update(dict.fromkeys(((tenant, recipient) for recipient in recipients), None))
            for row in select_in(self.connection, _SELECT_INBOXES, (tenant,), recipients):
                recipient, incarnation, revision, floor, *counts = row
                self._inboxes[tenant, recipient] = Inbox(
                    tenant, recipient, bytes.fromhex(incarnation), revision, floor, Counts(*counts)
                )

    def inbox(self, tenant: str, recipient: str) -> Inbox | None:
        """A locked inbox as the transaction has left it so far; None: the recipient does not exist."""
        key = (tenant, recipient)
        if key not in self._inboxes:
            self.lock_inboxes((key,))
        return self._inboxes[key]

    def new_inbox(self, tenant: str, recipient: str) -> Inbox:
        """The inbox of a recipient that does not exist; `keep` creates it. Raises QuotaExceeded."""
        usage = self.usage(tenant)
        limit = usage.quotas.max_recipients
        if limit and usage.recipients + usage.new_recipients >= limit:
            raise QuotaExceeded(quota="max_recipients", limit=limit)
        return Inbox(tenant, recipient, secrets.token_bytes(8))

    def keep(self, inbox: Inbox) -> None:
        """Makes the value the inbox's row; creates the recipient with it."""
        key = (inbox.tenant, inbox.recipient)
        if self._inboxes.get(key) is None:
            self._recipients.append((*key, EMPTY_PROFILE, self.now, self.now))
            self.usage(inbox.tenant).new_recipients += 1
        self._inboxes[key] = self._changed[key] = inbox

    def forget(self, inbox: Inbox) -> None:
        """The inbox's row is gone."""
        key = (inbox.tenant, inbox.recipient)
        self._changed.pop(key, None)
        self._inboxes[key] = None
        self.usage(inbox.tenant).new_recipients -= 1
        self.changes.append(InboxErased(*key, inbox.incarnation))

    def moved(self, inbox: Inbox) -> None:
        """Keeps the inbox and tells its sessions to read what changed."""
        self.keep(inbox)
        self.changes.append(
            InboxChange(inbox.tenant, inbox.recipient, inbox.incarnation, inbox.revision, inbox.counts)
        )

    def take_pending(self, tenant: str, count: int) -> None:
        """Counts notifications that wait for a time, or, negative, no longer do. Raises QuotaExceeded."""
        usage = self.usage(tenant)
        limit = usage.quotas.max_pending
        if count > 0 and limit and usage.pending + usage.new_pending + count > limit:
            raise QuotaExceeded(quota="max_pending", limit=limit)
        usage.new_pending += count

    def usage(self, tenant: str) -> Usage:
        """What the tenant uses, with this transaction's part."""
        usage = self._usage.get(tenant)
        if usage is None:
            row = self.connection.execute(_SELECT_USAGE, (tenant,)).fetchone()
            quotas, recipients, pending = row or (EMPTY_PROFILE, 0, 0)
            quotas = msgpack.decode(quotas, type=Quotas).or_defaults(self.default_quotas)
            usage = self._usage[tenant] = Usage(quotas, recipients, pending)
        return usage

    def add_event(self, tenant: str, notification_id: bytes, event: Event) -> None:
        """One more step of a notification's life."""
        self._events.append(event_row(tenant, notification_id, event))

    def add_timer(
        self, tenant: str, kind: TimerKind, due_time: Micros, recipient: str, notification_id: bytes
    ) -> None:
        """Something is to happen at a time."""
        self._timers.append((tenant, int(kind), due_time, recipient, notification_id))
        if self._earliest_timer is None or due_time < self._earliest_timer:
            self._earliest_timer = due_time

    def add_contents(self, bodies: Iterable[bytes]) -> range:
        """Stores contents; their ids."""
        first = self.next_content_id
        rows = list(enumerate(bodies, first))
        insert_rows(self.connection, "INSERT INTO contents (id, body)", rows)
        self.next_content_id += len(rows)
        return range(first, self.next_content_id)

    def flush(self) -> None:
        """Writes what was handed over since the last time."""
        insert_rows(self.connection, _INSERT_RECIPIENTS, self._recipients, "ON CONFLICT DO NOTHING")
        rows = [
            (
                inbox.tenant,
                inbox.recipient,
                inbox.incarnation,
                inbox.revision,
                inbox.floor,
                inbox.counts.unread,
                inbox.counts.unseen,
                inbox.counts.total,
            )
            for inbox in self._changed.values()
        ]
        insert_rows(self.connection, _UPSERT_INBOXES, rows, _ON_INBOX_CONFLICT)
        insert_rows(self.connection, INSERT_EVENTS, self._events)
        insert_rows(self.connection, _INSERT_TIMERS, self._timers)
        for tenant, usage in self._usage.items():
            if usage.new_recipients or usage.new_pending:
                self.connection.execute(_UPDATE_USAGE, (usage.new_recipients, usage.new_pending, tenant))
                usage.recipients += usage.new_recipients
                usage.pending += usage.new_pending
                usage.new_recipients = usage.new_pending = 0
        for written in (self._recipients, self._changed, self._events, self._timers):
            written.clear()

    def committed(self) -> Committed:
        """What others want to know once this is committed."""
        return Committed(tuple(self.changes), self._earliest_timer, self.credentials_changed)
