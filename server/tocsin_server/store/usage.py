"""What tenants use of their quotas, as one transaction counts it."""

from dataclasses import dataclass

from msgspec import msgpack

from tocsin_server.domain.errors import QuotaExceeded
from tocsin_server.domain.tenant import Quotas
from tocsin_server.store.sql import Connection

_SELECT = "SELECT quotas, recipient_count, pending_count FROM tenants WHERE name = ?"

_LOCK = "SELECT recipient_count, pending_count FROM tenants WHERE name {in_keys} {for_update}"

_UPDATE = """
    UPDATE tenants SET recipient_count = recipient_count + ?, pending_count = pending_count + ? WHERE name = ?"""

_UNDER_WAY = 10_000
"""More than all other transactions under way can add to what a tenant uses. So close to a quota they wait."""

_ADDED_UNSEEN = 1_024
"""So much a transaction may add without the others seeing it, or ten would be more than that. Then it waits, and they
for it."""

_NO_QUOTAS = msgpack.encode({})


@dataclass(slots=True)
class _Used:
    """What a tenant uses, as far as this transaction knows it."""

    quotas: Quotas
    recipients: int
    pending: int
    exact: bool
    """Nobody else can change it before this transaction ends."""
    new_recipients: int = 0
    new_pending: int = 0


class Usage:
    """Of all tenants that one transaction is about."""

    def __init__(self, connection: Connection, default_quotas: Quotas) -> None:
        self._connection = connection
        self._default_quotas = default_quotas
        self._used: dict[str, _Used] = {}

    def quotas(self, tenant: str) -> Quotas:
        """What the tenant may use."""
        return self._of(tenant).quotas

    def check_recipients(self, tenant: str, count: int) -> None:
        """So many more may come to be. Raises QuotaExceeded."""
        used = self._of(tenant)
        limit, added = used.quotas.max_recipients, used.new_recipients + count
        if self._may_be_passed(used, used.recipients + added, added, limit):
            self._make_exact(tenant, used)
        if count and limit and used.recipients + added > limit:
            raise QuotaExceeded(quota="max_recipients", limit=limit)

    def count_recipients(self, tenant: str, count: int) -> None:
        """So many have come to be, or, negative, are gone."""
        self._of(tenant).new_recipients += count

    def take_pending(self, tenant: str, count: int) -> None:
        """Counts notifications that wait for a time, or, negative, no longer do. Raises QuotaExceeded."""
        used = self._of(tenant)
        limit, added = used.quotas.max_pending, used.new_pending + count
        if count > 0:
            if self._may_be_passed(used, used.pending + added, added, limit):
                self._make_exact(tenant, used)
            if limit and used.pending + added > limit:
                raise QuotaExceeded(quota="max_pending", limit=limit)
        used.new_pending = added

    def write(self) -> None:
        """Adds what was counted to the tenants' rows, in sorted order: others wait for these."""
        for tenant, used in sorted(self._used.items()):
            if used.new_recipients or used.new_pending:
                self._connection.execute(_UPDATE, (used.new_recipients, used.new_pending, tenant))

    def _of(self, tenant: str) -> _Used:
        used = self._used.get(tenant)
        if used is None:
            row = self._connection.execute(_SELECT, (tenant,)).fetchone()
            quotas, recipients, pending = row or (_NO_QUOTAS, 0, 0)
            known = msgpack.decode(quotas, type=Quotas).or_defaults(self._default_quotas)
            used = _Used(known, recipients, pending, exact=not self._connection.row_locks)
            self._used[tenant] = used
        return used

    def _may_be_passed(self, used: _Used, count: int, added: int, limit: int) -> bool:
        """Whether the limit may be, for all that is known; or others have to know of what this transaction adds."""
        return bool(limit) and not used.exact and (count > limit - _UNDER_WAY or added > _ADDED_UNSEEN)

    def _make_exact(self, tenant: str, used: _Used) -> None:
        for used.recipients, used.pending in self._connection.rows_in(_LOCK, (), (tenant,)):
            used.exact = True
