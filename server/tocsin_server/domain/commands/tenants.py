"""Tenants and their keys."""

from tocsin_server.domain.access import ApiKey
from tocsin_server.domain.commands.command import Command
from tocsin_server.domain.commands.retention import SweepReceipt
from tocsin_server.domain.tenant import Quotas, Tenant, TenantState


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


class CreateApiKey(Command[ApiKey], frozen=True, kw_only=True):
    """Stores a key by the SHA-256 of its secret. Raises QuotaExceeded, TenantNotFound."""

    key: ApiKey
    secret_hash: bytes


class RevokeApiKey(Command[ApiKey], frozen=True, kw_only=True):
    """Raises ApiKeyNotFound. `key_tenant` None: a key of any tenant (operators)."""

    key_id: str
    key_tenant: str | None
