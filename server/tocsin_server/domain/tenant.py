"""Tenants and what they may use."""

from enum import IntEnum

from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, field_names


class TenantState(IntEnum):
    """Where a tenant stands; numbered as in the contract."""

    ACTIVE = 1
    SUSPENDED = 2
    DELETING = 3


class Quotas(Value, frozen=True):
    """What a tenant may use; 0 means the server's default."""

    max_recipients: int = 0
    max_pending: int = 0
    max_api_keys: int = 0
    max_streams: int = 0
    max_queue_bytes: int = 0
    max_sends_per_second: int = 0

    def or_defaults(self, defaults: "Quotas") -> "Quotas":
        """The same with the server's defaults where nothing is set."""
        return Quotas(*(getattr(self, name) or getattr(defaults, name) for name in field_names(Quotas)))


class Tenant(Value, frozen=True):
    """A tenant."""

    name: str
    display_name: str
    state: TenantState
    quotas: Quotas
    create_time: Micros
