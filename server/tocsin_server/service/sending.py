"""Send, SendBatch, SendStream and PlanSend: specs to drafts, drafts to the writer, or to what it would do."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from tocsin_server.domain.access import Principal
from tocsin_server.domain.commands import (
    Answer,
    Command,
    Recall,
    RequestKey,
    RequestSpace,
    SendReceipt,
    ShownContent,
    StoreNotification,
)
from tocsin_server.domain.errors import DraftOutdated, MessageTooLarge, TocsinError
from tocsin_server.domain.ids import RANDOM_BITS, notification_id, recipient_hash
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.sending import Facts, Plan, draft
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.facts import SendFacts
from tocsin_server.service.ports import Clock, Codec, PlanReader, Writer
from tocsin_server.service.rates import Rates
from tocsin_server.service.templates import Templates


class SentContent(Value, frozen=True):
    """What is to be shown, encoded where it came in: nothing here looks into it."""

    sent: bytes
    """As the sender said it."""
    shown: bytes
    """The notification's field `content`, with its plain text."""


class SendRequest(Value, frozen=True):
    """One notification and what makes sending it safe to repeat; an empty id: not repeatable."""

    request_id: str
    spec: NotificationSpec
    content: SentContent | None
    """None: the spec names a template."""


class SendResult(Value, frozen=True):
    """What became of one spec; the cursor is empty when there is no entry."""

    receipt: SendReceipt
    cursor: str
    replayed: bool


class SendPlan(Value, frozen=True):
    """What a Send would do now, and what it would show."""

    plan: Plan
    shown: ShownContent


class Sending:
    """Takes notifications from senders."""

    def __init__(
        self,
        writer: Writer,
        reader: PlanReader,
        codec: Codec,
        cursors: Cursors,
        clock: Clock,
        rates: Rates,
        facts: SendFacts,
        templates: Templates,
        max_content_bytes: int,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._codec = codec
        self._cursors = cursors
        self._clock = clock
        self._rates = rates
        self._facts = facts
        self._templates = templates
        self._max_content_bytes = max_content_bytes
        # Seeded by the system once. An id is no secret, and asking the system for each gives other threads the floor.
        self._random = Random()  # noqa: S311

    async def send(
        self,
        principal: Principal,
        requests: Sequence[SendRequest],
        *,
        trace_parent: str = "",
        deadline: float | None = None,
        on_queued: Callable[[], object] = lambda: None,
    ) -> list[SendResult | TocsinError]:
        """What became of each spec, in their order; one that fails does not touch its neighbours.

        What is sent once `on_queued` was called comes after this. It is not called if this fails before.
        """
        tenant, trace = principal.tenant, self._codec.trace(trace_parent)
        outcomes: dict[int, SendResult | TocsinError] = {}
        asked: dict[int, SendRequest] = {}
        for place, request in enumerate(requests):
            try:
                self._rates.take(tenant, 1)
                principal.require_recipient(request.spec.recipient)
                principal.require_category(request.spec.category)
                asked[place] = request
            except TocsinError as error:
                # Its traceback would hold this frame, which holds it.
                outcomes[place] = error.with_traceback(None)
        answers = await self._store(tenant, asked, trace, deadline, on_queued)
        outdated = {
            place: asked[place] for place, answer in answers.items() if isinstance(answer, DraftOutdated)
        }
        if outdated:
            await self._facts.read(tenant, {request.spec.recipient for request in outdated.values()})
            answers |= await self._store(tenant, outdated, trace, deadline, any_profile=True)
        outcomes |= {place: self._outcome(tenant, asked[place], answer) for place, answer in answers.items()}
        return [outcomes[place] for place in range(len(requests))]

    async def plan(self, principal: Principal, request: SendRequest) -> SendPlan:
        """What sending it now would do, and why. Writes nothing. Raises what `send` answers."""
        spec, tenant = request.spec, principal.tenant
        principal.require_recipient(spec.recipient)
        principal.require_category(spec.category)
        for any_profile in (False, True):
            await self._facts.read(tenant, (spec.recipient,))
            facts = (await self._facts.know(tenant)).of(spec.category, spec.recipient)
            now = self._clock.now()
            shown = await self._shown(tenant, request, facts, now)
            drafted = draft(self._id(tenant, spec.recipient, now), tenant, spec, facts, now)
            plan = await self._reader.plan(drafted, any_profile=any_profile)
            if plan is not None:
                return SendPlan(plan, shown)
        raise DraftOutdated

    async def _store(
        self,
        tenant: str,
        requests: Mapping[int, SendRequest],
        trace: bytes,
        deadline: float | None,
        on_queued: Callable[[], object] = lambda: None,
        *,
        any_profile: bool = False,
    ) -> dict[int, Answer[SendReceipt] | TocsinError]:
        """Drafts requests, has them stored, and gives what became of each by its place."""
        known = await self._facts.know(tenant, [request.spec for request in requests.values()])
        now = self._clock.now()
        refused: dict[int, TocsinError] = {}
        commands: dict[int, Command[SendReceipt]] = {}
        for place, request in requests.items():
            facts = known.of(request.spec.category, request.spec.recipient)
            try:
                shown = await self._shown(tenant, request, facts, now)
            except TocsinError as error:
                refused[place] = error.with_traceback(None)
                if request.content is None and not any_profile:
                    # What a template lacks may have been said of the recipient since its profile was read.
                    refused[place] = DraftOutdated()
                elif request.request_id:
                    # What cannot be shown any more may have been sent when it could.
                    commands[place] = Recall(tenant=tenant, request=self._request_key(request))
                continue
            commands[place] = self._command(
                tenant, request, facts, shown, trace, now, any_profile=any_profile
            )
        on_queued()
        answers = await self._writer.submit(list(commands.values()), deadline=deadline) if commands else []
        answered = dict(zip(commands, answers, strict=True))
        return answered | {
            place: error
            for place, error in refused.items()
            if isinstance(answered.get(place, error), TocsinError)
        }

    async def _shown(self, tenant: str, request: SendRequest, facts: Facts, now: Micros) -> ShownContent:
        """What is to be shown. Raises MessageTooLarge, and for a template what rendering does."""
        if request.content is not None:
            shown = ShownContent(request.content.shown)
        else:
            shown = await self._templates.shown(tenant, request.spec, facts.recipient, now)
        shown = shown.overridden_by(request.spec.overrides)
        if shown.size > self._max_content_bytes:
            raise MessageTooLarge("The content is larger than allowed.", limit=self._max_content_bytes)
        return shown

    def _command(
        self,
        tenant: str,
        request: SendRequest,
        facts: Facts,
        shown: ShownContent,
        trace: bytes,
        now: Micros,
        *,
        any_profile: bool,
    ) -> StoreNotification:
        spec = request.spec
        drafted = draft(self._id(tenant, spec.recipient, now), tenant, spec, facts, now)
        return StoreNotification(
            tenant=tenant,
            request=self._request_key(request) if request.request_id else None,
            draft=drafted,
            spec=spec,
            shown=shown,
            envelope=self._codec.envelope(drafted, spec),
            trace=trace,
            any_profile=any_profile,
        )

    def _id(self, tenant: str, recipient: str, now: Micros) -> bytes:
        return notification_id(now, recipient_hash(tenant, recipient), self._random.getrandbits(RANDOM_BITS))

    def _request_key(self, request: SendRequest) -> RequestKey:
        meaning = (request.spec, request.content.sent if request.content is not None else b"")
        return RequestKey(RequestSpace.SEND, request.request_id, self._codec.fingerprint(meaning))

    def _outcome(
        self, tenant: str, request: SendRequest, answer: Answer[SendReceipt] | TocsinError
    ) -> SendResult | TocsinError:
        if isinstance(answer, TocsinError):
            return answer
        receipt = answer.receipt
        cursor = ""
        if receipt.incarnation is not None:
            recipient = request.spec.recipient
            cursor = self._cursors.token(tenant, recipient, receipt.incarnation, receipt.revision)
        return SendResult(receipt, cursor, answer.replayed)
