"""Erasure: removes, bit by bit, everything of tenants that are being deleted, and members of deleted topics."""

import asyncio

from tocsin_server.domain.commands import SYSTEM_TENANT, Command, EraseTenant, EraseTopic, SweepReceipt
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.tenant import TenantState
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import Committed, TenantReader, TopicReader, Writer

SETTLING_SECONDS = 2.0
"""After a tenant was suspended for good: by then every server refuses it, and what it had under way is written."""

TENANTS_PER_READ = 1_000
TOPICS_PER_READ = 1_000


class ErasureWorker:
    """Run `run` as a task."""

    def __init__(
        self, reader: TenantReader, topics: TopicReader, writer: Writer, look_interval: Micros
    ) -> None:
        self._reader = reader
        self._topics = topics
        self._writer = writer
        self._look_seconds = look_interval / SECOND
        self._changed = asyncio.Event()

    def __call__(self, committed: Committed) -> None:
        """Looks soon when tenants have changed; a `ports.CommitListener`."""
        if committed.credentials_changed:
            self._changed.set()

    async def run(self) -> None:
        """Looks after every change of a tenant and now and then, for ever."""
        while True:
            await self.sweep()
            try:
                await asyncio.wait_for(self._changed.wait(), self._look_seconds)
            except TimeoutError:
                continue
            self._changed.clear()
            await asyncio.sleep(SETTLING_SECONDS)

    async def sweep(self) -> None:
        """Erases every tenant that is being deleted, and every deleted topic. Raises StorageUnavailable."""
        after = ""
        while page := await self._reader.tenants(after, TENANTS_PER_READ):
            for tenant in page:
                if tenant.state is TenantState.DELETING:
                    await self._erase(EraseTenant(tenant=SYSTEM_TENANT, name=tenant.name))
            after = page[-1].name
        while erasable := await self._topics.erasable_topics(TOPICS_PER_READ):
            for topic_id in erasable:
                await self._erase(EraseTopic(tenant=SYSTEM_TENANT, topic_id=topic_id))

    async def _erase(self, command: Command[SweepReceipt]) -> None:
        """In small transactions, so that others are served in between."""
        more = True
        while more:
            (answer,) = await self._writer.submit((command,))
            if isinstance(answer, TocsinError):
                raise answer
            more = answer.receipt.more
