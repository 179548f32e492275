"""Policies of tenants: their versions, and the rows that whoever changes one locks."""

from collections.abc import Sequence

from msgspec import msgpack

from tocsin_server.domain.category import Category
from tocsin_server.domain.policy import TenantPolicy, tenant_policy
from tocsin_server.domain.preferences import NO_PREFERENCES, Preferences
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.recipients import preferences_of
from tocsin_server.store.sql import Blob, Connection, Select
from tocsin_server.store.transaction import Transaction

# A row that says nothing is as good as none, so that one may be left behind when a command is refused.
_LOCK = """
    INSERT INTO tenant_policies (tenant, version) VALUES (?, 0)
    ON CONFLICT (tenant) DO UPDATE SET version = tenant_policies.version RETURNING preferences"""

_SELECT_POLICIES = Select(
    ("tenant", "version", Blob("preferences", nullable=True)), "FROM tenant_policies WHERE tenant {in_keys}"
)

_SELECT_VERSIONS = Select(("tenant", "version"), "FROM tenant_policies WHERE tenant {in_keys}")

_SELECT_CATEGORIES = Select(("tenant", Blob("category")), "FROM categories WHERE tenant {in_keys}")

_NOTHING_SAID = (0, NO_PREFERENCES)

category_of = msgpack.Decoder(Category).decode


def locked_defaults(transaction: Transaction, tenant: str) -> Preferences:
    """The tenant's default; nobody else changes the policy before this transaction ends."""
    (stored,) = transaction.connection.execute(_LOCK, (tenant,)).fetchone()
    return preferences_of(stored)


class PolicyRows:
    """Implements `ports.PolicyReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def policies(self, tenants: Sequence[str]) -> dict[str, TenantPolicy]:
        """See `ports.PolicyReader`."""

        def read(connection: Connection) -> dict[str, TenantPolicy]:
            with connection.snapshot():
                versions = connection.select_in(_SELECT_POLICIES, (), tenants)
                stored = connection.select_in(_SELECT_CATEGORIES, (), tenants)
            categories: dict[str, list[Category]] = {tenant: [] for tenant in tenants}
            for tenant, category in stored:
                categories[tenant].append(category_of(category))
            said = {tenant: (version, preferences_of(defaults)) for tenant, version, defaults in versions}
            return {
                tenant: tenant_policy(*said.get(tenant, _NOTHING_SAID), categories[tenant])
                for tenant in tenants
            }

        return await self._pool.run(read)

    async def policy_versions(self, tenants: Sequence[str]) -> dict[str, int]:
        """See `ports.PolicyReader`."""
        rows = await self._pool.run(lambda connection: connection.select_in(_SELECT_VERSIONS, (), tenants))
        return dict.fromkeys(tenants, 0) | dict(rows)
