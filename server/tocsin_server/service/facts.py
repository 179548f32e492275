"""What drafts are made from: a tenant's policy, recipients' profiles and preferences, and the providers there are.

Profiles are kept without a check: a draft says which version it was made from, and the writer refuses one that is
outdated. So nothing need be read for a recipient that nothing was ever said about, as for one that is known.
"""

from collections.abc import Iterable, Mapping

from tocsin_server.domain.notification import Channel, NotificationSpec
from tocsin_server.domain.recipient import UNKNOWN_RECIPIENT, RecipientFacts
from tocsin_server.domain.sending import Facts
from tocsin_server.service.policies import Policies
from tocsin_server.service.ports import RecipientReader

MAX_PROFILES = 100_000
"""So many are kept; those read first make room."""

_INBOX_ONLY = (Channel.INBOX,)


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

    async def know(self, tenant: str, specs: Iterable[NotificationSpec]) -> None:
        """Makes sure that all is known that specs of the tenant cannot well be drafted without.

        Raises StorageUnavailable.
        """
        await self._policies.known(tenant)
        unknown = {
            spec.recipient
            for spec in specs
            if (tenant, spec.recipient) not in self._profiles and self._looks_at_profile(tenant, spec)
        }
        if unknown:
            await self.read(tenant, unknown)

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

    def of(self, tenant: str, category: str, recipient: str) -> Facts:
        """What is known; of a recipient that was not read, that nothing was said."""
        policy = self._policies.of(tenant)
        return Facts(
            policy.category(category),
            self._profiles.get((tenant, recipient), UNKNOWN_RECIPIENT),
            policy.defaults,
            self._providers,
            policy.throttled,
        )

    def _looks_at_profile(self, tenant: str, spec: NotificationSpec) -> bool:
        """Whether a draft without the profile would be wrong more often than not: addresses, what a template says."""
        if spec.template is not None:
            return True
        channels = spec.channels
        if not channels:
            channels = self._policies.of(tenant).category(spec.category).channels
        return channels != _INBOX_ONLY
