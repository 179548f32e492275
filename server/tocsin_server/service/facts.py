"""What drafts are made from: a tenant's policy, recipients' profiles and preferences, and the providers there are.

Profiles are kept without a check: a draft says which version it was made from, and the writer refuses one that is
outdated. So nothing need be read for a recipient that nothing was ever said about, as for one that is known.
"""

from collections.abc import Iterable, Mapping

from tocsin_server.domain.notification import Channel, NotificationSpec
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.domain.recipient import UNKNOWN_RECIPIENT, RecipientFacts
from tocsin_server.domain.sending import Facts
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import RecipientReader

MAX_PROFILES = 100_000
"""So many are kept; those read first make room."""

_INBOX_ONLY = (Channel.INBOX,)


class KnownFacts:
    """What is known of one tenant for a while."""

    def __init__(
        self,
        tenant: str,
        policy: TenantPolicy,
        profiles: Mapping[tuple[str, str], RecipientFacts],
        providers: Mapping[Channel, str],
    ) -> None:
        self._tenant = tenant
        self._policy = policy
        self._profiles = profiles
        self._providers = providers

    @property
    def policy_version(self) -> int:
        """Which policy of the tenant is known."""
        return self._policy.version

    def of(self, category: str, recipient: str) -> Facts:
        """What a draft is made from; of a recipient that was not read, that nothing was said."""
        return self.of_any(category, self._profiles.get((self._tenant, recipient), UNKNOWN_RECIPIENT))

    def of_any(self, category: str, recipient: RecipientFacts) -> Facts:
        """What a draft is made from for whom this is known of."""
        return Facts(
            self._policy.category(category),
            recipient,
            self._policy.defaults,
            self._providers,
            self._policy.throttled,
        )


class SendFacts:
    """Facts of one server, kept in memory."""

    def __init__(
        self,
        policies: Policies,
        reader: RecipientReader,
        providers: Mapping[Channel, str],
        max_profiles: int = MAX_PROFILES,
    ) -> None:
        self._policies = policies
        self._reader = reader
        self._providers = providers
        self._max_profiles = max_profiles
        self._profiles: dict[tuple[str, str], RecipientFacts] = {}

    async def know(self, tenant: str, specs: Iterable[NotificationSpec] = ()) -> KnownFacts:
        """What is known, with the profiles of those recipients whose specs cannot well be drafted without.

        Raises StorageUnavailable.
        """
        policy = self._policies.of(tenant) or await self._policies.known(tenant)
        unknown = {
            spec.recipient
            for spec in specs
            if (tenant, spec.recipient) not in self._profiles and _looks_at_profile(policy, spec)
        }
        if unknown:
            await self.read(tenant, unknown)
        return KnownFacts(tenant, policy, self._profiles, self._providers)

    async def read(self, tenant: str, recipients: Iterable[str]) -> None:
        """Takes what storage says of these recipients now. Raises StorageUnavailable."""
        keys = list(recipients)
        found = await self._reader.profiles(tenant, keys)
        for key in keys:
            # Put in last, so that what is out of use comes to be first.
            self._profiles.pop((tenant, key), None)
            self._profiles[tenant, key] = found.get(key, UNKNOWN_RECIPIENT)
        while len(self._profiles) > self._max_profiles:
            del self._profiles[next(iter(self._profiles))]


def _looks_at_profile(policy: TenantPolicy, spec: NotificationSpec) -> bool:
    """Whether a draft without the profile would be wrong more often than not: addresses, what a template says."""
    if spec.template is not None:
        return True
    return (spec.channels or policy.category(spec.category).channels) != _INBOX_ONLY
