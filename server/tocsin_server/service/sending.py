"""Send, SendBatch and SendStream: specs to drafts, drafts to the writer."""

from collections.abc import Sequence
from random import Random

from tocsin_server.domain.access import Principal
from tocsin_server.domain.commands import Answer, RequestKey, RequestSpace, SendReceipt, StoreNotification
from tocsin_server.domain.errors import MessageTooLarge, TocsinError
from tocsin_server.domain.ids import RANDOM_BITS, notification_id, recipient_hash
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.sending import UNDEFINED_CATEGORY, draft
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.ports import Clock, Codec, Writer
from tocsin_server.service.rates import Rates


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
    content: SentContent


class SendResult(Value, frozen=True):
    """What became of one spec; the cursor is empty when there is no entry."""

    receipt: SendReceipt
    cursor: str
    replayed: bool


class Sending:
    """Takes notifications from senders."""

    def __init__(
        self,
        writer: Writer,
        codec: Codec,
        cursors: Cursors,
        clock: Clock,
        rates: Rates,
        max_content_bytes: int,
    ) -> None:
        self._writer = writer
        self._codec = codec
        self._cursors = cursors
        self._clock = clock
        self._rates = rates
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
    ) -> list[SendResult | TocsinError]:
        """What became of each spec, in their order; one that fails does not touch its neighbours."""
        now = self._clock.now()
        trace = self._codec.trace(trace_parent)
        outcomes: list[SendResult | TocsinError | None] = [None] * len(requests)
        commands: list[StoreNotification] = []
        places: list[int] = []
        for place, request in enumerate(requests):
            try:
                self._rates.take(principal.tenant, 1)
                commands.append(self._command(principal, request, trace, now))
                places.append(place)
            except TocsinError as error:
                # Its traceback would hold this frame, which holds it.
                outcomes[place] = error.with_traceback(None)
        answers = await self._writer.submit(commands, deadline=deadline) if commands else []
        for place, command, answer in zip(places, commands, answers, strict=True):
            outcomes[place] = answer if isinstance(answer, TocsinError) else self._result(command, answer)
        return outcomes  # type: ignore[return-value]  # every place is filled by now

    def _command(
        self, principal: Principal, request: SendRequest, trace: bytes, now: Micros
    ) -> StoreNotification:
        spec = request.spec
        principal.require_recipient(spec.recipient)
        principal.require_category(spec.category)
        tenant = principal.tenant
        id = notification_id(
            now, recipient_hash(tenant, spec.recipient), self._random.getrandbits(RANDOM_BITS)
        )
        drafted = draft(id, tenant, spec, UNDEFINED_CATEGORY, now)
        content = request.content.shown
        if len(content) > self._max_content_bytes:
            raise MessageTooLarge("The content is larger than allowed.", limit=self._max_content_bytes)
        return StoreNotification(
            tenant=tenant,
            request=self._request_key(request) if request.request_id else None,
            draft=drafted,
            content=content,
            envelope=self._codec.envelope(drafted, spec),
            trace=trace,
        )

    def _request_key(self, request: SendRequest) -> RequestKey:
        meaning = (request.spec, request.content.sent)
        return RequestKey(RequestSpace.SEND, request.request_id, self._codec.fingerprint(meaning))

    def _result(self, command: StoreNotification, answer: Answer[SendReceipt]) -> SendResult:
        receipt = answer.receipt
        cursor = ""
        if receipt.incarnation is not None:
            recipient = command.draft.recipient
            cursor = self._cursors.token(command.tenant, recipient, receipt.incarnation, receipt.revision)
        return SendResult(receipt, cursor, answer.replayed)
