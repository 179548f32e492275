"""Broadcasts as senders see them: created, looked at, stopped."""

from random import Random

from tocsin_server.domain.access import Principal, matches
from tocsin_server.domain.audience import Audience, FilterAudience, parse_filter
from tocsin_server.domain.broadcast import Broadcast, BroadcastState
from tocsin_server.domain.commands import Answer, CreateBroadcast, FinishBroadcast, RequestSpace
from tocsin_server.domain.errors import BroadcastNotFound, MessageTooLarge, NotFound, RecipientNotAllowed
from tocsin_server.domain.ids import RANDOM_BITS, format_id, notification_id, parse_id
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.value import replace
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import BroadcastReader, Clock, Codec, Writer
from tocsin_server.service.sending import SentContent
from tocsin_server.service.submitting import answered, recalled, request_key
from tocsin_server.service.templates import Templates


class Broadcasts:
    """Takes broadcasts from senders; the worker carries them out."""

    def __init__(
        self,
        writer: Writer,
        reader: BroadcastReader,
        templates: Templates,
        codec: Codec,
        page_tokens: PageTokens,
        clock: Clock,
        max_content_bytes: int,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._templates = templates
        self._codec = codec
        self._page_tokens = page_tokens
        self._clock = clock
        self._max_content_bytes = max_content_bytes
        self._random = Random()  # noqa: S311  # an id is no secret

    async def create(
        self,
        principal: Principal,
        request_id: str,
        audience: Audience,
        spec: NotificationSpec,
        content: SentContent | None,
        *,
        trace_parent: str = "",
        deadline: float | None = None,
    ) -> Answer[Broadcast]:
        """Raises FilterInvalid, TopicNotFound, TemplateNotFound, TemplateVersionNotFound, RecipientNotAllowed,
        CategoryNotAllowed, MessageTooLarge, QuotaExceeded.
        """
        principal.require_category(spec.category)
        if principal.recipients:
            raise RecipientNotAllowed("The API key or token may not act for all recipients.")
        if isinstance(audience, FilterAudience):
            parse_filter(audience.filter)
        if content is not None and len(content.shown) > self._max_content_bytes:
            raise MessageTooLarge("The content is larger than allowed.", limit=self._max_content_bytes)
        asked = (audience, spec, content.sent if content is not None else b"")
        key = request_key(self._codec, RequestSpace.CREATE_BROADCAST, request_id, asked)
        if spec.template is not None:
            try:
                await self._templates.depends(principal.tenant, spec.template, "")
            except NotFound:
                # It may have been there when the same was asked for first.
                first: Answer[Broadcast] | None = await recalled(
                    self._writer, principal.tenant, key, deadline
                )
                if first is None:
                    raise
                return first
        now = self._clock.now()
        delay = spec.deliver_delay
        command = CreateBroadcast(
            tenant=principal.tenant,
            request=key,
            id=notification_id(now, 0, self._random.getrandbits(RANDOM_BITS)),
            audience=audience,
            # That it begins then is all that is left of its time.
            spec=replace(spec, deliver_time=None, deliver_delay=None),
            content=content.shown if content is not None else None,
            trace=self._codec.trace(trace_parent),
            start_time=spec.deliver_time if delay is None else now + delay,
        )
        return await answered(self._writer, command, deadline)

    async def get(self, principal: Principal, id: bytes) -> Broadcast:
        """Raises BroadcastNotFound."""
        found = await self._reader.broadcast(principal.tenant, id)
        if found is None:
            raise BroadcastNotFound(broadcast_id=format_id(id))
        principal.require_category(found.spec.category)
        return found

    async def list(self, principal: Principal, page_size: int, page_token: str) -> Page[Broadcast]:
        """The latest first, without categories that the caller may not use. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        token = self._page_tokens.open("broadcasts", principal.tenant, page_token)
        before = None if token is None else parse_id(token)
        found = await self._reader.broadcasts(principal.tenant, before, size + 1)
        page = found[:size]
        more = len(found) > size
        next_token = (
            self._page_tokens.seal("broadcasts", principal.tenant, format_id(page[-1].id)) if more else ""
        )
        return Page([each for each in page if _may_see(principal, each.spec.category)], next_token)

    async def cancel(
        self, principal: Principal, request_id: str, id: bytes, *, deadline: float | None = None
    ) -> Answer[Broadcast]:
        """Raises BroadcastNotFound, BroadcastFinal, CategoryNotAllowed."""
        await self.get(principal, id)
        key = request_key(self._codec, RequestSpace.CANCEL_BROADCAST, request_id, (id,))
        command = FinishBroadcast(tenant=principal.tenant, request=key, id=id, state=BroadcastState.CANCELLED)
        return await answered(self._writer, command, deadline)


def _may_see(principal: Principal, category: str) -> bool:
    return not principal.categories or matches(principal.categories, category)
