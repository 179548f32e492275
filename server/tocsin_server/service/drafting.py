"""What a broadcast drafts: once for each class of recipients, and for those that are personal one by one."""

import asyncio
from collections.abc import Sequence
from random import Random

from tocsin_server.domain.broadcast import Broadcast
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
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.recipient import RecipientFacts
from tocsin_server.domain.sending import draft
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import replace
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.ports import BroadcastReader, Clock, Codec, DueBroadcast
from tocsin_server.service.templates import Templates

_DRAFTS_AT_ONE_GO = 32
"""A few milliseconds of work, after which other calls have their turn."""


Basis = tuple[int, int]
"""The versions of a tenant's policy and of a template."""


class BroadcastDrafts:
    """Drafts as Send does, from the same facts."""

    def __init__(
        self,
        reader: BroadcastReader,
        facts: SendFacts,
        templates: Templates,
        codec: Codec,
        clock: Clock,
        max_content_bytes: int,
    ) -> None:
        self._reader = reader
        self._facts = facts
        self._templates = templates
        self._codec = codec
        self._clock = clock
        self._max_content_bytes = max_content_bytes
        self._random = Random()  # noqa: S311  # an id is no secret

    async def basis(self, broadcast: Broadcast) -> Basis:
        """What its classes are drafted by now. Raises StorageUnavailable."""
        known, ref = await self._facts.know(broadcast.tenant), broadcast.spec.template
        template = 0 if ref is None else await self._templates.version(broadcast.tenant, ref)
        return known.policy_version, template

    async def of_classes(self, due: DueBroadcast, ids: Sequence[int]) -> PlanClasses:
        """The drafts of classes, to be settled. Raises StorageUnavailable."""
        broadcast = due.broadcast
        known = await self._facts.know(broadcast.tenant)
        classes = await self._reader.classes(broadcast.tenant, ids)
        drafts = []
        for count, (id, each) in enumerate(classes.items(), 1):
            recipient, now = RecipientFacts(0, each.profile, each.preferences), self._clock.now()
            facts = known.of_any(broadcast.spec.category, recipient)
            drafted = draft(broadcast.id, broadcast.tenant, broadcast.spec, facts, now)
            drafted = replace(drafted, create_time=broadcast.start_time)
            envelope = self._codec.shared_envelope(drafted, broadcast.spec)
            content = await self._shared_content(due, recipient, now)
            drafts.append(ClassDraft(id, drafted, content or b"", envelope, content is None))
            if count % _DRAFTS_AT_ONE_GO == 0:
                await asyncio.sleep(0)
        return PlanClasses(tenant=broadcast.tenant, id=broadcast.id, drafts=tuple(drafts))

    async def of_recipients(self, due: DueBroadcast, asked: ChunkReceipt, limit: int) -> ExpandBroadcast:
        """The chunk that asked for its personal recipients, with their drafts. Raises StorageUnavailable."""
        broadcast, tenant = due.broadcast, due.broadcast.tenant
        await self._facts.read(tenant, asked.personal)
        known = await self._facts.know(tenant)
        commands, undrawn = [], []
        for count, recipient in enumerate(asked.personal, 1):
            if count % _DRAFTS_AT_ONE_GO == 0:
                await asyncio.sleep(0)
            spec = replace(broadcast.spec, recipient=recipient)
            facts, now = known.of(spec.category, recipient), self._clock.now()
            shown = await self._shown(due, spec, facts.recipient, now)
            if shown is None:
                undrawn.append(recipient)
                continue
            random = self._random.getrandbits(RANDOM_BITS)
            id = notification_id(now, recipient_hash(tenant, recipient), random)
            drafted = replace(draft(id, tenant, spec, facts, now), create_time=broadcast.start_time)
            commands.append(
                StoreNotification(
                    tenant=tenant,
                    draft=drafted,
                    spec=spec,
                    shown=shown.overridden_by(spec.overrides),
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

    async def _shared_content(
        self, due: DueBroadcast, recipient: RecipientFacts, now: Micros
    ) -> bytes | None:
        """What all of a class are shown; None: that is not the same for all, or cannot be shown to some."""
        spec = due.broadcast.spec
        if due.content is not None or spec.template is None:
            return due.content
        try:
            tenant, locale = due.broadcast.tenant, recipient.profile.locale
            personal, _ = await self._templates.depends(tenant, spec.template, locale)
        except Unavailable:
            raise
        except TocsinError:
            return None
        shown = None if personal else await self._shown(due, spec, recipient, now)
        return None if shown is None else shown.content

    async def _shown(
        self, due: DueBroadcast, spec: NotificationSpec, recipient: RecipientFacts, now: Micros
    ) -> ShownContent | None:
        """What a recipient is shown; None: nothing can be. Raises StorageUnavailable."""
        if due.content is not None:
            return ShownContent(due.content)
        try:
            shown = await self._templates.shown(due.broadcast.tenant, spec, recipient, now)
        except Unavailable:
            raise
        except TocsinError:
            return None
        return shown if shown.size <= self._max_content_bytes else None
