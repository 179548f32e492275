"""The recipients' side of an inbox: listing, counting, marking, interacting, acknowledging."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tocsin_server.domain.access import Principal
from tocsin_server.domain.commands import (
    AcknowledgePositions,
    Answer,
    ByIds,
    ByThread,
    InboxPosition,
    InteractionReceipt,
    MarkEntries,
    RecordInteraction,
    RequestSpace,
    UpTo,
)
from tocsin_server.domain.content import Content, Input, InputKind, InteractiveContent, actions_of
from tocsin_server.domain.cursor import incarnation_in_epoch
from tocsin_server.domain.entry import ConsumerPosition, EntryFilter, StoredEntry
from tocsin_server.domain.errors import (
    ActionNotFound,
    IncarnationChanged,
    InvalidFields,
    RecipientNotFound,
    TocsinError,
    Violation,
)
from tocsin_server.domain.inbox import STATUSES_OF_VIEW, Counts, EntryView, Inbox, InteractionKind, Mark
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.domain.value import replace
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.notifications import PositionResult
from tocsin_server.service.paging import PageTokens, effective_page_size, fitting
from tocsin_server.service.ports import (
    Codec,
    InboxReader,
    NotificationReader,
    SummaryCache,
    Writer,
)
from tocsin_server.service.submitting import answered, recalled, request_key


@dataclass(frozen=True, slots=True)
class EntriesResult:
    """A page of an inbox; cursor and counts on the first page, from the same snapshot."""

    entries: list[StoredEntry]
    next_page_token: str
    cursor: str = ""
    counts: Counts | None = None


@dataclass(frozen=True, slots=True)
class RecipientSummary:
    """Counts of an inbox and the position they belong to; an empty cursor for an unknown recipient."""

    recipient: str
    counts: Counts
    cursor: str


@dataclass(frozen=True, slots=True)
class MarkResult:
    """How many entries changed, and the inbox afterwards."""

    changed_count: int
    cursor: str
    counts: Counts
    replayed: bool


@dataclass(frozen=True, slots=True)
class UpToCursor:
    """Everything whose content is not newer than a cursor."""

    cursor: str


@dataclass(frozen=True, slots=True)
class AcknowledgeResult:
    """The position now recorded, or why it was not."""

    recipient: str
    cursor: str
    error: TocsinError | None = None


class Inboxes:
    """Serves inboxes to their recipients and to those who act for them."""

    def __init__(
        self,
        writer: Writer,
        reader: InboxReader,
        notifications: NotificationReader,
        codec: Codec,
        cursors: Cursors,
        page_tokens: PageTokens,
        cache: SummaryCache | None = None,
    ) -> None:
        """Without a cache every summary is read from its row."""
        self._cache = cache
        self._writer = writer
        self._reader = reader
        self._notifications = notifications
        self._codec = codec
        self._cursors = cursors
        self._page_tokens = page_tokens

    async def entries(
        self,
        principal: Principal,
        recipient: str,
        view: EntryView,
        categories: tuple[str, ...],
        thread: str,
        page_size: int,
        page_token: str,
    ) -> EntriesResult:
        """Newest content first. Raises RecipientNotFound, PageTokenInvalid."""
        principal.require_recipient(recipient)
        filter = EntryFilter(STATUSES_OF_VIEW[view], categories, thread)
        asked = (principal.tenant, recipient, filter)
        position = self._page_tokens.open("entries", asked, page_token)
        before = None if position is None else int(position)
        size = effective_page_size(page_size)
        page = await self._reader.entries(principal.tenant, recipient, filter, before, size)
        if page.inbox is None:
            raise RecipientNotFound(recipient=recipient)
        entries, token = fitting(page.entries), ""
        if page.more or len(entries) < len(page.entries):
            token = self._page_tokens.seal("entries", asked, str(entries[-1].content_revision))
        if before is not None:
            return EntriesResult(entries, token)
        inbox = page.inbox
        cursor = self._cursors.token(principal.tenant, recipient, inbox.incarnation, inbox.revision)
        return EntriesResult(entries, token, cursor, inbox.counts)

    async def summaries(
        self, principal: Principal, recipients: Sequence[str], max_staleness: Micros
    ) -> list[RecipientSummary]:
        """Counts in the order asked; from the rows, unless they may be older."""
        for recipient in recipients:
            principal.require_recipient(recipient)
        if max_staleness and self._cache is not None:
            heads = await self._cached(self._cache, principal.tenant, recipients, max_staleness)
        else:
            heads = await self._reader.heads(principal.tenant, recipients)
        summaries = []
        for recipient in recipients:
            inbox = heads.get(recipient)
            if inbox is None:
                summaries.append(RecipientSummary(recipient, Counts(), ""))
                continue
            cursor = self._cursors.token(principal.tenant, recipient, inbox.incarnation, inbox.revision)
            summaries.append(RecipientSummary(recipient, inbox.counts, cursor))
        return summaries

    async def _cached(
        self, cache: SummaryCache, tenant: str, recipients: Sequence[str], max_staleness: Micros
    ) -> dict[str, Inbox]:
        """What the cache knows and is not too old; the rest from the rows, and from then on in the cache.

        The cache outlives an epoch, so that it has incarnations as cursors know them.
        """
        known = await cache.get(tenant, recipients)
        epoch = self._cursors.epoch
        fresh = {
            name: _in_epoch(cached.inbox, epoch)
            for name, cached in known.items()
            if cached.age <= max_staleness
        }
        missing = [name for name in recipients if name not in fresh]
        if missing:
            started = time.monotonic()
            read = await self._reader.heads(tenant, missing)
            age = int((time.monotonic() - started) * SECOND)
            await cache.put([_in_epoch(inbox, epoch) for inbox in read.values()], known, age)
            fresh |= read
        return fresh

    async def mark(
        self,
        principal: Principal,
        request_id: str,
        recipient: str,
        mark: Mark,
        selection: ByIds | ByThread | UpToCursor,
        snooze_until: Micros | None,
        *,
        deadline: float | None = None,
    ) -> MarkResult:
        """Marks entries, a transaction for each thousand. Raises what a cursor can fail with, RecipientNotFound."""
        principal.require_recipient(recipient)
        key = request_key(
            self._codec, RequestSpace.MARK, request_id, (recipient, mark, selection, snooze_until)
        )
        chosen = self._opened(principal.tenant, recipient, selection)
        command = MarkEntries(
            tenant=principal.tenant,
            request=key,
            recipient=recipient,
            mark=mark,
            selection=chosen,
            snooze_until=snooze_until,
        )
        answer = await answered(self._writer, command, deadline)
        while answer.receipt.more:
            command = replace(command, changed_before=answer.receipt.changed_count)
            answer = await answered(self._writer, command, deadline)
        receipt = answer.receipt
        return MarkResult(
            receipt.changed_count,
            self._token(principal.tenant, recipient, receipt.position),
            receipt.position.counts,
            answer.replayed,
        )

    async def interact(
        self,
        principal: Principal,
        request_id: str,
        recipient: str,
        notification_id: bytes,
        kind: InteractionKind,
        action_id: str,
        inputs: dict[str, str],
        *,
        deadline: float | None = None,
    ) -> PositionResult:
        """Records what a recipient did.

        Raises NotificationNotFound, NotificationFinal, ActionNotFound, InvalidFields.
        """
        principal.require_recipient(recipient)
        asked = (recipient, notification_id, kind, action_id, inputs)
        command = RecordInteraction(
            tenant=principal.tenant,
            request=request_key(self._codec, RequestSpace.INTERACT, request_id, asked),
            recipient=recipient,
            notification_id=notification_id,
            kind=kind,
            action_id=action_id,
            inputs=inputs,
        )
        answer: Answer[InteractionReceipt] | None = None
        try:
            if kind is InteractionKind.CLICKED:
                await self._check_click(command)
        except (ActionNotFound, InvalidFields):
            # A click is often answered with a revision that takes the actions away.
            answer = await recalled(self._writer, principal.tenant, command.request, deadline)
            if answer is None:
                raise
        answer = answer or await answered(self._writer, command, deadline)
        cursor = self._token(principal.tenant, recipient, answer.receipt.position)
        return PositionResult(cursor, answer.replayed)

    async def acknowledge(
        self, principal: Principal, consumer: str, positions: Sequence[tuple[str, str]]
    ) -> list[AcknowledgeResult]:
        """Records (recipient, cursor) positions of a consumer, each on its own."""
        results: list[AcknowledgeResult | None] = [None] * len(positions)
        opened: list[ConsumerPosition] = []
        places: list[int] = []
        for place, (recipient, token) in enumerate(positions):
            try:
                principal.require_recipient(recipient)
                cursor = self._cursors.open(principal.tenant, recipient, token)
            except TocsinError as error:
                results[place] = AcknowledgeResult(recipient, "", error)
                continue
            opened.append(
                ConsumerPosition(consumer, recipient, cursor.incarnation, cursor.filter, cursor.revision)
            )
            places.append(place)
        if opened:
            command = AcknowledgePositions(tenant=principal.tenant, positions=tuple(opened))
            answer = await answered(self._writer, command, None)
            for place, position, revision in zip(places, opened, answer.receipt.revisions, strict=True):
                results[place] = self._acknowledged(principal.tenant, position, revision)
        return [result for result in results if result is not None]

    async def _check_click(self, command: RecordInteraction) -> None:
        """Raises ActionNotFound, InvalidFields. What is not there, or gone, is for the store to refuse."""
        entry = await self._notifications.notification(command.tenant, command.notification_id)
        if entry is None or entry.recipient != command.recipient or entry.content is None:
            return
        check_click(self._codec.content(entry.content), command.action_id, command.inputs)

    def _acknowledged(
        self, tenant: str, position: ConsumerPosition, revision: int | None
    ) -> AcknowledgeResult:
        if revision is None:
            return AcknowledgeResult(position.recipient, "", IncarnationChanged())
        mint = self._cursors.mint(tenant, position.recipient, position.incarnation, position.filter)
        return AcknowledgeResult(position.recipient, mint.token(revision))

    def _opened(
        self, tenant: str, recipient: str, selection: ByIds | ByThread | UpToCursor
    ) -> ByIds | ByThread | UpTo:
        if isinstance(selection, UpToCursor):
            return UpTo(self._cursors.open(tenant, recipient, selection.cursor))
        return selection

    def _token(self, tenant: str, recipient: str, position: InboxPosition) -> str:
        return self._cursors.token(tenant, recipient, position.incarnation, position.revision)


def _in_epoch(inbox: Inbox, epoch: bytes) -> Inbox:
    """The inbox with its incarnation as cursors know it; its own inverse."""
    return replace(inbox, incarnation=incarnation_in_epoch(inbox.incarnation, epoch))


def check_click(content: Content, action_id: str, inputs: dict[str, str]) -> None:
    """Raises ActionNotFound or InvalidFields unless the content offers the action and takes the inputs."""
    if action_id not in {action.id for action in actions_of(content.kind)}:
        raise ActionNotFound(action_id=action_id)
    fields = content.kind.inputs if isinstance(content.kind, InteractiveContent) else ()
    known = {field.name: field for field in fields}
    unknown = sorted(inputs.keys() - known.keys())
    violations = [Violation(f"inputs[{name}]", "is not an input of the content") for name in unknown]
    for field in fields:
        wrong = _wrong_with(field, inputs.get(field.name, ""))
        if wrong:
            violations.append(Violation(f"inputs[{field.name}]", wrong))
    if violations:
        raise InvalidFields(violations)


def _wrong_with(field: Input, value: str) -> str:
    """What keeps a value from being taken; empty: nothing."""
    if not value:
        return "is required" if field.required else ""
    match field.kind:
        case InputKind.CHOICE if value not in field.choices:
            return "is not one of the choices"
        case InputKind.RATING if value not in {"1", "2", "3", "4", "5"}:
            return "must be a whole number from 1 to 5"
        case InputKind.DATE if not _is_date(value):
            return "must be a date, YYYY-MM-DD"
        case _:
            return ""


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
