"""Recipients: their profiles, and the two things that the law wants of personal data: erasing and handing it out."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from tocsin_server.domain.access import Principal, matches
from tocsin_server.domain.commands import Answer, EraseReceipt, EraseRecipient, RequestSpace, UpsertRecipient
from tocsin_server.domain.entry import NotificationFilter, StoredEntry
from tocsin_server.domain.errors import RecipientNotAllowed, RecipientNotFound, TocsinError
from tocsin_server.domain.inbox import Counts
from tocsin_server.domain.notification import Event
from tocsin_server.domain.preferences import NO_PREFERENCES, Preferences
from tocsin_server.domain.recipient import UNKNOWN_RECIPIENT, Profile, Recipient
from tocsin_server.domain.time import Micros
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import Codec, InboxReader, NotificationReader, RecipientReader, Writer
from tocsin_server.service.preferences import visible
from tocsin_server.service.submitting import answered, request_key

_EXPORTED_PER_READ = 200


@dataclass(frozen=True, slots=True)
class UpsertRequest:
    """One recipient to create or change; an empty id: not repeatable."""

    request_id: str
    recipient: str
    profile: Profile
    fields: frozenset[str]
    """Which fields of the profile are set."""


@dataclass(frozen=True, slots=True)
class ExportedNotification:
    """One notification, whatever its state, and what happened to it, oldest first."""

    entry: StoredEntry
    timeline: list[Event]


@dataclass(frozen=True, slots=True)
class ExportedPosition:
    """How far a named consumer has got."""

    consumer: str
    cursor: str
    update_time: Micros


ExportPart = Recipient | Counts | Preferences | ExportedNotification | ExportedPosition


class Recipients:
    """Keeps profiles."""

    def __init__(
        self,
        writer: Writer,
        reader: RecipientReader,
        inboxes: InboxReader,
        notifications: NotificationReader,
        codec: Codec,
        cursors: Cursors,
        page_tokens: PageTokens,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._inboxes = inboxes
        self._notifications = notifications
        self._codec = codec
        self._cursors = cursors
        self._page_tokens = page_tokens

    async def upsert(
        self, principal: Principal, requests: Sequence[UpsertRequest], *, deadline: float | None = None
    ) -> list[Answer[Recipient] | TocsinError]:
        """What became of each, in their order; one that fails does not touch its neighbours."""
        outcomes: dict[int, Answer[Recipient] | TocsinError] = {}
        commands: dict[int, UpsertRecipient] = {}
        for place, request in enumerate(requests):
            try:
                commands[place] = self._command(principal, request)
            except RecipientNotAllowed as error:
                outcomes[place] = error
        if commands:
            answers = await self._writer.submit(list(commands.values()), deadline=deadline)
            outcomes.update(zip(commands, answers, strict=True))
        return [outcomes[place] for place in range(len(requests))]

    async def get(self, principal: Principal, key: str) -> Recipient:
        """One recipient. Raises RecipientNotFound."""
        principal.require_recipient(key)
        recipient = await self._reader.recipient(principal.tenant, key)
        if recipient is None:
            raise RecipientNotFound(recipient=key)
        return recipient

    async def list(
        self, principal: Principal, key_prefix: str, page_size: int, page_token: str
    ) -> Page[Recipient]:
        """By key, those that begin with the prefix, without what the caller may not see. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        asked = (principal.tenant, key_prefix)
        after = self._page_tokens.open("recipients", asked, page_token)
        found = await self._reader.recipients(principal.tenant, key_prefix, after or "", size + 1)
        page = found[:size]
        token = self._page_tokens.seal("recipients", asked, page[-1].key) if len(found) > size else ""
        return Page([recipient for recipient in page if _may_see(principal, recipient.key)], token)

    async def delete(
        self, principal: Principal, request_id: str, key: str, *, deadline: float | None = None
    ) -> Answer[EraseReceipt]:
        """Erases everything of a recipient, chunk by chunk, and returns after the last. Raises RecipientNotFound.

        What was erased before the deadline passed stays erased; the same request again erases the rest.
        """
        principal.require_recipient(key)
        request = request_key(self._codec, RequestSpace.DELETE_RECIPIENT, request_id, (key,))
        erased = 0
        while True:
            command = EraseRecipient(
                tenant=principal.tenant, request=request, recipient=key, erased_before=erased
            )
            answer = await answered(self._writer, command, deadline)
            if not answer.receipt.more:
                return answer
            erased = answer.receipt.erased_count

    async def export(self, principal: Principal, key: str) -> AsyncIterator[ExportPart]:
        """Everything that is stored about a recipient: profile, counts, preferences, notifications newest first,
        positions.

        Read part by part, so what happens meanwhile may or may not be in it. Leaves out categories that the caller may
        not use. Raises RecipientNotFound.
        """
        yield await self.get(principal, key)
        tenant = principal.tenant
        inbox = (await self._inboxes.heads(tenant, [key])).get(key)
        yield inbox.counts if inbox is not None else Counts()
        facts = (await self._reader.profiles(tenant, (key,))).get(key, UNKNOWN_RECIPIENT)
        if facts.preferences != NO_PREFERENCES:
            yield visible(principal, facts.preferences)
        async for notification in self._exported_notifications(tenant, key):
            if not principal.categories or matches(principal.categories, notification.entry.category):
                yield notification
        for position in await self._reader.consumer_positions(tenant, key):
            mint = self._cursors.mint(tenant, key, position.incarnation, position.filter)
            yield ExportedPosition(position.consumer, mint.token(position.revision), position.update_time)

    async def _exported_notifications(self, tenant: str, key: str) -> AsyncIterator[ExportedNotification]:
        before: bytes | None = None
        while True:
            entries = await self._notifications.notifications(
                tenant, NotificationFilter(recipient=key), before, _EXPORTED_PER_READ
            )
            timelines: dict[bytes, list[Event]] = {entry.id: [] for entry in entries}
            for step in await self._reader.timelines(tenant, list(timelines)) if entries else ():
                timelines[step.notification_id].append(step.event)
            for entry in entries:
                yield ExportedNotification(entry, timelines[entry.id])
            if len(entries) < _EXPORTED_PER_READ:
                return
            before = entries[-1].id

    def _command(self, principal: Principal, request: UpsertRequest) -> UpsertRecipient:
        principal.require_recipient(request.recipient)
        asked = (request.recipient, request.profile, tuple(sorted(request.fields)))
        return UpsertRecipient(
            tenant=principal.tenant,
            request=request_key(self._codec, RequestSpace.UPSERT_RECIPIENT, request.request_id, asked),
            recipient=request.recipient,
            profile=request.profile,
            fields=request.fields,
        )


def _may_see(principal: Principal, key: str) -> bool:
    return not principal.recipients or matches(principal.recipients, key)
