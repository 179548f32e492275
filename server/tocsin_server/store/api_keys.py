"""API keys: CreateApiKey and RevokeApiKey, and what is read about them."""

from collections.abc import Sequence
from typing import Any

from msgspec import json

from tocsin_server.domain.access import ApiKey, Scope
from tocsin_server.domain.commands import CreateApiKey, RevokeApiKey
from tocsin_server.domain.errors import (
    ApiKeyNotFound,
    InvalidFields,
    QuotaExceeded,
    TenantNotFound,
    TocsinError,
    Violation,
)
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import DAY
from tocsin_server.domain.value import replace
from tocsin_server.service.ports import Clock
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import Transaction

_KEY = "id, tenant, display_name, scopes, recipients, categories, create_time, expire_time, revoke_time"

_SELECT = f"SELECT {_KEY} FROM api_keys"

_INSERT = f"INSERT INTO api_keys ({_KEY}, secret_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

_COUNT_ACTIVE = """
    SELECT count(*) FROM api_keys
    WHERE tenant = ? AND revoke_time IS NULL AND (expire_time IS NULL OR expire_time > ?)"""

# Keys of one tenant are made one after the other, so that their number is exact.
_LOCK_TENANT = f"""
    SELECT 1 FROM tenants WHERE name {{in_keys}} AND state <> {int(TenantState.DELETING)} {{for_update}}"""

# The newest key is always among them: as long as there has ever been one, callers without a key stay out.
_SELECT_KNOWN = f"""
    SELECT secret_hash, {_KEY} FROM api_keys
    WHERE revoke_time IS NULL OR revoke_time > ? OR id = (SELECT max(id) FROM api_keys)"""

# Keys are added, revoked and removed, and nothing else: each of these changes the version.
_VERSION = "SELECT count(*), count(revoke_time), max(id) FROM api_keys"

_SCOPES = {str(scope): scope for scope in Scope}


def create_api_keys(transaction: Transaction, commands: Sequence[CreateApiKey]) -> list[ApiKey | TocsinError]:
    """Creates each."""
    return [_create(transaction, command) for command in commands]


def revoke_api_keys(transaction: Transaction, commands: Sequence[RevokeApiKey]) -> list[ApiKey | TocsinError]:
    """Revokes each."""
    return [_revoke(transaction, command) for command in commands]


def _create(transaction: Transaction, command: CreateApiKey) -> ApiKey | TocsinError:
    connection, key, now = transaction.connection, command.key, transaction.now
    # Here and not before the queue: a repeated request gets its first answer, even when the key has expired since.
    if key.expire_time is not None and key.expire_time <= now:
        return InvalidFields([Violation("expire_time", "must be in the future")])
    if not connection.rows_in(_LOCK_TENANT, (), (key.tenant,)):
        return TenantNotFound(tenant=key.tenant)
    limit = transaction.usage.quotas(key.tenant).max_api_keys
    if limit and connection.execute(_COUNT_ACTIVE, (key.tenant, now)).fetchone()[0] >= limit:
        return QuotaExceeded(quota="max_api_keys", limit=limit)
    connection.execute(
        _INSERT,
        (
            key.id,
            key.tenant,
            key.display_name,
            *(json.encode(names).decode() for names in (key.scopes, key.recipients, key.categories)),
            key.create_time,
            key.expire_time,
            key.revoke_time,
            command.secret_hash,
        ),
    )
    transaction.credentials_changed = True
    return key


def _revoke(transaction: Transaction, command: RevokeApiKey) -> ApiKey | TocsinError:
    connection = transaction.connection
    rows = connection.rows_in(f"{_SELECT} WHERE id {{in_keys}} {{for_update}}", (), (command.key_id,))
    if not rows:
        return ApiKeyNotFound(api_key_id=command.key_id)
    key = _key(*rows[0])
    if command.key_tenant is not None and key.tenant != command.key_tenant:
        return ApiKeyNotFound(api_key_id=command.key_id)
    if key.revoke_time is not None:
        return key
    connection.execute("UPDATE api_keys SET revoke_time = ? WHERE id = ?", (transaction.now, key.id))
    transaction.credentials_changed = True
    return replace(key, revoke_time=transaction.now)


class ApiKeyRows:
    """Implements `ports.ApiKeyReader`."""

    def __init__(self, pool: ReadPool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._known: tuple[Any, dict[bytes, ApiKey]] = (None, {})

    async def api_keys(self, tenant: str, before: str | None, limit: int) -> list[ApiKey]:
        """See `ports.ApiKeyReader`."""
        query = f"{_SELECT} WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?"
        highest = before if before is not None else "\U0010ffff"
        rows = await self._pool.run(
            lambda connection: connection.execute(query, (tenant, highest, limit)).fetchall()
        )
        return [_key(*row) for row in rows]

    async def all_active_keys(self) -> dict[bytes, ApiKey]:
        """See `ports.ApiKeyReader`. The very same object while no key was added, revoked or removed: asked for twice a
        second, ten thousand keys would otherwise keep a processor busy.
        """
        self._known = await self._pool.run(self._read_known)
        return self._known[1]

    def _read_known(self, connection: Connection) -> tuple[Any, dict[bytes, ApiKey]]:
        with connection.snapshot():
            version = connection.execute(_VERSION).fetchone()
            if version == self._known[0]:
                return self._known
            rows = connection.execute(_SELECT_KNOWN, (self._clock.now() - DAY,)).fetchall()
        return version, {hash: _key(*row) for hash, *row in rows}


def _key(id: str, tenant: str, display_name: str, *rest: Any) -> ApiKey:
    scopes, recipients, categories, *times = rest
    # A scope that only a newer version knows grants nothing here.
    known = tuple(_SCOPES[name] for name in json.decode(scopes) if name in _SCOPES)
    return ApiKey(
        id,
        tenant,
        display_name,
        known,
        tuple(json.decode(recipients)),
        tuple(json.decode(categories)),
        *times,
    )
