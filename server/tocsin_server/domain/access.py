"""Who a caller is and what that allows."""

from enum import StrEnum

from tocsin_server.domain.errors import CategoryNotAllowed, RecipientNotAllowed, ScopeMissing
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value

DEFAULT_TENANT = "default"


class Scope(StrEnum):
    """What a key may do."""

    SEND = "send"
    NOTIFICATIONS_READ = "notifications:read"
    INBOX_READ = "inbox:read"
    INBOX_WRITE = "inbox:write"
    RECIPIENTS_READ = "recipients:read"
    RECIPIENTS_WRITE = "recipients:write"
    PREFERENCES_READ = "preferences:read"
    PREFERENCES_WRITE = "preferences:write"
    CATEGORIES_READ = "categories:read"
    CATEGORIES_WRITE = "categories:write"
    """Categories, and what the tenant prefers for its recipients."""
    ADMIN = "admin"
    """All of the above within the tenant, its keys and sessions."""
    OPERATOR = "operator"
    """Tenants and the server itself."""


END_USER_SCOPES = frozenset(
    {Scope.INBOX_READ, Scope.INBOX_WRITE, Scope.PREFERENCES_READ, Scope.PREFERENCES_WRITE}
)


class Principal(Value, frozen=True):
    """A caller whose credentials were found good."""

    tenant: str
    name: str
    """The API key's id or the token's subject, for logs and lists; empty for a caller without a key."""
    scopes: frozenset[Scope]
    recipients: tuple[str, ...] = ()
    """Patterns of the recipients it may act for; empty: all."""
    categories: tuple[str, ...] = ()
    """Patterns of the categories it may use; empty: all."""
    expire_time: Micros | None = None
    end_user: bool = False
    """Holds an end user's token: sees no trace context."""

    def require_scope(self, scope: Scope) -> None:
        """Raises ScopeMissing unless the caller has the scope; `admin` has every one but `operator`."""
        if scope not in self.scopes and (scope is Scope.OPERATOR or Scope.ADMIN not in self.scopes):
            raise ScopeMissing(scope=scope)

    def require_recipient(self, recipient: str) -> None:
        """Raises RecipientNotAllowed unless the caller may act for the recipient."""
        if self.recipients and not matches(self.recipients, recipient):
            raise RecipientNotAllowed(recipient=recipient)

    def require_category(self, category: str) -> None:
        """Raises CategoryNotAllowed unless the caller may use the category."""
        if self.categories and not matches(self.categories, category):
            raise CategoryNotAllowed(category=category)


NOBODY = Principal("", "", frozenset())
"""A caller who has not said who they are: may do nothing by that."""


def matches(patterns: tuple[str, ...], value: str) -> bool:
    """Whether one of the patterns is the value, or ends in `*` and begins it."""
    return any(
        value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern for pattern in patterns
    )


class ApiKey(Value, frozen=True):
    """An API key as it is kept: without its secret."""

    id: str
    tenant: str
    display_name: str
    scopes: tuple[Scope, ...]
    recipients: tuple[str, ...]
    categories: tuple[str, ...]
    create_time: Micros
    expire_time: Micros | None = None
    revoke_time: Micros | None = None

    def principal(self) -> Principal:
        """Who calls with this key."""
        return Principal(
            self.tenant, self.id, frozenset(self.scopes), self.recipients, self.categories, self.expire_time
        )
