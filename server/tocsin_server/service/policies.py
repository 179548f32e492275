"""The policies of tenants in memory: categories and default preferences, as every Send asks for them."""

from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.service.ports import PolicyReader
from tocsin_server.service.tenant_cache import TenantCache

MAX_KEPT = 100_000
"""Tenants, categories and choices together; up to about 1 KB each."""


class Policies(TenantCache[TenantPolicy]):
    """Use as `policies.of(tenant) or await policies.known(tenant)`; see `TenantCache`."""

    def __init__(self, reader: PolicyReader) -> None:
        super().__init__(reader.policies, _weight, MAX_KEPT)


def _weight(policy: TenantPolicy) -> int:
    return 1 + len(policy.categories) + len(policy.defaults.choices)
