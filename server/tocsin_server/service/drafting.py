"""What a broadcast drafts: once for each class of recipients, and for those that are personal one by one."""

import asyncio
from collections.abc import Sequence
from random import Random

from tocsin_server.domain.commands import (
    ChunkReceipt,
    ClassDraft,
    ExpandBroadcast,
    PlanClasses,
    ShownContent,
    StoreNotification,
)
from tocsin_server.domain.errors import TocsinError, Unavailable
from tocsin_server.domain.ids import RANDOM_BITS, notification_id, recipient_hash
from tocsin_server.domain.recipient import RecipientFacts
from tocsin_server.domain.sending import draft
from tocsin_server.domain.value import replace
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.ports import BroadcastReader, Clock, Codec, DueBroadcast
from tocsin_server.service.templates import Templates

_DRAFTS_AT_ONE_GO = 32
"""A few milliseconds of work, after which other calls have their turn."""


class BroadcastDrafts:
    """Drafts as Send does, from the same facts."""

    def __init__(
        self, reader: BroadcastReader, facts: SendFacts, templates: Templates, codec: Codec, clock: Clock
    ) -> None:
        self._reader = reader
        self._facts = facts
        self._templates = templates
        self._codec = codec
        self._clock = clock
        self._random = Random()  # noqa: S311  # an id is no secret

    async def of_classes(self, due: DueBroadcast, ids: Sequence[int]) -> PlanClasses:
        """The drafts of classes, to be settled. Raises StorageUnavailable."""
        broadcast, content = due.broadcast, due.content
        known = await self._facts.know(broadcast.tenant)
        classes = await self._reader.classes(broadcast.tenant, ids)
        drafts = []
        for count, (id, each) in enumerate(classes.items(), 1):
            facts = known.of_any(broadcast.spec.category, RecipientFacts(0, each.profile, each.preferences))
            drafted = draft(broadcast.id, broadcast.tenant, broadcast.spec, facts, self._clock.now())
            drafted = replace(drafted, create_time=broadcast.start_time)
            envelope = self._codec.shared_envelope(drafted, broadcast.spec)
            # What a template shows may be about its recipient.
            drafts.append(ClassDraft(id, drafted, content or b"", envelope, content is None))
            if count % _DRAFTS_AT_ONE_GO == 0:
                await asyncio.sleep(0)
        return PlanClasses(tenant=broadcast.tenant, id=broadcast.id, drafts=tuple(drafts))

    async def of_recipients(self, due: DueBroadcast, asked: ChunkReceipt, limit: int) -> ExpandBroadcast:
        """The chunk that asked for its personal recipients, with their drafts. Raises StorageUnavailable."""
        broadcast, recipients = due.broadcast, asked.personal
        tenant = broadcast.tenant
        await self._facts.read(tenant, recipients)
        known = await self._facts.know(tenant)
        commands, undrawn = [], []
        for count, recipient in enumerate(recipients, 1):
            spec = replace(broadcast.spec, recipient=recipient)
            facts, now = known.of(spec.category, recipient), self._clock.now()
            if count % _DRAFTS_AT_ONE_GO == 0:
                await asyncio.sleep(0)
            try:
                shown = (
                    ShownContent(due.content)
                    if due.content is not None
                    else await self._templates.shown(tenant, spec, facts.recipient, now)
                )
            except Unavailable:
                raise
            except TocsinError:
                undrawn.append(recipient)
                continue
            id = notification_id(
                now, recipient_hash(tenant, recipient), self._random.getrandbits(RANDOM_BITS)
            )
            drafted = replace(draft(id, tenant, spec, facts, now), create_time=broadcast.start_time)
            commands.append(
                StoreNotification(
                    tenant=tenant,
                    draft=drafted,
                    spec=spec,
                    shown=shown,
                    envelope=self._codec.envelope(drafted, spec),
                    trace=due.trace,
                    # Read a moment ago: what is said of a recipient meanwhile may as well come after it.
                    any_profile=True,
                )
            )
        return ExpandBroadcast(
            tenant=tenant,
            id=broadcast.id,
            limit=limit,
            upto=asked.upto,
            personal=tuple(commands),
            undrawn=tuple(undrawn),
        )
