"""What every store has from its beginning."""

from tocsin_server.domain.access import DEFAULT_TENANT
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import Micros
from tocsin_server.store.facts import ensure_facts
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import EMPTY_PROFILE

_DEFAULT_TENANT = """
    INSERT INTO tenants (name, display_name, state, quotas, create_time) VALUES (?, 'Default', ?, ?, ?)
    ON CONFLICT DO NOTHING"""


def found(connection: Connection, now: Micros) -> None:
    """Writes the default tenant and the store's facts, where they are missing."""
    row = (DEFAULT_TENANT, int(TenantState.ACTIVE), EMPTY_PROFILE, now)
    connection.execute(_DEFAULT_TENANT, row)
    ensure_facts(connection)
