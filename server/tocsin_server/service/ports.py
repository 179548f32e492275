"""What the use cases need of the outside, as Protocols. A docstring here is the contract; every implementation passes
one conformance suite.

All times are `Micros`. Every method that reads storage raises StorageUnavailable when storage does not answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from tocsin_server.domain.access import ApiKey
from tocsin_server.domain.broadcast import Broadcast
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import Answer, Command, Timer
from tocsin_server.domain.content import Content
from tocsin_server.domain.delivery import Attempted, Delivery, OutgoingMessage
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
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.inbox import BroadcastChunk, Counts, Inbox, InboxChange, InboxErased
from tocsin_server.domain.notification import Event, NotificationSpec
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.domain.recipient import Recipient, RecipientFacts
from tocsin_server.domain.recipient_class import RecipientClass
from tocsin_server.domain.sending import Draft, Kept, Plan
from tocsin_server.domain.template import (
    Data,
    Rendered,
    RenderFacts,
    StoredVersion,
    Template,
    TemplateDefinition,
)
from tocsin_server.domain.tenant import Tenant
from tocsin_server.domain.time import Micros
from tocsin_server.domain.topic import Member, Topic
from tocsin_server.domain.value import Value

Receipt = TypeVar("Receipt")


class Clock(Protocol):
    """The time."""

    def now(self) -> Micros:
        """Never less than it was before within this process."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction did that others want to know of."""

    changes: tuple[InboxChange | InboxErased, ...] = ()
    """In commit order."""
    earliest_timer: Micros | None = None
    """The earliest due time among the timers that were added."""
    credentials_changed: bool = False
    """API keys or tenants changed."""
    earliest_delivery: Micros | None = None
    """The earliest time from which one of the deliveries that changed can be claimed."""
    policies_changed: frozenset[str] = frozenset()
    """Tenants whose policy changed: categories, default preferences, what else has its version."""
    chunks: tuple[BroadcastChunk, ...] = ()
    """What a broadcast entered into inboxes that somebody hears of."""
    broadcasts_changed: bool = False
    """There is a new broadcast, or one was stopped."""


class CommitListener(Protocol):
    """Acts on commits."""

    def __call__(self, committed: Committed) -> None:
        """Called on the event loop, in the order of commits, before the callers of the commands are answered."""


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """What waits before the writer."""

    commands: int
    bytes: int
    oldest_age: Micros


class Writer(Protocol):
    """Writes commands, many in one transaction."""

    async def submit(
        self, commands: Sequence[Command[Receipt]], *, deadline: float | None = None
    ) -> list[Answer[Receipt] | TocsinError]:
        """What became of each command, in their order.

        Atomicity: a command is committed whole or not at all, each on its own; commands of one call that concern one
        recipient are applied in their order. Durability: an Answer means that it is on disk. Idempotency: a command
        whose request was committed before gets that receipt again; two of one request in flight at once are applied
        once. Expected failures are returned, not raised: QueueFull, DeadlinePassed (`deadline` in `time.monotonic()`
        seconds; nothing was written), StorageUnavailable, RequestIdReused and whatever the command's docstring names.
        Cancelling the call does not take back what is queued.
        """

    def depth(self) -> QueueDepth:
        """What waits now."""


class InboxReader(Protocol):
    """Reads inboxes."""

    async def heads(self, tenant: str, recipients: Sequence[str]) -> dict[str, Inbox]:
        """The counter rows of those that exist, in one snapshot."""

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


class CompiledTemplate(Protocol):
    """A version that is ready to be rendered. Reads no clock, does no input or output.

    What one rendering may do is bounded, in steps and in characters, so that it takes at most about 50 ms and a few
    megabytes, whatever the version and the data are.
    """

    def personal(self, locale: str) -> bool:
        """Whether what a locale's recipients are shown depends on who they are: the variable `recipient` is used."""

    def zoned(self, locale: str) -> bool:
        """Whether it depends on their time zone."""

    def render(self, data: Data, facts: RenderFacts, now: Micros) -> Rendered:
        """What the recipient is shown; the rules of content are not checked.

        Raises TemplateDataInvalid, whose fields are variables (`data.order.number`) where they are missing, all of
        them, and else fields of the body (`content.simple.title`); TemplateLimitExceeded.
        """


class Renderer(Protocol):
    """Makes definitions ready. The same definition gives the same on every replica."""

    def prepared(self, definition: TemplateDefinition) -> TemplateDefinition:
        """The definition as it is kept: read once, every MJML made into HTML. May take 100 ms; not for the event loop.

        Raises TemplateInvalid, whose fields begin at the definition: `bodies[0].content.simple.title`; FeatureNotBuilt
        where there is MJML and no library for it.
        """

    def compiled(self, definition: TemplateDefinition) -> CompiledTemplate:
        """One that `prepared` gave; never fails."""

    def has_locale(self, locale: str) -> bool:
        """Whether what is known of a locale has been read."""

    def read_locale(self, locale: str) -> None:
        """Reads it, from files. May take 200 ms; not for the event loop."""


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


class ApiKeyReader(Protocol):
    """Reads API keys."""

    async def api_keys(self, tenant: str, before: str | None, limit: int) -> list[ApiKey]:
        """By falling id, from below `before`. Ids are time-ordered."""

    async def all_active_keys(self) -> dict[bytes, ApiKey]:
        """Every key by the SHA-256 of its secret; revoked ones of the last day too, so that they are told apart, and
        the newest of all, so that it is known that there was one."""


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


class Provider(Protocol):
    """Takes what goes out on a channel."""

    @property
    def name(self) -> str:
        """What it is called in plans and deliveries."""

    async def send(self, message: OutgoingMessage) -> Attempted:
        """Hands one message over; what came of it.

        Called at least once for a delivery, and perhaps again after a call whose result was lost: the message's
        idempotency key is then the same. Expected failures are returned; whatever is raised counts as Failed. Is
        cancelled after a while, which counts as Failed too.
        """


class SessionInfo(Value, frozen=True, kw_only=True):
    """An open stream, as anyone may hear of it who may list sessions."""

    id: str
    tenant: str
    kind: int
    """Numbered as in the contract."""
    consumer: str
    principal: str
    peer: str
    recipient_count: int
    recipients: tuple[str, ...]
    """The first few."""
    create_time: Micros
    sent_count: int
    buffered_bytes: int
    behind_count: int
    in_flight_count: int
    max_in_flight: int
    stalled_since: Micros | None
    drop_count: int
    instance_id: str


class SessionQuery(Value, frozen=True):
    """Which sessions are asked for."""

    tenant: str | None
    """None: of all tenants."""
    recipient: str
    """Only those that follow this recipient; empty: all."""
    after: str
    """Only those with a higher id."""
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BusEars:
    """What a bus does to the replica that listens. All are called on the event loop, and must not block."""

    offer: Callable[[Iterable[InboxChange | InboxErased]], None]
    """Others committed these changes."""
    missed: Callable[[str, Sequence[str]], None]
    """Hints of these recipients (tenant, recipients) may have been lost until now, and come from now on."""
    missed_all: Callable[[], None]
    """Hints of any recipient may have been lost until now."""
    find: Callable[[SessionQuery], Sequence[SessionInfo]]
    """The sessions that this replica holds, by id."""
    end: Callable[[str, str], object]
    """Ends a session (id, tenant), if this replica holds it."""


class Interest(Protocol):
    """Wants to know which inboxes have a session here. Cheap: called for each of 100,000 recipients of one Attach."""

    def follow(self, tenant: str, recipient: str) -> None:
        """The inbox has its first session."""

    def unfollow(self, tenant: str, recipient: str) -> None:
        """The inbox has no session any more."""


@dataclass(slots=True)
class BusFigures:
    """What a bus counts about itself since it was made."""

    published: int = 0
    """Messages handed over."""
    received: int = 0
    """Messages of others that were understood."""
    dropped: int = 0
    """Hints that were not published, or not understood. Polling heals each of them."""
    reconnects: int = 0
    """Times that it has become healthy again."""
    lag_seconds: float = 0.0
    """How long the last heartbeat was under way."""


class Bus(Interest, Protocol):
    """Tells the other replicas of one database what was committed here, and this one what was committed there.

    What it tells is a hint: the truth is in storage. A hint may be lost, doubled, late or out of order, and its entry's
    bytes may be left out; a change is told to its own replica by the store, not by the bus. What may have been lost is
    told: after each `follow`, once hints of it are sure to come, `missed` is called with the recipient; whenever the
    connection was lost, with all that are followed. While the bus is not healthy nothing may come at all, and whoever
    needs changes polls. Nothing here waits for another machine or fails, but for `run`, which goes on for ever.
    """

    @property
    def healthy(self) -> bool:
        """Whether hints of all that is followed come, as far as is known: for two heartbeats more than they do."""

    @property
    def figures(self) -> BusFigures:
        """What it counts."""

    def listen(self, ears: BusEars) -> None:
        """Who listens. Called once, before `run`."""

    def __call__(self, committed: Committed) -> None:
        """Publishes changes, in their order; a CommitListener."""

    def publish_chunk(self, chunk: BroadcastChunk) -> None:
        """Publishes a chunk of a broadcast as one message, which every replica reads."""

    async def run(self) -> None:
        """Publishes and listens, until cancelled."""


class Presence(Protocol):
    """Which replica holds which sessions.

    Told and asked of the others only while the bus is healthy; otherwise nobody but the replica itself is known.
    """

    def opened(self, session_id: str, tenant: str) -> None:
        """This replica holds the session. It is forgotten within a minute should the replica vanish."""

    def closed(self, session_id: str) -> None:
        """Nobody holds it any more."""

    async def sessions(self, query: SessionQuery) -> list[SessionInfo]:
        """What the others hold, in no order; without those that have not answered within a second."""

    async def terminate(self, session_id: str, tenant: str | None) -> bool:
        """Has the replica that holds the session end it; False: none is known that does, or not of this tenant."""


class SharedBuckets(Protocol):
    """Token buckets that all replicas take from. A bucket holds a second's worth, and is full at first."""

    async def draw(self, wanted: Mapping[str, tuple[int, int, int]]) -> dict[str, tuple[int, float]] | None:
        """For each tenant (tokens a second, tokens already spent, tokens wanted) -> (tokens given, tokens left).

        What is spent is taken in any case, below zero if need be; what is given is at most what is there. Each bucket
        is changed in one step. None: they cannot be reached, and what is spent may or may not have been taken.
        """


@dataclass(frozen=True, slots=True)
class CachedInbox:
    """Counts as they were a while ago."""

    inbox: Inbox
    age: Micros
    """Since when they may have changed."""


class SummaryCache(Protocol):
    """Counts that were read within the last 5 minutes, by any replica. Empty when it cannot be reached."""

    async def get(self, tenant: str, recipients: Sequence[str]) -> dict[str, CachedInbox]:
        """Those that are known."""

    async def put(self, read: Sequence[Inbox], seen: Mapping[str, CachedInbox], age: Micros) -> None:
        """Keeps rows of one tenant that were read so long ago; `seen` is what `get` gave before they were read.

        Never goes backwards: within an incarnation the highest revision stays, and another incarnation is replaced only
        if it is the one that was seen.
        """


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What is fixed while a store is open, but for the epoch."""

    cursor_key: bytes
    epoch: bytes
    schema_version: int


class Codec(Protocol):
    """Turns values into wire bytes. What is sent many times is encoded once; messages are made by joining bytes."""

    def fingerprint(self, request: object) -> bytes:
        """A versioned hash of a request's meaning, equal for equal values."""

    def content(self, encoded: bytes) -> Content:
        """What a notification's encoded field `content` says."""

    def encode_content(self, content: Content) -> bytes:
        """A notification's encoded field `content`, with its plain text.

        Raises InvalidFields where the content breaks the rules that hold for those that senders write; fields begin
        with `content`.
        """

    def encode_definition(self, definition: TemplateDefinition) -> bytes:
        """A template's definition as it is kept."""

    def definition(self, encoded: bytes) -> TemplateDefinition:
        """What an encoded definition says."""

    def envelope(self, draft: Draft, spec: NotificationSpec) -> bytes:
        """The notification's fields that never change, but for the trace parent."""

    def shared_envelope(self, draft: Draft, spec: NotificationSpec) -> bytes:
        """The same for entries that are alike but for their ids and their recipients, which it leaves out."""

    def trace(self, trace_parent: str) -> bytes:
        """The notification's `trace_parent` field; empty for an empty one."""

    def trace_parent(self, encoded: bytes) -> str:
        """What the encoded field `trace_parent` says; empty for an empty one."""

    def fresh_notification(self, change: InboxChange, *, with_trace: bool) -> bytes:
        """A Notification that has just been stored; only for a change that has its content."""

    def stored_notification(self, entry: StoredEntry, *, with_trace: bool) -> bytes:
        """A Notification as it is stored."""

    def recipient(self, recipient: str) -> bytes:
        """An event's `recipient` field."""

    def cursor(self, token: bytes) -> bytes:
        """An event's `cursor` field; empty for an empty one."""

    def entry_event(self, recipient: bytes, notification: bytes, cursor: bytes) -> bytes:
        """An `events` field with a notification; `recipient` and `cursor` are encoded fields."""

    def summary_event(self, recipient: bytes, counts: Counts, cursor: bytes) -> bytes:
        """An `events` field with a summary; `recipient` and `cursor` are encoded fields."""

    def reset_event(self, recipient: str, reason: str, oldest_cursor: str, cursor: str) -> bytes:
        """An `events` field with a reset."""

    def opening(self, session_id: str) -> bytes:
        """The `session_id` field of a stream's first message."""

    def progress(self, positions: Sequence[tuple[str, str]], now: Micros) -> bytes:
        """The `progress` field: (recipient, cursor) of those that moved."""
