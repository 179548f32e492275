"""Broadcasts on a store, carried out as the server does it."""

from collections.abc import Mapping

from tests.support.contents import simple
from tests.support.desk import CODEC, Desk
from tests.support.senders import facts_of, templates_of
from tocsin_server.domain.audience import Audience, EveryoneAudience
from tocsin_server.domain.broadcast import Broadcast, BroadcastState
from tocsin_server.domain.commands import CreateBroadcast, FinishBroadcast
from tocsin_server.domain.ids import RANDOM_BITS, notification_id
from tocsin_server.domain.notification import Channel, NotificationSpec
from tocsin_server.domain.time import Micros
from tocsin_server.service.drafting import BroadcastDrafts
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.ports import Clock
from tocsin_server.store.store import Store
from tocsin_server.workers.broadcast import BroadcastWorker

EVERYONE = EveryoneAudience()


class Station:
    """Broadcasts of one tenant, and the worker that carries them out when it is told to."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tenant: str = "default",
        providers: Mapping[Channel, str] | None = None,
        facts: SendFacts | None = None,
    ) -> None:
        self.desk = Desk(store, clock, tenant)
        self._store = store
        self._clock = clock
        self._made = 0
        self.templates = templates_of(store, clock)
        self.drafts = BroadcastDrafts(
            store.broadcasts,
            facts or facts_of(store, providers),
            self.templates,
            CODEC,
            clock,
            1 << 20,
        )
        self.worker = BroadcastWorker(store.broadcasts, store.writer, self.drafts, clock)

    async def create(
        self,
        audience: Audience = EVERYONE,
        spec: NotificationSpec | None = None,
        *,
        text: str | None = "To all",
        start_time: Micros | None = None,
    ) -> Broadcast:
        """A broadcast that waits to be carried out; without a text its spec names a template."""
        self._made += 1
        id = notification_id(self._clock.now(), 0, self._made % (1 << RANDOM_BITS))
        return await self.desk.submit(
            CreateBroadcast(
                tenant=self.desk.tenant,
                id=id,
                audience=audience,
                spec=spec or NotificationSpec("", "orders"),
                content=None if text is None else simple(text).shown,
                trace=b"",
                start_time=start_time,
            )
        )

    async def cancel(self, broadcast: Broadcast) -> Broadcast:
        """Stops it."""
        return await self.desk.submit(
            FinishBroadcast(tenant=self.desk.tenant, id=broadcast.id, state=BroadcastState.CANCELLED)
        )

    async def carry_out(self) -> None:
        """All that is due."""
        while await self.worker.turn():
            pass

    async def got(self, broadcast: Broadcast) -> Broadcast:
        """As it is now."""
        found = await self._store.broadcasts.broadcast(self.desk.tenant, broadcast.id)
        assert found is not None
        return found

    async def delivered(
        self,
        audience: Audience = EVERYONE,
        spec: NotificationSpec | None = None,
        *,
        text: str | None = "To all",
    ) -> Broadcast:
        """A broadcast that was carried out."""
        broadcast = await self.create(audience, spec, text=text)
        await self.carry_out()
        return await self.got(broadcast)
