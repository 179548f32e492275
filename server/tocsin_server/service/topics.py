"""Topics: named sets of recipients, kept by senders for broadcasts."""

from collections.abc import Sequence

from tocsin_server.domain.access import Principal, matches
from tocsin_server.domain.commands import (
    AddMembers,
    Answer,
    CreateTopic,
    DeleteTopic,
    MembersReceipt,
    RemoveMembers,
    RequestSpace,
)
from tocsin_server.domain.errors import TopicNotFound
from tocsin_server.domain.topic import Member, Topic
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import Codec, TopicReader, Writer
from tocsin_server.service.submitting import answered, request_key


class Topics:
    """Keeps topics."""

    def __init__(self, writer: Writer, reader: TopicReader, codec: Codec, page_tokens: PageTokens) -> None:
        self._writer = writer
        self._reader = reader
        self._codec = codec
        self._page_tokens = page_tokens

    async def create(
        self,
        principal: Principal,
        request_id: str,
        topic: str,
        display_name: str,
        *,
        deadline: float | None = None,
    ) -> Answer[Topic]:
        """Raises TopicExists."""
        key = request_key(self._codec, RequestSpace.CREATE_TOPIC, request_id, (topic, display_name))
        command = CreateTopic(tenant=principal.tenant, request=key, topic=topic, display_name=display_name)
        return await answered(self._writer, command, deadline)

    async def get(self, principal: Principal, topic: str) -> Topic:
        """Raises TopicNotFound."""
        found = await self._reader.topic(principal.tenant, topic)
        if found is None:
            raise TopicNotFound(topic=topic)
        return found

    async def list(self, principal: Principal, page_size: int, page_token: str) -> Page[Topic]:
        """By name. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        after = self._page_tokens.open("topics", principal.tenant, page_token)
        found = await self._reader.topics(principal.tenant, after or "", size + 1)
        page = found[:size]
        more = len(found) > size
        return Page(page, self._page_tokens.seal("topics", principal.tenant, page[-1].name) if more else "")

    async def delete(
        self, principal: Principal, request_id: str, topic: str, *, deadline: float | None = None
    ) -> Answer[Topic]:
        """Frees the name; the sweeper removes the members. Raises TopicNotFound."""
        key = request_key(self._codec, RequestSpace.DELETE_TOPIC, request_id, (topic,))
        command = DeleteTopic(tenant=principal.tenant, request=key, topic=topic)
        return await answered(self._writer, command, deadline)

    async def add_members(
        self,
        principal: Principal,
        request_id: str,
        topic: str,
        recipients: Sequence[str],
        *,
        deadline: float | None = None,
    ) -> Answer[MembersReceipt]:
        """All of them or none. Raises TopicNotFound, RecipientNotAllowed, QuotaExceeded."""
        distinct = _distinct(principal, recipients)
        key = request_key(self._codec, RequestSpace.ADD_MEMBERS, request_id, (topic, distinct))
        command = AddMembers(tenant=principal.tenant, request=key, topic=topic, recipients=distinct)
        return await answered(self._writer, command, deadline)

    async def remove_members(
        self,
        principal: Principal,
        request_id: str,
        topic: str,
        recipients: Sequence[str],
        *,
        deadline: float | None = None,
    ) -> Answer[MembersReceipt]:
        """All of them or none. Raises TopicNotFound, RecipientNotAllowed."""
        distinct = _distinct(principal, recipients)
        key = request_key(self._codec, RequestSpace.REMOVE_MEMBERS, request_id, (topic, distinct))
        command = RemoveMembers(tenant=principal.tenant, request=key, topic=topic, recipients=distinct)
        return await answered(self._writer, command, deadline)

    async def members(
        self, principal: Principal, topic: str, page_size: int, page_token: str
    ) -> Page[Member]:
        """By key, without those that the caller may not see. Raises TopicNotFound, PageTokenInvalid."""
        size = effective_page_size(page_size)
        asked = (principal.tenant, topic)
        after = self._page_tokens.open("members", asked, page_token)
        found = await self._reader.members(principal.tenant, topic, after or "", size + 1)
        if found is None:
            raise TopicNotFound(topic=topic)
        page = found[:size]
        token = self._page_tokens.seal("members", asked, page[-1].recipient) if len(found) > size else ""
        return Page([member for member in page if _may_see(principal, member.recipient)], token)


def _distinct(principal: Principal, recipients: Sequence[str]) -> tuple[str, ...]:
    """Each once, sorted. Raises RecipientNotAllowed."""
    distinct = tuple(sorted(set(recipients)))
    for recipient in distinct:
        principal.require_recipient(recipient)
    return distinct


def _may_see(principal: Principal, recipient: str) -> bool:
    return not principal.recipients or matches(principal.recipients, recipient)
