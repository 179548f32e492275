"""Preferences: what recipients want, what the tenant wants for them, what follows from both, and how one is left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.commands import (
    Answer,
    ChangeDefaultPreferences,
    ChangePreferences,
    Command,
    PreferencesReceipt,
    RequestSpace,
)
from tocsin_server.domain.errors import CategoryMandatory, RecipientNotAllowed, TocsinError
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.domain.preferences import (
    Choice,
    Preferences,
    PreferencesChange,
    Verdict,
    effective_digest_time,
    effective_quiet_hours,
    resolve,
)
from tocsin_server.domain.quiet_hours import QuietHours, quiet_until
from tocsin_server.domain.recipient import UNKNOWN_RECIPIENT, RecipientFacts
from tocsin_server.domain.time import Micros
from tocsin_server.domain.unsubscribe import Subscription
from tocsin_server.domain.value import replace
from tocsin_server.service.categories import may_use
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import Clock, Codec, RecipientReader, Writer
from tocsin_server.service.submitting import answered, request_key
from tocsin_server.service.unsubscribing import UnsubscribeTokens


@dataclass(frozen=True, slots=True)
class Cell:
    """The answer for one category on one channel."""

    category: str
    channel: Channel
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Resolution:
    """What holds for a recipient now."""

    cells: list[Cell]
    """By category and channel."""
    quiet_hours: QuietHours | None
    quiet_hours_layer: str
    """recipient, tenant, or default where nobody has said anything; so for the others."""
    quiet_until: Micros | None
    """When the channels that quiet hours hold may speak again; None: now."""
    digest_time: str
    digest_time_layer: str
    time_zone: str


class PreferenceCenter:
    """What recipients and senders ask about preferences. Those of an unknown recipient say nothing."""

    def __init__(
        self,
        writer: Writer,
        reader: RecipientReader,
        policies: Policies,
        codec: Codec,
        tokens: UnsubscribeTokens,
        clock: Clock,
        still_valid: Callable[[Principal], TocsinError | None],
    ) -> None:
        """`still_valid` tells why a caller is not welcome; see `Authenticator.still_valid`."""
        self._writer = writer
        self._reader = reader
        self._policies = policies
        self._codec = codec
        self._tokens = tokens
        self._clock = clock
        self._still_valid = still_valid

    async def get(self, principal: Principal, recipient: str) -> Preferences:
        """A recipient's own, or, for an empty key, the tenant's default, as far as the caller may see them.

        Raises RecipientNotAllowed.
        """
        if recipient:
            principal.require_recipient(recipient)
            preferences = (await self._facts(principal.tenant, recipient)).preferences
        else:
            _require_all_recipients(principal)
            preferences = (await self._policy(principal.tenant)).defaults
        return visible(principal, preferences)

    async def update(
        self,
        principal: Principal,
        request_id: str,
        recipient: str,
        change: PreferencesChange,
        *,
        deadline: float | None = None,
    ) -> Answer[PreferencesReceipt]:
        """Changes a recipient's own, or, for an empty key, the tenant's default.

        Raises RecipientNotAllowed, CategoryNotAllowed, ScopeMissing, CategoryNotFound, CategoryMandatory, LimitReached,
        QuotaExceeded.
        """
        if recipient:
            principal.require_recipient(recipient)
        else:
            _require_all_recipients(principal)
            principal.require_scope(Scope.CATEGORIES_WRITE)
        for category in _touched(change):
            principal.require_category(category)
        asked = (recipient, replace(change, fields=frozenset()), tuple(sorted(change.fields)))
        request = request_key(self._codec, RequestSpace.UPDATE_PREFERENCES, request_id, asked)
        command: Command[PreferencesReceipt]
        if recipient:
            command = ChangePreferences(
                tenant=principal.tenant, request=request, recipient=recipient, change=change
            )
        else:
            command = ChangeDefaultPreferences(tenant=principal.tenant, request=request, change=change)
        answer = await answered(self._writer, command, deadline)
        receipt = answer.receipt
        shown = replace(receipt, preferences=visible(principal, receipt.preferences))
        return Answer(shown, answer.replayed)

    async def resolve(self, principal: Principal, recipient: str, categories: Sequence[str]) -> Resolution:
        """What holds for a recipient, for these categories, or for all that are defined and the caller may use.

        Raises RecipientNotAllowed, CategoryNotAllowed.
        """
        principal.require_recipient(recipient)
        for category in categories:
            principal.require_category(category)
        policy = await self._policy(principal.tenant)
        facts = await self._facts(principal.tenant, recipient)
        names = categories or (name for name in policy.categories if may_use(principal, name))
        own, defaults = facts.preferences, policy.defaults
        cells = [
            Cell(name, channel, resolve(policy.category(name), channel, own, defaults))
            for name in sorted(set(names))
            for channel in Channel
        ]
        quiet_hours, zone = effective_quiet_hours(own, defaults), facts.profile.time_zone
        held_until = None
        if quiet_hours is not None:
            held_until = quiet_until(quiet_hours, zone, Channel.PUSH, self._clock.now())
        return Resolution(
            cells,
            quiet_hours,
            _layer_of(own.quiet_hours is not None, defaults.quiet_hours is not None),
            held_until,
            effective_digest_time(own, defaults),
            _layer_of(bool(own.digest_time), bool(defaults.digest_time)),
            zone,
        )

    async def token(self, principal: Principal, subscription: Subscription) -> str:
        """A token with which the recipient leaves the category on the channel.

        Raises RecipientNotAllowed, CategoryNotAllowed, CategoryMandatory.
        """
        principal.require_recipient(subscription.recipient)
        principal.require_category(subscription.category)
        policy = await self._policy(subscription.tenant)
        if policy.category(subscription.category).mandatory:
            raise CategoryMandatory(category=subscription.category)
        return self._tokens.token(subscription)

    async def unsubscribe(
        self, token: str, request_id: str, *, deadline: float | None = None
    ) -> tuple[Subscription, bool]:
        """Denies what the token is about, and says whether this is the first answer again. The token is the credential.

        Raises UnsubscribeTokenInvalid, TenantSuspended, CredentialsUnchecked, CategoryMandatory, LimitReached,
        QuotaExceeded.
        """
        subscription = self._tokens.open(token)
        refusal = self._still_valid(_holder_of(subscription))
        if refusal is not None:
            raise refusal
        choice = Choice(False, subscription.category, subscription.channel)
        command = ChangePreferences(
            tenant=subscription.tenant,
            request=request_key(self._codec, RequestSpace.UNSUBSCRIBE, request_id, subscription),
            recipient=subscription.recipient,
            change=PreferencesChange(made=(choice,)),
            undefined=True,  # categories need not be defined to be sent under
        )
        answer = await answered(self._writer, command, deadline)
        return subscription, answer.replayed

    async def _policy(self, tenant: str) -> TenantPolicy:
        return self._policies.of(tenant) or await self._policies.known(tenant)

    async def _facts(self, tenant: str, recipient: str) -> RecipientFacts:
        found = await self._reader.profiles(tenant, (recipient,))
        return found.get(recipient, UNKNOWN_RECIPIENT)


def _holder_of(subscription: Subscription) -> Principal:
    """Whoever holds the token: a user of the tenant who may do nothing else."""
    return Principal(
        subscription.tenant,
        subscription.recipient,
        frozenset(),
        (subscription.recipient,),
        (subscription.category,),
        end_user=True,
    )


def _layer_of(own: bool, default: bool) -> str:
    """Which layer decides, by which of them say something."""
    if own:
        return "recipient"
    return "tenant" if default else "default"


def _require_all_recipients(principal: Principal) -> None:
    """Raises RecipientNotAllowed: the tenant's default is about everyone."""
    if principal.recipients:
        raise RecipientNotAllowed(recipient="")


def _touched(change: PreferencesChange) -> set[str]:
    """Categories that a change says something about; an empty one stands for all of them."""
    touched = {choice.category for choice in change.choices} | {category for category, _ in change.removed}
    # What is replaced whole may lose a choice about any category.
    return touched | {""} if "choices" in change.fields else touched


def visible(principal: Principal, preferences: Preferences) -> Preferences:
    """The preferences without choices about categories that the caller may not use."""
    if not principal.categories:
        return preferences
    shown = (
        choice for choice in preferences.choices if not choice.category or may_use(principal, choice.category)
    )
    return replace(preferences, choices=tuple(shown))
