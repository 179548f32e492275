"""The two halves of a Send's decision: `draft` before the transaction, `settle` inside it.

`draft` uses what changes slowly and is versioned: the tenant's policy, the recipient's profile and preferences.
`settle` uses what two racing sends could both get wrong, and so runs under the lock of the recipient. Both are pure;
both together are all that is decided about a notification, by Send, PlanSend, broadcasts and for what was deferred.
"""

from collections.abc import Iterable, Mapping, Sequence

from tocsin_server.domain.category import Category, Throttle
from tocsin_server.domain.inbox import Inbox, Status
from tocsin_server.domain.notification import (
    Channel,
    Decision,
    Disposition,
    NotificationSpec,
    Outcome,
    Priority,
    Rule,
)
from tocsin_server.domain.preferences import (
    BY_DEFAULT,
    NO_PREFERENCES,
    Preferences,
    effective_quiet_hours,
    resolve,
)
from tocsin_server.domain.quiet_hours import QuietAction, quiet_until
from tocsin_server.domain.recipient import UNKNOWN_RECIPIENT, Address, AddressState, RecipientFacts
from tocsin_server.domain.throttle import Slot, throttle
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, replace


class Facts(Value, frozen=True):
    """What a draft is made from, besides the spec: all that changes slowly."""

    category: Category
    recipient: RecipientFacts = UNKNOWN_RECIPIENT
    defaults: Preferences = NO_PREFERENCES
    """The tenant's."""
    providers: Mapping[Channel, str] = {}
    """The provider that is enabled for each channel but INBOX."""
    throttled: bool = False
    """Some category of the tenant has a throttle, so that interruptions take slots."""

    @property
    def choices(self) -> bool:
        """Whether anybody has allowed or denied anything."""
        return bool(self.recipient.preferences.choices or self.defaults.choices)


class ChannelDraft(Value, frozen=True):
    """A channel that a notification goes out on, unless a throttle is in the way."""

    channel: Channel
    addresses: tuple[str, ...] = ()
    """Empty for INBOX."""
    provider: str = ""
    due_time: Micros | None = None
    """None: at once."""


class Draft(Value, frozen=True):
    """A notification as it stands before the recipient is locked."""

    id: bytes
    tenant: str
    recipient: str
    category: str
    priority: Priority
    channels: tuple[ChannelDraft, ...]
    thread: str
    create_time: Micros
    deliver_time: Micros | None
    """None: at once."""
    expire_time: Micros | None
    decisions: tuple[Decision, ...] = ()
    """Why other channels are left out, or come later."""
    retention: Micros | None = None
    """How long its category keeps it; None: as long as the settings say."""
    throttles: tuple[Throttle, ...] = ()
    """Those that can be in the way."""
    takes_slots: bool = False
    """What goes out on other channels counts for throttles."""
    profile_version: int = 0
    """Of the profile and preferences that it was made from."""


class Kept(Value, frozen=True):
    """A notification that was kept for a time, as far as it is drafted anew."""

    id: bytes
    spec: NotificationSpec
    create_time: Micros
    waiting: tuple[Channel, ...]
    """The channels of its deferred deliveries that are due; none where it is SCHEDULED."""
    scheduled: bool


class PlannedDelivery(Value, frozen=True):
    """What goes out to one address."""

    channel: Channel
    address: str
    provider: str
    due_time: Micros
    deferred: bool
    """It meets the rules again when it is due."""


class Plan(Value, frozen=True):
    """What is to be written for a draft."""

    disposition: Disposition
    inbox: Inbox
    """The inbox afterwards; its revision is the entry's when there is one."""
    decisions: tuple[Decision, ...] = ()
    entered: bool = False
    """There is an entry in the inbox."""
    deliveries: tuple[PlannedDelivery, ...] = ()
    slots: tuple[Slot, ...] = ()
    """What throttles count from now on."""


def draft(id: bytes, tenant: str, spec: NotificationSpec, facts: Facts, now: Micros) -> Draft:
    """The spec with everything filled in and decided that does not need the recipient's lock."""
    category, recipient = facts.category, facts.recipient
    deliver_time = spec.deliver_time if spec.deliver_delay is None else now + spec.deliver_delay
    priority = spec.priority or category.priority
    bypasses = category.mandatory or priority is Priority.URGENT
    channels, decisions = _channels(spec, facts, now, bypasses=bypasses)
    interrupting = facts.throttled and not bypasses and any(each.provider for each in channels)
    return Draft(
        id,
        tenant,
        spec.recipient,
        spec.category,
        priority,
        channels,
        spec.thread,
        now,
        deliver_time if deliver_time is not None and deliver_time > now else None,
        spec.expire_time,
        decisions,
        category.retention,
        category.throttles if interrupting else (),
        interrupting,
        recipient.version,
    )


def draft_again(kept: Kept, tenant: str, facts: Facts, now: Micros) -> Draft:
    """What was kept for a time meets the rules once more, as if it had been sent now; without a time of its own."""
    spec = replace(kept.spec, deliver_time=None, deliver_delay=None)
    if not kept.scheduled:
        spec = replace(spec, channels=kept.waiting)
    return replace(draft(kept.id, tenant, spec, facts, now), create_time=kept.create_time)


def settle(draft: Draft, inbox: Inbox, slots: Sequence[Slot], now: Micros) -> Plan:
    """What becomes of a draft, in the order that the contract gives: expiry, a time in the future, the channels.

    `slots` are those of the recipient that `since_when` asks for, without the notification's own.
    """
    if draft.expire_time is not None and draft.expire_time <= now:
        return Plan(Disposition.SUPPRESSED, inbox, (_EXPIRED,))
    if draft.deliver_time is not None and draft.deliver_time > now:
        return Plan(Disposition.SCHEDULED, inbox, (_scheduled(draft.deliver_time),))
    channels, decisions = draft.channels, draft.decisions
    if draft.takes_slots:
        channels, throttled = _throttled(draft, slots, now)
        decisions += throttled
    if not channels:
        return Plan(Disposition.SUPPRESSED, inbox, decisions)
    entered = channels[0].channel is Channel.INBOX
    if entered:
        counts = inbox.counts.moved(None, Status.UNSEEN)
        inbox = replace(inbox, revision=inbox.revision + 1, counts=counts)
    if len(channels) == entered:
        return Plan(Disposition.STORED, inbox, decisions, entered)
    due_times = {each.channel: max(each.due_time or now, now) for each in channels if each.provider}
    deliveries = tuple(
        PlannedDelivery(each.channel, address, each.provider, due_time, due_time > now)
        for each in channels
        if (due_time := due_times.get(each.channel))
        for address in each.addresses
    )
    taken = tuple(
        Slot(due_time, draft.id, channel, draft.category)
        for channel, due_time in (due_times.items() if draft.takes_slots else ())
    )
    return Plan(Disposition.STORED, inbox, decisions, entered, deliveries, taken)


def since_when(draft: Draft, now: Micros) -> Micros | None:
    """From when on slots of the recipient have a bearing on a draft; None: none have."""
    if not draft.throttles:
        return None
    return now - max(limit.window for limit in draft.throttles)


def _channels(
    spec: NotificationSpec, facts: Facts, now: Micros, *, bypasses: bool
) -> tuple[tuple[ChannelDraft, ...], tuple[Decision, ...]]:
    """The channels that may be used, INBOX first, and why others may not."""
    wanted = spec.channels or facts.category.channels
    if wanted == _INBOX and not facts.choices and not facts.category.mandatory:
        # As of most of what is sent, of which there may be thousands a second.
        return _INTO_THE_INBOX, ()
    channels: list[ChannelDraft] = []
    decisions: list[Decision] = []
    for channel in sorted(wanted):
        for each in _channel(channel, spec, facts, now, bypasses=bypasses):
            if isinstance(each, ChannelDraft):
                channels.append(each)
            else:
                decisions.append(each)
    return tuple(channels), tuple(decisions)


def _channel(
    channel: Channel, spec: NotificationSpec, facts: Facts, now: Micros, *, bypasses: bool
) -> Iterable[ChannelDraft | Decision]:
    recipient = facts.recipient
    verdict = resolve(facts.category, channel, recipient.preferences, facts.defaults)
    if verdict is not BY_DEFAULT:
        outcome = Outcome.ALLOWED if verdict.allowed else Outcome.SUPPRESSED
        yield Decision(verdict.rule, verdict.layer, verdict.key, outcome, verdict.text, channel)
    if not verdict.allowed:
        return
    if channel is Channel.INBOX:
        yield ChannelDraft(channel)
        return
    addresses = active_addresses(recipient.profile.addresses, channel)
    if not addresses:
        yield _refused(Rule.NO_ADDRESS, "recipient", "addresses", "There is no active address.", channel)
        return
    provider = facts.providers.get(channel)
    if provider is None:
        yield _refused(Rule.NO_PROVIDER, "settings", "providers", "No provider is enabled.", channel)
        return
    due_time = None
    quiet = None if bypasses else _quiet(facts, channel, now)
    if quiet is not None:
        yield quiet
        if quiet.due_time is None:
            return
        due_time = quiet.due_time
        if spec.expire_time is not None and spec.expire_time <= due_time:
            yield _refused(
                Rule.EXPIRY, "spec", "expire_time", "It would come after its expire time.", channel
            )
            return
    yield ChannelDraft(channel, addresses, provider, due_time)


def active_addresses(addresses: Iterable[Address], channel: Channel) -> tuple[str, ...]:
    """Where a recipient can be reached on a channel, each once."""
    return tuple(
        dict.fromkeys(
            address.value
            for address in addresses
            if address.channel is channel and address.state is AddressState.ACTIVE
        )
    )


def _quiet(facts: Facts, channel: Channel, now: Micros) -> Decision | None:
    own = facts.recipient.preferences
    hours = effective_quiet_hours(own, facts.defaults)
    if hours is None:
        return None
    until = quiet_until(hours, facts.recipient.profile.time_zone, channel, now)
    if until is None:
        return None
    layer = "tenant" if own.quiet_hours is None else "recipient"
    if hours.action is QuietAction.DROP:
        return _refused(Rule.QUIET_HOURS, layer, "quiet_hours", "These are quiet hours.", channel)
    text = "These are quiet hours: kept until they end."
    return Decision(Rule.QUIET_HOURS, layer, "quiet_hours", Outcome.DEFERRED, text, channel, until)


def _throttled(
    draft: Draft, slots: Sequence[Slot], now: Micros
) -> tuple[tuple[ChannelDraft, ...], tuple[Decision, ...]]:
    """The channels with what throttles make of their due times, and what they decided."""
    due_times = {each.channel: max(each.due_time or now, now) for each in draft.channels if each.provider}
    left = throttle(draft.throttles, draft.category, due_times, slots)
    channels: list[ChannelDraft] = []
    decisions = list(left.decisions)
    for each in draft.channels:
        if not each.provider:
            channels.append(each)
            continue
        due_time = left.due_times.get(each.channel)
        if due_time is None:
            continue
        if due_time > now and draft.expire_time is not None and draft.expire_time <= due_time:
            text = "It would come after its expire time."
            decisions.append(_refused(Rule.EXPIRY, "spec", "expire_time", text, each.channel))
            continue
        channels.append(replace(each, due_time=due_time))
    return tuple(channels), tuple(decisions)


def _refused(rule: Rule, layer: str, key: str, text: str, channel: Channel) -> Decision:
    return Decision(rule, layer, key, Outcome.SUPPRESSED, text, channel)


_INBOX = (Channel.INBOX,)
_INTO_THE_INBOX = (ChannelDraft(Channel.INBOX),)

_EXPIRED = Decision(Rule.EXPIRY, "spec", "expire_time", Outcome.SUPPRESSED, "The expire time has passed.")


def _scheduled(deliver_time: Micros) -> Decision:
    return Decision(
        Rule.SCHEDULE,
        "spec",
        "deliver_time",
        Outcome.DEFERRED,
        "Kept until its deliver time.",
        due_time=deliver_time,
    )
