"""Everything that writes, as values: what a use case asks of the writer, and what it is answered.

A command says which tenant it belongs to, which request it answers and about how many bytes it will write. Its receipt
is what is recorded under the request id, so that the same request gets the same answer.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar, Generic, TypeVar

from tocsin_server.domain.access import ApiKey
from tocsin_server.domain.audience import Audience
from tocsin_server.domain.bodies import ChannelBody, overridden
from tocsin_server.domain.broadcast import Broadcast, BroadcastState
from tocsin_server.domain.category import Category
from tocsin_server.domain.cursor import Cursor
from tocsin_server.domain.delivery import Attempted, Delivery
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.inbox import Counts, InteractionKind, Mark
from tocsin_server.domain.notification import ChannelOverride, Decision, Disposition, NotificationSpec
from tocsin_server.domain.preferences import Preferences, PreferencesChange
from tocsin_server.domain.recipient import Profile, Recipient
from tocsin_server.domain.sending import Draft
from tocsin_server.domain.template import Template
from tocsin_server.domain.tenant import Quotas, Tenant, TenantState
from tocsin_server.domain.time import Micros
from tocsin_server.domain.topic import Topic
from tocsin_server.domain.value import Value, replace

Receipt = TypeVar("Receipt")

SMALL_COMMAND_BYTES = 256
"""What a command counts for in a queue besides its payload."""

SYSTEM_TENANT = ""
"""The queue of commands that belong to no tenant."""

ENTRIES_PER_TRANSACTION = 1_000
"""Bulk commands change at most so many entries in one transaction."""


class RequestSpace(IntEnum):
    """Request ids are unique within a tenant and a space. Stored: never renumber."""

    SEND = 1
    CANCEL = 2
    REVISE = 3
    MARK = 4
    INTERACT = 5
    UPSERT_RECIPIENT = 6
    DELETE_RECIPIENT = 7
    CREATE_TENANT = 8
    SUSPEND_TENANT = 9
    DELETE_TENANT = 10
    UPDATE_QUOTAS = 11
    CREATE_API_KEY = 12
    REVOKE_API_KEY = 13
    UPSERT_CATEGORY = 14
    DELETE_CATEGORY = 15
    UPDATE_PREFERENCES = 16
    UNSUBSCRIBE = 17
    CREATE_TEMPLATE_VERSION = 18
    ACTIVATE_TEMPLATE_VERSION = 19
    CREATE_TOPIC = 20
    DELETE_TOPIC = 21
    ADD_MEMBERS = 22
    REMOVE_MEMBERS = 23
    CREATE_BROADCAST = 24
    CANCEL_BROADCAST = 25


class RequestKey(Value, frozen=True):
    """What makes a command safe to repeat."""

    space: RequestSpace
    id: str
    fingerprint: bytes
    """Versioned hash of the request's meaning: the same id with another fingerprint is refused."""


class Command(Value, Generic[Receipt], frozen=True, kw_only=True):
    """Something to be written, in one transaction."""

    tenant: str
    request: RequestKey | None = None

    solitary: ClassVar[bool] = False
    """It has a transaction of its own."""

    @property
    def payload_bytes(self) -> int:
        """About how many bytes it will write."""
        return SMALL_COMMAND_BYTES


class Answer(Value, Generic[Receipt], frozen=True):
    """What became of a command that was committed."""

    receipt: Receipt
    replayed: bool = False
    """True when it had been committed before and this is its first receipt again."""


class Recall(Command[Receipt], frozen=True, kw_only=True):
    """Writes nothing: its answer is that of its request, if it was committed before. Raises NotFound otherwise."""


# --- notifications ----------------------------------------------------------------------------------------------------


class InboxPosition(Value, frozen=True):
    """An inbox just after a change."""

    incarnation: bytes
    revision: int
    counts: Counts


class SendReceipt(Value, frozen=True):
    """What became of one spec."""

    notification_id: bytes
    disposition: Disposition
    incarnation: bytes | None = None
    """With the revision, the position of the entry; None when there is none."""
    revision: int = 0
    decisions: tuple[Decision, ...] = ()


class ShownContent(Value, frozen=True):
    """What is shown, encoded."""

    content: bytes
    """The notification's field `content`."""
    bodies: tuple[ChannelBody, ...] = ()
    """Of channels that show something of their own; what is empty there, and the others, show the content in their way.
    """

    @property
    def size(self) -> int:
        """About how many bytes that is."""
        return len(self.content) + sum(body.size for body in self.bodies)

    def overridden_by(self, overrides: Iterable[ChannelOverride]) -> "ShownContent":
        """The same, with what a sender says for single channels."""
        return replace(self, bodies=overridden(self.bodies, overrides)) if overrides else self


class StoreNotification(Command[SendReceipt], frozen=True, kw_only=True):
    """Settles a draft and writes what was planned. An unknown recipient is created.

    Raises QuotaExceeded; DraftOutdated when the recipient's profile is not the one that the draft was made from.
    """

    draft: Draft
    spec: NotificationSpec
    shown: ShownContent
    envelope: bytes
    trace: bytes = b""
    any_profile: bool = False
    """Settled whatever the recipient's profile is by now. It was drafted anew once, from what was said before the
    request came or later: what is said still later may as well come after it."""

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + self.shown.size + len(self.envelope)


class CancelOutcome(IntEnum):
    """What became of one notification; numbered as in the contract."""

    CANCELLED = 1
    RETRACTED = 2
    ALREADY_FINAL = 3
    NOT_FOUND = 4


class CancelReceipt(Value, frozen=True):
    """One outcome a notification, in the order asked for."""

    results: tuple[tuple[bytes, CancelOutcome], ...]


class CancelNotifications(Command[CancelReceipt], frozen=True, kw_only=True):
    """Drops what is pending, retracts what is in inboxes: by ids, or the latest of one recipient's thread."""

    ids: tuple[bytes, ...] = ()
    recipient: str = ""
    thread: str = ""


class ReviseReceipt(Value, frozen=True):
    """Where the entry stands now; no position while it is scheduled."""

    recipient: str
    position: InboxPosition | None


class ReviseNotification(Command[ReviseReceipt], frozen=True, kw_only=True):
    """Replaces the content in place. Raises NotificationNotFound, NotificationFinal."""

    id: bytes
    content: bytes
    renotify: bool

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + len(self.content)


# --- inbox ------------------------------------------------------------------------------------------------------------


class ByIds(Value, frozen=True):
    """These entries."""

    ids: tuple[bytes, ...]


class ByThread(Value, frozen=True):
    """All of a thread."""

    thread: str


class UpTo(Value, frozen=True):
    """Everything whose content is not newer than this position, which must be one that can be resumed from."""

    position: Cursor


class MarkReceipt(Value, frozen=True):
    """How many entries changed, over all chunks so far, and the inbox afterwards."""

    changed_count: int
    position: InboxPosition
    more: bool = False
    """Another chunk is needed; only the last one's receipt is recorded."""


class MarkEntries(Command[MarkReceipt], frozen=True, kw_only=True):
    """Marks up to ENTRIES_PER_TRANSACTION entries, oldest content first.

    Raises RecipientNotFound; for a position what `check_resumable` does.
    """

    recipient: str
    mark: Mark
    selection: ByIds | ByThread | UpTo
    snooze_until: Micros | None = None
    changed_before: int = 0
    """How many entries earlier chunks of the same request changed."""


class InteractionReceipt(Value, frozen=True):
    """The inbox afterwards."""

    position: InboxPosition


class RecordInteraction(Command[InteractionReceipt], frozen=True, kw_only=True):
    """Records what a recipient did. Raises NotificationNotFound, NotificationFinal."""

    recipient: str
    notification_id: bytes
    kind: InteractionKind
    action_id: str
    inputs: dict[str, str]


class AcknowledgeReceipt(Value, frozen=True):
    """One a position, in their order: the revision now recorded, or None where the incarnation is not the inbox's."""

    revisions: tuple[int | None, ...]


class AcknowledgePositions(Command[AcknowledgeReceipt], frozen=True, kw_only=True):
    """Records positions; the highest revision of an incarnation and filter wins."""

    positions: tuple[ConsumerPosition, ...]


class RenewIncarnation(Command[None], frozen=True, kw_only=True):
    """Draws a new incarnation if the inbox is still behind a position that it must have given out: it was rewound."""

    recipient: str
    incarnation: bytes
    revision: int


# --- recipients -------------------------------------------------------------------------------------------------------


class UpsertRecipient(Command[Recipient], frozen=True, kw_only=True):
    """Creates or changes a recipient; `fields` are those of the profile that are set. Raises QuotaExceeded."""

    recipient: str
    profile: Profile
    fields: frozenset[str]


class EraseReceipt(Value, frozen=True):
    """How many notifications were erased, over all chunks so far."""

    erased_count: int
    more: bool = False
    """Another chunk is needed; only the last one's receipt is recorded."""


class EraseRecipient(Command[EraseReceipt], frozen=True, kw_only=True):
    """Erases up to ENTRIES_PER_TRANSACTION notifications, and with the last of them the recipient."""

    recipient: str
    erased_before: int = 0


# --- categories and preferences ---------------------------------------------------------------------------------------


class UpsertCategory(Command[Category], frozen=True, kw_only=True):
    """Defines a category or changes it; `fields` are those of it that are set. Raises LimitReached."""

    category: Category
    fields: frozenset[str]


class DeleteCategory(Command[Category], frozen=True, kw_only=True):
    """The category is defined no longer; the receipt says what it was. Raises CategoryNotFound."""

    name: str


class PreferencesReceipt(Value, frozen=True):
    """One layer of preferences as it is now."""

    recipient: str
    """Empty: the tenant's default."""
    preferences: Preferences


class ChangePreferences(Command[PreferencesReceipt], frozen=True, kw_only=True):
    """Changes what a recipient wants, who is created if need be.

    Raises QuotaExceeded, LimitReached, CategoryNotFound, CategoryMandatory.
    """

    recipient: str
    change: PreferencesChange
    undefined: bool = False
    """Choices may be about categories that are not defined."""


class ChangeDefaultPreferences(Command[PreferencesReceipt], frozen=True, kw_only=True):
    """Changes the tenant's default. Raises LimitReached, CategoryNotFound, CategoryMandatory."""

    change: PreferencesChange


# --- templates --------------------------------------------------------------------------------------------------------


class TemplateReceipt(Value, frozen=True):
    """A template after a version was created, and the version's number."""

    template: Template
    version: int


class CreateTemplateVersion(Command[TemplateReceipt], frozen=True, kw_only=True):
    """Adds a version, with the first one the template. Raises TemplateLimitExceeded."""

    name: str
    definition: bytes
    activate: bool

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + len(self.definition)


class ActivateTemplateVersion(Command[Template], frozen=True, kw_only=True):
    """Makes a version the active one. Raises TemplateNotFound, TemplateVersionNotFound."""

    name: str
    version: int


# --- topics -----------------------------------------------------------------------------------------------------------


class CreateTopic(Command[Topic], frozen=True, kw_only=True):
    """Raises TopicExists."""

    topic: str
    display_name: str


class DeleteTopic(Command[Topic], frozen=True, kw_only=True):
    """Frees the name; what is left of the topic is for EraseTopic. Raises TopicNotFound."""

    topic: str


class MembersReceipt(Value, frozen=True):
    """How many recipients became members, or ceased to be."""

    count: int


class AddMembers(Command[MembersReceipt], frozen=True, kw_only=True):
    """Makes distinct recipients members; unknown ones are created. Raises TopicNotFound, QuotaExceeded."""

    topic: str
    recipients: tuple[str, ...]

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(map(len, self.recipients))


class RemoveMembers(Command[MembersReceipt], frozen=True, kw_only=True):
    """Ends the membership of distinct recipients; what unfinished broadcasts need of it stays. Raises TopicNotFound."""

    topic: str
    recipients: tuple[str, ...]

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(map(len, self.recipients))


# --- broadcasts -------------------------------------------------------------------------------------------------------


class CreateBroadcast(Command[Broadcast], frozen=True, kw_only=True):
    """Stores a broadcast to be carried out. Raises TopicNotFound, QuotaExceeded."""

    id: bytes
    audience: Audience
    spec: NotificationSpec
    content: bytes | None
    """Encoded; None: the spec names a template."""
    trace: bytes
    start_time: Micros | None
    """None: at once."""

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + len(self.content or b"")


class FinishBroadcast(Command[Broadcast], frozen=True, kw_only=True):
    """Stops a broadcast where it is. Raises BroadcastNotFound, BroadcastFinal."""

    id: bytes
    state: BroadcastState
    """CANCELLED or FAILED."""
    failure: str = ""


class ClassDraft(Value, frozen=True):
    """What a broadcast drafts for a class."""

    class_id: int
    draft: Draft
    content: bytes
    """Encoded; empty for what is personal."""
    envelope: bytes
    """Encoded immutable fields without id and recipient."""
    personal: bool
    """What is shown is not the same for all."""


class PlanClasses(Command[None], frozen=True, kw_only=True):
    """Settles drafts of classes of a broadcast. Raises BroadcastNotFound."""

    id: bytes
    drafts: tuple[ClassDraft, ...]

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(len(each.content) + len(each.envelope) for each in self.drafts)


class ChunkReceipt(Value, frozen=True):
    """What a chunk of a broadcast came to. Where something is asked for, nothing was written."""

    state: BroadcastState
    taken: int = 0
    """Recipients that had their turn."""
    time: Micros = 0
    """That it took, without the commit."""
    unplanned: tuple[int, ...] = ()
    """Asks for PlanClasses of these classes."""
    personal: tuple[str, ...] = ()
    """Asks for the drafts of these recipients, which are all personal ones up to `upto`."""
    upto: str = ""


class ExpandBroadcast(Command[ChunkReceipt], frozen=True, kw_only=True):
    """Gives the next recipients of a broadcast their turn, and moves its position behind them.

    Alone in its transaction. Raises BroadcastNotFound.
    """

    solitary: ClassVar[bool] = True

    id: bytes
    limit: int
    """At most so many recipients."""
    upto: str | None = None
    """And none behind this one."""
    personal: tuple[StoreNotification, ...] = ()
    undrawn: tuple[str, ...] = ()
    """Recipients of personal classes for whom nothing can be drawn up."""
    targeted: int | None = None
    """How many recipients the audience has, once that is known."""

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(each.payload_bytes for each in self.personal)


class RestBroadcast(Command[None], frozen=True, kw_only=True):
    """Nothing more is to be done for a finished broadcast: its entries have expired."""

    id: bytes


# --- time -------------------------------------------------------------------------------------------------------------


class TimerKind(IntEnum):
    """What happens when a timer falls due. Stored: never renumber."""

    DELIVER = 1
    UNSNOOZE = 2
    EXPIRE = 3
    RELEASE = 4
    """Deferred deliveries of a notification meet the rules again."""


class Timer(Value, frozen=True):
    """Something that happens at a time."""

    id: int
    tenant: str
    kind: TimerKind
    due_time: Micros
    recipient: str
    notification_id: bytes


class FireTimer(Command[bool], frozen=True, kw_only=True):
    """Deletes a due timer's row and applies its effect; False when the row was gone.

    What was kept for a time meets the rules again, and so comes with a draft. Raises DraftOutdated as StoreNotification
    does; the timer is still there then.
    """

    timer: Timer
    draft: Draft | None = None
    """Of what was SCHEDULED, or of the channels that were deferred; None where nothing is to be decided, or the
    notification is gone: as long as it is kept it can be drafted, whatever its state."""
    until: Micros = 0
    """Deliveries that were deferred until then at the latest are in the draft."""
    shown: ShownContent | None = None
    """What is shown instead of what was kept, but for what was revised meanwhile."""
    bodies: tuple[ChannelBody, ...] = ()
    """What channels show of their own where what was kept is shown."""
    any_profile: bool = False

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        shown = self.shown.size if self.shown else sum(body.size for body in self.bodies)
        return SMALL_COMMAND_BYTES + shown


# --- deliveries -------------------------------------------------------------------------------------------------------


class ClaimedDelivery(Value, frozen=True):
    """A delivery that is the caller's until its lease ends, and all that its provider is to be told."""

    delivery: Delivery
    body: ChannelBody | None
    """None: to be derived from the content."""
    content: bytes | None
    """The notification's, encoded; None once it is gone."""
    trace: bytes
    """The notification's encoded field `trace_parent`."""


class ClaimReceipt(Value, frozen=True):
    """The deliveries that were claimed, earliest first."""

    deliveries: tuple[ClaimedDelivery, ...]
    closed_count: int
    """How many that could be claimed had expired, or had had all their attempts."""


class ClaimDeliveries(Command[ClaimReceipt], frozen=True, kw_only=True):
    """Claims up to `limit` deliveries for as long as `lease`, by the store's clock.

    Those that others are claiming at the same time are passed over, those of suspended tenants wait.
    """

    limit: int
    lease: Micros


class RecordOutcome(IntEnum):
    """What became of the result of a call."""

    RECORDED = 1
    OVERTAKEN = 2
    """The lease had ended, and the delivery was claimed anew: nothing was changed."""
    CLOSED = 3
    """It is not under way any more, as when it was cancelled meanwhile, or is gone: nothing was changed."""


class RecordDelivery(Command[RecordOutcome], frozen=True, kw_only=True):
    """Records what came of a call, for the claim with this fencing token."""

    pk: int
    fence: int
    attempted: Attempted
    jitter: float
    """Random, from 0 to below 1: spreads what is tried again."""


# --- retention --------------------------------------------------------------------------------------------------------


class SweepReceipt(Value, frozen=True):
    """How many rows a sweep changed or removed."""

    count: int
    more: bool = False
    """There is more of the same to do."""


class ExpireEntries(Command[SweepReceipt], frozen=True, kw_only=True):
    """Expires those of the entries that are still stored: body dropped, a new revision."""

    entries: tuple[tuple[str, bytes], ...]
    """(tenant, notification id)."""


class PruneInboxes(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes rows whose last change is older than `cutoff`, in revision order, and moves each inbox's floor.

    What is still shown is not removed, nor anything behind it. Removes at most ENTRIES_PER_TRANSACTION rows.
    """

    inboxes: tuple[tuple[str, str], ...]
    """(tenant, recipient)."""
    cutoff: Micros


class PruneBroadcasts(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes what is kept of a broadcast that finished before the cutoff and of which no entry is left."""

    cutoff: Micros


class PruneHistory(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes up to `limit` rows each of request ids, events, consumer positions and slots of throttles past the time
    they are kept."""

    requests_before: Micros
    events_before: Micros
    positions_before: Micros
    slots_before: Micros
    limit: int = 2_000


# --- tenants and keys -------------------------------------------------------------------------------------------------


class CreateTenant(Command[Tenant], frozen=True, kw_only=True):
    """Raises TenantExists. `tenant` is the operator's own, whose request ids are used."""

    name: str
    display_name: str
    quotas: Quotas


class ChangeTenant(Command[Tenant], frozen=True, kw_only=True):
    """Sets the state, or those quotas that are named. Raises TenantNotFound."""

    name: str
    state: TenantState | None = None
    quotas: Quotas | None = None
    quota_fields: frozenset[str] = frozenset()


class EraseTenant(Command[SweepReceipt], frozen=True, kw_only=True):
    """Erases up to `limit` rows of a tenant that is DELETING, and with the last of them the tenant."""

    name: str
    limit: int = 2_000


class EraseTopic(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes up to `limit` memberships that have ended, of a deleted topic all of them and then the topic.

    Not while a broadcast to the topic is unfinished.
    """

    topic_id: int
    limit: int = 2_000


class CreateApiKey(Command[ApiKey], frozen=True, kw_only=True):
    """Stores a key by the SHA-256 of its secret. Raises QuotaExceeded, TenantNotFound."""

    key: ApiKey
    secret_hash: bytes


class RevokeApiKey(Command[ApiKey], frozen=True, kw_only=True):
    """Raises ApiKeyNotFound. `key_tenant` None: a key of any tenant (operators)."""

    key_id: str
    key_tenant: str | None


class BumpEpoch(Command[bytes], frozen=True, kw_only=True):
    """Draws a new epoch: every incarnation changes, so that every stream starts anew."""


class Probe(Command[None], frozen=True, kw_only=True):
    """Writes nothing of its own, and so shows whether a transaction can be committed."""
