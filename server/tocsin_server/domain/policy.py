"""A tenant's policy: what is decided by besides the spec and the recipient. It changes rarely and has a version."""

from tocsin_server.domain.category import Category
from tocsin_server.domain.preferences import NO_PREFERENCES, Preferences
from tocsin_server.domain.value import Value, field


class TenantPolicy(Value, frozen=True):
    """A tenant's policy as it was at one moment."""

    version: int = 0
    """Rises with every change, by the time, so that none comes again when a tenant is erased and created anew; 0:
    nothing was ever said."""
    categories: dict[str, Category] = field(default_factory=dict)
    """Those that are defined, by name."""
    defaults: Preferences = NO_PREFERENCES
    """What holds for recipients who have not said otherwise."""
    throttled: bool = False
    """Whether any category has a throttle."""

    def category(self, name: str) -> Category:
        """What holds for a category, defined or not."""
        return self.categories.get(name) or Category(name)


def tenant_policy(version: int, defaults: Preferences, categories: list[Category]) -> TenantPolicy:
    """The policy that consists of these."""
    return TenantPolicy(
        version,
        {category.name: category for category in categories},
        defaults,
        any(category.throttles for category in categories),
    )
