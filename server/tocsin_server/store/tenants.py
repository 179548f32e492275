"""Tenants: CreateTenant, ChangeTenant and EraseTenant, and what is read about them."""

from collections.abc import Sequence
from typing import Any

from msgspec import msgpack

from tocsin_server.domain.commands import ChangeTenant, CreateTenant, EraseTenant, SweepReceipt
from tocsin_server.domain.errors import TenantExists, TenantNotFound, TocsinError
from tocsin_server.domain.tenant import Quotas, Tenant, TenantState
from tocsin_server.domain.value import replace
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import Transaction

_SELECT = "SELECT name, display_name, state, quotas, create_time FROM tenants"

_INSERT = """
    INSERT INTO tenants (name, display_name, state, quotas, create_time) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""

_UPDATE = "UPDATE tenants SET state = ?, quotas = ? WHERE name = ?"

_DELETE_SHOWN = tuple(
    f"""
    DELETE FROM {table} WHERE pk IN (SELECT pk FROM {table} WHERE tenant = :tenant LIMIT :limit)
    RETURNING {content}"""
    for table, content in (
        ("notifications", "content_id"),
        ("deliveries", "body_id"),
        ("broadcast_classes", "content_id"),
    )
)
"""What shows contents, which go with it."""

# Each walks an index that begins with the tenant. Keys go with the last rows: until then they are refused as those of a
# tenant that is being deleted, rather than as unknown.
_DELETE_ROWS = tuple(
    f"""
    DELETE FROM {table} WHERE tenant = :tenant
        AND ({key}) IN (SELECT {key} FROM {table} WHERE tenant = :tenant LIMIT :limit)"""
    for table, key in (
        ("events", "pk"),
        ("timers", "pk"),
        ("consumer_positions", "tenant, consumer, recipient, filter"),
        ("throttle_slots", "tenant, recipient, due_time, notification_id, channel"),
        ("inboxes", "tenant, recipient"),
        ("recipients", "tenant, recipient"),
        ("broadcast_exceptions", "broadcast_pk, recipient"),
        ("broadcasts", "pk"),
        ("topic_members", "topic_id, recipient, create_time"),
        ("topics", "id"),
        ("recipient_classes", "id"),
        ("categories", "tenant, name"),
        ("tenant_policies", "tenant"),
        ("template_versions", "tenant, name, version"),
        ("templates", "tenant, name"),
        ("requests", "pk"),
        ("api_keys", "id"),
    )
)

_decode_quotas = msgpack.Decoder(Quotas).decode


def create_tenants(transaction: Transaction, commands: Sequence[CreateTenant]) -> list[Tenant | TocsinError]:
    """Creates each."""
    return [_create(transaction, command) for command in commands]


def change_tenants(transaction: Transaction, commands: Sequence[ChangeTenant]) -> list[Tenant | TocsinError]:
    """Changes each."""
    return [_change(transaction, command) for command in commands]


def erase_tenants(transaction: Transaction, commands: Sequence[EraseTenant]) -> list[SweepReceipt]:
    """Erases a chunk for each command."""
    return [_erase(transaction, command) for command in commands]


def _create(transaction: Transaction, command: CreateTenant) -> Tenant | TocsinError:
    tenant = Tenant(command.name, command.display_name, TenantState.ACTIVE, command.quotas, transaction.now)
    row = (
        tenant.name,
        tenant.display_name,
        int(tenant.state),
        msgpack.encode(tenant.quotas),
        tenant.create_time,
    )
    if not transaction.connection.execute(_INSERT, row).rowcount:
        return TenantExists(tenant=command.name)
    transaction.credentials_changed = True
    return tenant


def _change(transaction: Transaction, command: ChangeTenant) -> Tenant | TocsinError:
    before = _locked(transaction.connection, command.name)
    if before is None:
        return TenantNotFound(tenant=command.name)
    if before.state is TenantState.DELETING:
        # There is no way back, and nothing more to be said about it than once again that it is to go.
        return before if command.state is TenantState.DELETING else TenantNotFound(tenant=command.name)
    quotas = before.quotas
    if command.quotas is not None:
        quotas = replace(quotas, **{name: getattr(command.quotas, name) for name in command.quota_fields})
    after = replace(before, state=command.state or before.state, quotas=quotas)
    transaction.connection.execute(_UPDATE, (int(after.state), msgpack.encode(quotas), command.name))
    transaction.credentials_changed = True
    return after


def _erase(transaction: Transaction, command: EraseTenant) -> SweepReceipt:
    connection = transaction.connection
    tenant = _locked(connection, command.name)
    if tenant is None or tenant.state is not TenantState.DELETING:
        return SweepReceipt(0)
    erased = 0
    for statement in _DELETE_SHOWN:
        left = {"tenant": command.name, "limit": command.limit - erased}
        contents = connection.execute(statement, left).fetchall()
        ids = [id for (id,) in contents if id is not None]
        connection.rows_in("DELETE FROM contents WHERE id {in_keys}", (), ids)
        erased += len(contents)
    for statement in _DELETE_ROWS:
        if erased >= command.limit:
            return SweepReceipt(erased, more=True)
        erased += connection.execute(
            statement, {"tenant": command.name, "limit": command.limit - erased}
        ).rowcount
    if erased:
        # What a statement waited for may have left rows that those before it did not see.
        return SweepReceipt(erased, more=True)
    connection.execute("DELETE FROM tenants WHERE name = ?", (command.name,))
    transaction.credentials_changed = True
    return SweepReceipt(0)


class TenantRows:
    """Implements `ports.TenantReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def tenants(self, after: str, limit: int) -> list[Tenant]:
        """See `ports.TenantReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(
                f"{_SELECT} WHERE name > ? ORDER BY name LIMIT ?", (after, limit)
            ).fetchall()
        )
        return [_tenant(*row) for row in rows]

    async def tenant(self, name: str) -> Tenant | None:
        """See `ports.TenantReader`."""
        return await self._pool.run(lambda connection: _read(connection, name))


def _locked(connection: Connection, name: str) -> Tenant | None:
    rows = connection.rows_in(f"{_SELECT} WHERE name {{in_keys}} {{for_update}}", (), (name,))
    return _tenant(*rows[0]) if rows else None


def _read(connection: Connection, name: str) -> Tenant | None:
    row: tuple[Any, ...] | None = connection.execute(f"{_SELECT} WHERE name = ?", (name,)).fetchone()
    return _tenant(*row) if row else None


def _tenant(name: str, display_name: str, state: int, quotas: bytes, create_time: int) -> Tenant:
    return Tenant(name, display_name, TenantState(state), _decode_quotas(quotas), create_time)
