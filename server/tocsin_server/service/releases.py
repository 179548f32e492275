"""What was kept for a time and is due: drafted anew from what holds now, and handed to the writer."""

from collections.abc import Sequence

import structlog

from tocsin_server.domain.bodies import overridden
from tocsin_server.domain.commands import Answer, FireTimer, ShownContent, Timer, TimerKind
from tocsin_server.domain.errors import DraftOutdated, TocsinError, Unavailable
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.sending import Facts, Kept, draft_again
from tocsin_server.domain.time import Micros
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.ports import Clock, KeptReader, Writer
from tocsin_server.service.templates import Templates

_DRAFTED_ANEW = frozenset((TimerKind.DELIVER, TimerKind.RELEASE))

log = structlog.get_logger(__name__)


class Releases:
    """Lets timers take effect."""

    def __init__(
        self, writer: Writer, reader: KeptReader, clock: Clock, facts: SendFacts, templates: Templates
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._facts = facts
        self._templates = templates

    async def fire(self, timers: Sequence[Timer]) -> list[Answer[bool] | TocsinError]:
        """What became of each timer, in their order. Raises StorageUnavailable."""
        answers = await self._fire(timers)
        outdated = [place for place, answer in enumerate(answers) if isinstance(answer, DraftOutdated)]
        if outdated:
            again = await self._fire([timers[place] for place in outdated], any_profile=True)
            for place, answer in zip(outdated, again, strict=True):
                answers[place] = answer
        return answers

    async def _fire(
        self, timers: Sequence[Timer], *, any_profile: bool = False
    ) -> list[Answer[bool] | TocsinError]:
        now = self._clock.now()
        kept = await self._kept([timer for timer in timers if timer.kind in _DRAFTED_ANEW], now)
        commands = []
        for timer in timers:
            found = kept.get((timer.tenant, timer.notification_id))
            if found is None:
                commands.append(FireTimer(tenant=timer.tenant, timer=timer))
            else:
                commands.append(await self._command(timer, *found, now, any_profile=any_profile))
        return await self._writer.submit(commands)

    async def _kept(
        self, timers: Sequence[Timer], now: Micros
    ) -> dict[tuple[str, bytes], tuple[Kept, Facts]]:
        """What the timers are about, by tenant and notification, and what it is drafted from."""
        by_tenant: dict[str, list[Timer]] = {}
        for timer in timers:
            by_tenant.setdefault(timer.tenant, []).append(timer)
        found: dict[tuple[str, bytes], tuple[Kept, Facts]] = {}
        for tenant, of_tenant in by_tenant.items():
            ids = [timer.notification_id for timer in of_tenant]
            kept = await self._reader.kept(tenant, ids, now)
            await self._facts.read(tenant, {each.spec.recipient for each in kept})
            known = await self._facts.know(tenant)
            found |= {
                (tenant, each.id): (each, known.of(each.spec.category, each.spec.recipient)) for each in kept
            }
        return found

    async def _command(
        self, timer: Timer, kept: Kept, facts: Facts, now: Micros, *, any_profile: bool
    ) -> FireTimer:
        return FireTimer(
            tenant=timer.tenant,
            timer=timer,
            draft=draft_again(kept, timer.tenant, facts, now),
            shown=await self._shown(timer.tenant, kept, facts, now),
            bodies=overridden((), kept.spec.overrides) if kept.scheduled else (),
            until=now,
            any_profile=any_profile,
        )

    async def _shown(self, tenant: str, kept: Kept, facts: Facts, now: Micros) -> ShownContent | None:
        """A template as it renders now; None: what was kept is shown."""
        if not kept.scheduled or kept.spec.template is None:
            return None
        try:
            shown = await self._templates.shown(tenant, kept.spec, facts.recipient, now)
            return shown.overridden_by(kept.spec.overrides)
        except Unavailable:
            raise
        except TocsinError as error:
            log.warning(
                "a scheduled notification's template does not render any more: it is shown as it was accepted",
                tenant=tenant,
                notification_id=format_id(kept.id),
                reason=error.reason,
            )
            return None
