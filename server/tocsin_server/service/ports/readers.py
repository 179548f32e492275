"""What reads storage. Each method raises StorageUnavailable when storage does not answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tocsin_server.domain.access import ApiKey
from tocsin_server.domain.broadcast import Broadcast
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import Timer
from tocsin_server.domain.delivery import Delivery
from tocsin_server.domain.entry import (
    ChangesPage,
    ConsumerPosition,
    EntryFilter,
    EntryPage,
    NotificationFilter,
    StoredEntry,
    TimelineEvent,
    Wanted,
)
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.notification import Event
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.domain.recipient import Recipient, RecipientFacts
from tocsin_server.domain.recipient_class import RecipientClass
from tocsin_server.domain.sending import Draft, Kept, Plan
from tocsin_server.domain.template import StoredVersion, Template
from tocsin_server.domain.tenant import Tenant
from tocsin_server.domain.time import Micros
from tocsin_server.domain.topic import Member, Topic


class InboxReader(Protocol):
    """Reads inboxes."""

    async def heads(self, tenant: str, recipients: Sequence[str]) -> dict[str, Inbox]:
        """The counter rows of those that exist, in one snapshot."""

    async def heads_of(self, inboxes: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Inbox]:
        """The same for inboxes of any tenants, by tenant and recipient, with one read for all."""

    async def changes(self, tenant: str, wanted: Sequence[Wanted], max_bytes: int) -> ChangesPage:
        """Changes in revision order, recipient by recipient in the order asked, in one snapshot, in their latest state.

        Stops at about `max_bytes`, but never before the first change: the recipients after the complete ones are to be
        asked for again.
        """

    async def entries(
        self, tenant: str, recipient: str, filter: EntryFilter, before: int | None, limit: int
    ) -> EntryPage:
        """Entries by falling content revision, from below `before`; with the counter row of the same snapshot."""

    async def positions(
        self, tenant: str, consumer: str, recipients: Sequence[str]
    ) -> list[ConsumerPosition]:
        """Recorded positions of a consumer, one a recipient and filter."""


class NotificationReader(Protocol):
    """Reads notifications by id and in lists."""

    async def notification(self, tenant: str, id: bytes) -> StoredEntry | None:
        """One notification, whatever its state."""

    async def timeline(self, tenant: str, id: bytes, limit: int) -> list[Event]:
        """The latest `limit` events of a notification, oldest first."""

    async def notifications(
        self, tenant: str, filter: NotificationFilter, before: bytes | None, limit: int
    ) -> list[StoredEntry]:
        """By falling id, from below `before`."""


class PlanReader(Protocol):
    """Settles drafts without writing."""

    async def plan(self, draft: Draft, *, any_profile: bool) -> Plan | None:
        """What a draft would come to now, read in one snapshot; None: the recipient's profile is not the one that it
        was made from, and `any_profile` is not said."""


class KeptReader(Protocol):
    """Reads what was kept for a time."""

    async def kept(self, tenant: str, ids: Sequence[bytes], until: Micros) -> list[Kept]:
        """Those of the ids that exist, with the channels of what was deferred until then at the latest."""


class RecipientReader(Protocol):
    """Reads profiles and all that is kept about a recipient."""

    async def recipient(self, tenant: str, key: str) -> Recipient | None:
        """One recipient."""

    async def recipients(self, tenant: str, prefix: str, after: str, limit: int) -> list[Recipient]:
        """By key, from above `after`, those whose key begins with `prefix`."""

    async def profiles(self, tenant: str, keys: Sequence[str]) -> dict[str, RecipientFacts]:
        """What is decided by for those that exist, in one snapshot."""

    async def timelines(self, tenant: str, ids: Sequence[bytes]) -> list[TimelineEvent]:
        """The events of several notifications, oldest first."""

    async def consumer_positions(self, tenant: str, recipient: str) -> list[ConsumerPosition]:
        """All recorded positions of a recipient."""


class TenantReader(Protocol):
    """Reads tenants."""

    async def tenants(self, after: str, limit: int) -> list[Tenant]:
        """By name, from above `after`."""

    async def tenant(self, name: str) -> Tenant | None:
        """One tenant."""


class ApiKeyReader(Protocol):
    """Reads API keys."""

    async def api_keys(self, tenant: str, before: str | None, limit: int) -> list[ApiKey]:
        """By falling id, from below `before`. Ids are time-ordered."""

    async def all_active_keys(self) -> dict[bytes, ApiKey]:
        """Every key by the SHA-256 of its secret; revoked ones of the last day too, so that they are told apart, and
        the newest of all, so that it is known that there was one."""


class CategoryReader(Protocol):
    """Reads categories."""

    async def categories(self, tenant: str, after: str, limit: int) -> list[Category]:
        """By name, from above `after`."""

    async def category(self, tenant: str, name: str) -> Category | None:
        """One category; None: it is not defined."""


class PolicyReader(Protocol):
    """Reads the policies of tenants."""

    async def policies(self, tenants: Sequence[str]) -> dict[str, TenantPolicy]:
        """The policy of each, with its version, in one snapshot."""

    async def policy_versions(self, tenants: Sequence[str]) -> dict[str, int]:
        """The version of each: what differs from what was read has changed since."""


class TemplateReader(Protocol):
    """Reads templates."""

    async def templates(self, tenant: str, after: str, limit: int) -> list[Template]:
        """By name, from above `after`."""

    async def template(self, tenant: str, name: str) -> Template | None:
        """One template."""

    async def named_templates(self, names: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], Template]:
        """Those that exist of the names of each tenant, by (tenant, name); a statement a tenant."""

    async def template_version(self, tenant: str, name: str, number: int) -> StoredVersion | None:
        """One version, which never changes."""

    async def template_versions(self, tenant: str, name: str) -> list[tuple[int, Micros]]:
        """The number and the create time of every version, newest first."""


class TopicReader(Protocol):
    """Reads topics and their members."""

    async def topic(self, tenant: str, name: str) -> Topic | None:
        """One topic."""

    async def topics(self, tenant: str, after: str, limit: int) -> list[Topic]:
        """By name, from above `after`."""

    async def members(self, tenant: str, topic: str, after: str, limit: int) -> list[Member] | None:
        """By recipient, from above `after`; None: there is no such topic."""

    async def erasable_topics(self, limit: int) -> list[int]:
        """Ids of topics of any tenant that are deleted, or have memberships that ended, which no broadcast needs."""


class DueBroadcast(NamedTuple):
    """A broadcast that something is to be done for."""

    broadcast: Broadcast
    content: bytes | None
    """Encoded; None: its spec names a template."""
    trace: bytes
    """The encoded trace parent."""


class BroadcastReader(Protocol):
    """Reads broadcasts and what carrying them out needs."""

    async def broadcast(self, tenant: str, id: bytes) -> Broadcast | None:
        """One broadcast."""

    async def broadcasts(self, tenant: str, before: bytes | None, limit: int) -> list[Broadcast]:
        """By falling id, from below `before`."""

    async def due_broadcasts(self, limit: int) -> list[DueBroadcast]:
        """Broadcasts of tenants that are not suspended which are to begin or go on, or whose entries are to expire."""

    async def next_wake_time(self) -> Micros | None:
        """When the next one will be due; None: none is waiting."""

    async def audience_size(self, tenant: str, id: bytes) -> int:
        """How many recipients a broadcast is for."""

    async def classes(self, tenant: str, ids: Sequence[int]) -> dict[int, RecipientClass]:
        """Decision classes by their ids."""

    async def stored_entries(self, tenant: str, id: bytes, after: bytes, limit: int) -> list[bytes]:
        """The ids of a finished broadcast's entries that are still shown, from above `after`."""


class RetentionReader(Protocol):
    """Finds what has been kept long enough. Finds too little rather than too much: the writer looks again."""

    async def expirable(
        self, created_before: Micros, after: int, limit: int
    ) -> tuple[list[tuple[str, bytes]], int]:
        """Up to `limit` stored entries (tenant, id) accepted before the instant, and where to go on; 0: at the end."""

    async def prunable(
        self, changed_before: Micros, after: tuple[str, str], limit: int
    ) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
        """Those of the next `limit` inboxes that have rows last changed before the instant, and where to go on."""


class TimerReader(Protocol):
    """Reads timers."""

    async def due_timers(self, until: Micros, limit: int) -> list[Timer]:
        """Those due at or before `until`, earliest first. Takes no lock."""


class DeliveryBacklog(NamedTuple):
    """Deliveries that can be claimed, or soon can be."""

    earliest: Micros | None
    """The earliest time from which one of them can be claimed; None: there is none."""
    due_count: int
    """How many can be claimed now; what was counted up to may be less than all."""


class DeliveryReader(Protocol):
    """Reads deliveries."""

    async def deliveries(self, tenant: str, notification_id: bytes, limit: int) -> list[Delivery]:
        """Up to `limit` deliveries of a notification, in the order in which they were planned."""

    async def delivery_backlog(self, now: Micros, until: Micros, most: int) -> DeliveryBacklog:
        """Of the earliest `most` that can be claimed by `until`, without those of suspended tenants. Takes no lock."""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What is fixed while a store is open, but for the epoch."""

    cursor_key: bytes
    epoch: bytes
    schema_version: int
