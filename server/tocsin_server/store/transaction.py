"""What the commands of one transaction share: the inboxes they lock and the rows they leave behind.

Handlers read and change inboxes here, and hand over events, timers and changes. `flush` writes them, one statement a
table.
"""

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.commands import SendReceipt, TimerKind
from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.ids import recipient_part
from tocsin_server.domain.inbox import BroadcastChunk, Counts, Inbox, InboxChange, InboxErased
from tocsin_server.domain.notification import Event
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Committed
from tocsin_server.store.events import INSERT_EVENTS, event_row
from tocsin_server.store.sql import Blob, Connection, Insert, Select
from tocsin_server.store.usage import Usage

SELECT_INBOXES = Select(
    ("recipient", Blob("incarnation"), "revision", "floor", "unread", "unseen", "total", "profile_version"),
    "FROM inboxes WHERE tenant = ? AND recipient {in_keys}",
)

_LOCK_INBOXES = replace(SELECT_INBOXES, locking="ORDER BY recipient FOR UPDATE")

_RECIPIENTS_OF = "SELECT DISTINCT recipient FROM notifications WHERE tenant = ? AND id {in_keys}"

_INBOX = (
    "tenant",
    "recipient",
    "incarnation",
    "revision",
    "floor",
    "unread",
    "unseen",
    "total",
    "profile_version",
)

_UPSERT_INBOXES = Insert(
    "inboxes",
    _INBOX,
    """
    ON CONFLICT (tenant, recipient) DO UPDATE SET
        incarnation = excluded.incarnation, revision = excluded.revision, floor = excluded.floor,
        unread = excluded.unread, unseen = excluded.unseen, total = excluded.total,
        profile_version = excluded.profile_version""",
)

_CLAIM_INBOXES = Insert("inboxes", _INBOX, "ON CONFLICT DO NOTHING RETURNING recipient")

_GIVE_UP_INBOXES = "DELETE FROM inboxes WHERE tenant = ? AND recipient {in_keys}"

_INSERT_RECIPIENTS = Insert(
    "recipients",
    ("tenant", "recipient", "profile", "create_time", "update_time", "id_part"),
    "ON CONFLICT DO NOTHING",
)

_INSERT_CONTENTS = Insert("contents", ("id", "body"))

_INSERT_TIMERS = Insert("timers", ("tenant", "kind", "due_time", "recipient", "notification_id"))

_UPDATE_MEMBER_COUNT = "UPDATE topics SET member_count = member_count + ? WHERE id = ?"

# By the time, so that no version comes again when a tenant is erased and created anew.
_RAISE_POLICY_VERSION = """
    INSERT INTO tenant_policies (tenant, version) VALUES (?, ?)
    ON CONFLICT (tenant) DO UPDATE SET version = CASE
        WHEN tenant_policies.version < excluded.version THEN excluded.version ELSE tenant_policies.version + 1 END"""

EMPTY_PROFILE = msgpack.encode({})

InboxKey = tuple[str, str]
"""Tenant and recipient."""


class Overtaken(StorageUnavailable):
    """Others have changed meanwhile whom this concerns. To lock the inbox of somebody who has come to be would be out
    of order, so that two could wait for each other: the transaction is to be run again.
    """


@dataclass(slots=True)
class Transaction:
    """One transaction under way. Made by the writer, used by handlers, in the writer's thread only."""

    connection: Connection
    now: Micros
    usage: Usage
    retention: Micros
    """How long entries are kept before they expire by themselves."""
    new_content_ids: Callable[[int], Sequence[int]]
    heard: Callable[[], Collection[InboxKey] | None]
    """The inboxes of whose new entries somebody hears; None: all of them."""
    chunks: list[BroadcastChunk] = field(default_factory=list)
    broadcasts_changed: bool = False
    changes: list[InboxChange | InboxErased] = field(default_factory=list)
    credentials_changed: bool = False
    _policies: set[str] = field(default_factory=set)
    _inboxes: dict[InboxKey, Inbox | None] = field(default_factory=dict)
    _claimed: set[InboxKey] = field(default_factory=set)
    """Rows that this transaction has made for recipients that may come to be in it."""
    _changed: dict[InboxKey, Inbox] = field(default_factory=dict)
    _recipients: list[tuple[Any, ...]] = field(default_factory=list)
    _events: list[tuple[Any, ...]] = field(default_factory=list)
    _timers: list[tuple[Any, ...]] = field(default_factory=list)
    _members: dict[int, int] = field(default_factory=dict)
    _earliest_timer: Micros | None = None
    _earliest_delivery: Micros | None = None

    def lock_inboxes(self, keys: Iterable[InboxKey], creatable: Collection[InboxKey] = ()) -> None:
        """Loads and locks the counter rows of those that are not loaded yet, in sorted order.

        Those of `creatable` that do not exist are claimed: until the transaction ends nobody else creates them. Raises
        Overtaken.
        """
        missing: dict[str, list[str]] = {}
        for tenant, recipient in sorted({key for key in keys if key not in self._inboxes}):
            missing.setdefault(tenant, []).append(recipient)
        for tenant, recipients in missing.items():
            self._inboxes.update(dict.fromkeys(((tenant, recipient) for recipient in recipients), None))
            self._load(tenant, recipients)
            if self.connection.row_locks and creatable:
                self._claim(tenant, [each for each in recipients if (tenant, each) in creatable])

    def owners(self, tenant: str, ids: Sequence[bytes]) -> list[InboxKey]:
        """Whose the notifications are, which never changes."""
        return [
            (tenant, recipient) for (recipient,) in self.connection.rows_in(_RECIPIENTS_OF, (tenant,), ids)
        ]

    def holds(self, tenant: str, recipient: str) -> bool:
        """Whether nobody else can change what is in the inbox before this transaction ends."""
        return not self.connection.row_locks or self._inboxes.get((tenant, recipient)) is not None

    def inbox(self, tenant: str, recipient: str) -> Inbox | None:
        """A locked inbox as the transaction has left it so far; None: the recipient does not exist."""
        key = (tenant, recipient)
        if key not in self._inboxes:
            self.lock_inboxes((key,))
        return self._inboxes[key]

    def new_inbox(self, tenant: str, recipient: str) -> Inbox:
        """The inbox of a recipient that does not exist; `keep` creates it. Raises QuotaExceeded."""
        return self.new_inboxes(tenant, (recipient,))[0]

    def new_inboxes(self, tenant: str, recipients: Sequence[str]) -> list[Inbox]:
        """The same for several, of whom all may be created or, by QuotaExceeded, none."""
        self.usage.check_recipients(tenant, len(recipients))
        return [Inbox(tenant, recipient, secrets.token_bytes(8)) for recipient in recipients]

    def keep(self, inbox: Inbox) -> None:
        """Makes the value the inbox's row; creates the recipient with it."""
        key = (inbox.tenant, inbox.recipient)
        if self._inboxes.get(key) is None:
            self._recipients.append((*key, EMPTY_PROFILE, self.now, self.now, recipient_part(*key)))
            self.usage.count_recipients(inbox.tenant, 1)
        self._inboxes[key] = self._changed[key] = inbox

    def forget(self, inbox: Inbox) -> None:
        """The inbox's row is gone."""
        key = (inbox.tenant, inbox.recipient)
        self._changed.pop(key, None)
        self._inboxes[key] = None
        self.usage.count_recipients(inbox.tenant, -1)
        self.changes.append(InboxErased(*key, inbox.incarnation))

    def moved(self, inbox: Inbox) -> None:
        """Keeps the inbox and tells its sessions to read what changed."""
        self.keep(inbox)
        self.changes.append(
            InboxChange(inbox.tenant, inbox.recipient, inbox.incarnation, inbox.revision, inbox.counts)
        )

    def tell_again(self, tenant: str, recipient: str, receipt: SendReceipt) -> None:
        """Tells the inbox's sessions of an entry that an earlier transaction has written: whoever committed it may have
        been cut off before anybody heard of it, and now it is answered for."""
        if receipt.incarnation is not None:
            self.changes.append(
                InboxChange(tenant, recipient, receipt.incarnation, receipt.revision, Counts())
            )

    def policy_changed(self, tenant: str) -> None:
        """What is decided by for a tenant changes with this transaction: its version rises, and caches hear of it."""
        self._policies.add(tenant)

    def count_members(self, topic_id: int, count: int) -> None:
        """So many recipients have become members of a topic, or, negative, ceased to be."""
        self._members[topic_id] = self._members.get(topic_id, 0) + count

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

    def wake_deliveries(self, claim_time: Micros) -> None:
        """A delivery can be claimed from then on."""
        if self._earliest_delivery is None or claim_time < self._earliest_delivery:
            self._earliest_delivery = claim_time

    def add_contents(self, bodies: Sequence[bytes]) -> Sequence[int]:
        """Stores contents; their ids."""
        ids = self.new_content_ids(len(bodies))
        self.connection.insert(_INSERT_CONTENTS, list(zip(ids, bodies, strict=True)))
        return ids

    def add_shared_content(self, body: bytes) -> int:
        """Stores a content that several notifications show; its id, which is negative: it does not go with one."""
        (id,) = self.new_content_ids(1)
        self.connection.insert(_INSERT_CONTENTS, [(-id, body)])
        return -id

    def flush(self) -> None:
        """Writes what was handed over since the last time."""
        self.connection.insert(_INSERT_RECIPIENTS, self._recipients)
        self.connection.insert(_UPSERT_INBOXES, [_inbox_row(inbox) for inbox in self._changed.values()])
        self.connection.insert(INSERT_EVENTS, self._events)
        self.connection.insert(_INSERT_TIMERS, self._timers)
        for written in (self._recipients, self._changed, self._events, self._timers):
            written.clear()

    def finish(self) -> None:
        """Writes what comes last: rows of tenants and topics, for which all their writers wait, and in sorted order.

        Those of tenants first, as who needs to know exactly what a tenant uses has locked its row before.
        """
        for tenant in sorted(self._policies):
            self.connection.execute(_RAISE_POLICY_VERSION, (tenant, self.now))
        unused: dict[str, list[str]] = {}
        for tenant, recipient in self._claimed:
            if self._inboxes[tenant, recipient] is None:
                unused.setdefault(tenant, []).append(recipient)
        for tenant, recipients in unused.items():
            self.connection.rows_in(_GIVE_UP_INBOXES, (tenant,), recipients)
        self.usage.write()
        for topic_id, count in sorted(self._members.items()):
            self.connection.execute(_UPDATE_MEMBER_COUNT, (count, topic_id))

    def committed(self) -> Committed:
        """What others want to know once this is committed."""
        return Committed(
            tuple(self.changes),
            self._earliest_timer,
            self.credentials_changed,
            self._earliest_delivery,
            frozenset(self._policies),
            tuple(self.chunks),
            self.broadcasts_changed,
        )

    def _load(self, tenant: str, recipients: Sequence[str]) -> None:
        for row in self.connection.select_in(_LOCK_INBOXES, (tenant,), recipients):
            self._inboxes[tenant, row[0]] = inbox_of(tenant, row)

    def _claim(self, tenant: str, recipients: Sequence[str]) -> None:
        """Makes rows for those that do not exist. Raises Overtaken."""
        absent = [recipient for recipient in recipients if self._inboxes[tenant, recipient] is None]
        rows = [_inbox_row(Inbox(tenant, recipient, secrets.token_bytes(8))) for recipient in absent]
        claimed = self.connection.insert(_CLAIM_INBOXES, rows)
        if len(claimed) < len(absent):
            raise Overtaken
        self._claimed.update((tenant, recipient) for recipient in absent)


def inbox_of(tenant: str, row: Sequence[Any]) -> Inbox:
    """A row of SELECT_INBOXES as a value."""
    recipient, incarnation, revision, floor, *counts, profile_version = row
    return Inbox(tenant, recipient, incarnation, revision, floor, Counts(*counts), profile_version)


def _inbox_row(inbox: Inbox) -> tuple[Any, ...]:
    return (
        inbox.tenant,
        inbox.recipient,
        inbox.incarnation,
        inbox.revision,
        inbox.floor,
        inbox.counts.unread,
        inbox.counts.unseen,
        inbox.counts.total,
        inbox.profile_version,
    )
