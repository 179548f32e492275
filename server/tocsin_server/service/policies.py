"""What a tenant says of its categories and of preferences, in memory."""

from tocsin_server.domain.policy import TenantPolicy


class Policies:
    """The policies of tenants."""

    def of(self, tenant: str) -> TenantPolicy:
        """A tenant's policy, which is known."""
        return TenantPolicy()

    async def known(self, tenant: str) -> None:
        """Makes sure that the tenant's policy is known."""
