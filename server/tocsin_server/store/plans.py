"""Reads for drafts that are settled without being written, and for those that are drafted again."""

from collections.abc import Sequence

from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.sending import Draft, Kept, Plan, settle
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.releases import read_kept
from tocsin_server.store.settling import is_current, load_slots
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import SELECT_INBOXES, inbox_of


class PlanRows:
    """Implements `ports.PlanReader` and `ports.KeptReader`."""

    def __init__(self, pool: ReadPool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def plan(self, draft: Draft, *, any_profile: bool) -> Plan | None:
        """See `ports.PlanReader`."""
        now = self._clock.now()

        def read(connection: Connection) -> Plan | None:
            with connection.snapshot():
                rows = connection.select_in(SELECT_INBOXES, (draft.tenant,), (draft.recipient,))
                slots = load_slots(connection, (draft,), now)
            inbox = inbox_of(draft.tenant, rows[0]) if rows else Inbox(draft.tenant, draft.recipient, b"")
            if not any_profile and not is_current(draft, inbox):
                return None
            return settle(draft, inbox, slots.get((draft.tenant, draft.recipient), ()), now)

        return await self._pool.run(read)

    async def kept(self, tenant: str, ids: Sequence[bytes], until: Micros) -> list[Kept]:
        """See `ports.KeptReader`."""

        def read(connection: Connection) -> list[Kept]:
            with connection.snapshot():
                return read_kept(connection, tenant, ids, until)

        return await self._pool.run(read)
