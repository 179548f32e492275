"""Commands of one tenant, written short: each method submits one and returns its receipt."""

import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

from tests.support.contents import simple
from tocsin_server.domain.access import DEFAULT_TENANT
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import (
    SYSTEM_TENANT,
    AcknowledgePositions,
    AddMembers,
    Answer,
    ByIds,
    ByThread,
    CancelNotifications,
    CancelOutcome,
    Command,
    EraseReceipt,
    EraseRecipient,
    EraseTenant,
    FireTimer,
    InteractionReceipt,
    MarkEntries,
    MarkReceipt,
    PruneInboxes,
    RecordInteraction,
    RemoveMembers,
    RequestKey,
    RequestSpace,
    ReviseNotification,
    ReviseReceipt,
    SendReceipt,
    ShownContent,
    StoreNotification,
    UpsertRecipient,
    UpTo,
)
from tocsin_server.domain.cursor import UNFILTERED, Cursor
from tocsin_server.domain.entry import ConsumerPosition, EntryFilter, StoredEntry, Wanted
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.ids import notification_id, recipient_hash
from tocsin_server.domain.inbox import (
    STATUSES_OF_VIEW,
    Counts,
    EntryView,
    Inbox,
    InteractionKind,
    Mark,
    Status,
)
from tocsin_server.domain.notification import NotificationSpec
from tocsin_server.domain.recipient import Profile, Recipient
from tocsin_server.domain.sending import Facts, draft, draft_again
from tocsin_server.domain.time import DAY, Micros
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.ports import Clock, InboxReader, KeptReader, TimerReader, Writer
from tocsin_server.store.store import Store

Receipt = TypeVar("Receipt")

CODEC = WireCodec()
_random = itertools.count()


class Desk:
    """What senders and recipients of one tenant ask of a store. Raises what a command fails with."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        tenant: str = DEFAULT_TENANT,
        *,
        writer: Writer | None = None,
    ) -> None:
        """`writer`: instead of the store's own."""
        self.tenant = tenant
        self._writer: Writer = writer or store.writer
        self._reader: InboxReader = store.readers
        self._timers: TimerReader = store.readers
        self._plans: KeptReader = store.plans
        self._clock = clock

    async def submit(self, command: Command[Receipt]) -> Receipt:
        """The command's receipt."""
        (answer,) = await self._writer.submit((command,))
        return receipt_of(answer)

    # --- senders ------------------------------------------------------------------------------------------------------

    def sending(
        self,
        recipient: str = "ada",
        text: str = "Hello",
        *,
        category: str = "orders",
        thread: str = "",
        deliver_time: Micros | None = None,
        expire_time: Micros | None = None,
        request: RequestKey | None = None,
        trace: bytes = b"",
    ) -> StoreNotification:
        """The command of a Send."""
        spec = NotificationSpec(
            recipient,
            category,
            deliver_time=deliver_time,
            expire_time=expire_time,
            thread=thread,
        )
        now = self._clock.now()
        id = notification_id(now, recipient_hash(self.tenant, recipient), next(_random))
        drafted = draft(id, self.tenant, spec, Facts(Category(category)), now)
        return StoreNotification(
            tenant=self.tenant,
            request=request,
            draft=drafted,
            spec=spec,
            shown=ShownContent(simple(text).shown),
            envelope=CODEC.envelope(drafted, spec),
            trace=trace,
            any_profile=True,
        )

    async def send(
        self,
        recipient: str = "ada",
        text: str = "Hello",
        *,
        category: str = "orders",
        thread: str = "",
        deliver_time: Micros | None = None,
        expire_time: Micros | None = None,
        trace: bytes = b"",
    ) -> SendReceipt:
        """One notification."""
        return await self.submit(
            self.sending(
                recipient,
                text,
                category=category,
                thread=thread,
                deliver_time=deliver_time,
                expire_time=expire_time,
                trace=trace,
            )
        )

    async def send_many(self, count: int, recipient: str = "ada", *, thread: str = "") -> list[bytes]:
        """So many notifications, in one call; their ids."""
        commands = [self.sending(recipient, f"No {number}", thread=thread) for number in range(count)]
        answers = await self._writer.submit(commands)
        return [receipt_of(answer).notification_id for answer in answers]

    async def cancel(self, *ids: bytes) -> list[CancelOutcome]:
        """By ids."""
        receipt = await self.submit(CancelNotifications(tenant=self.tenant, ids=ids))
        assert [id for id, _ in receipt.results] == list(ids)
        return [outcome for _, outcome in receipt.results]

    async def cancel_thread(self, thread: str, recipient: str = "ada") -> Mapping[bytes, CancelOutcome]:
        """By thread."""
        command = CancelNotifications(tenant=self.tenant, recipient=recipient, thread=thread)
        return dict((await self.submit(command)).results)

    async def revise(self, id: bytes, text: str = "Revised", *, renotify: bool = False) -> ReviseReceipt:
        """Another text."""
        content = simple(text).shown
        return await self.submit(
            ReviseNotification(tenant=self.tenant, id=id, content=content, renotify=renotify)
        )

    # --- recipients ---------------------------------------------------------------------------------------------------

    async def mark(
        self,
        mark: Mark,
        selection: ByIds | ByThread | UpTo,
        recipient: str = "ada",
        *,
        snooze_until: Micros | None = None,
        changed_before: int = 0,
    ) -> MarkReceipt:
        """One chunk of a mark."""
        return await self.submit(
            MarkEntries(
                tenant=self.tenant,
                recipient=recipient,
                mark=mark,
                selection=selection,
                snooze_until=snooze_until,
                changed_before=changed_before,
            )
        )

    async def up_to(self, revision: int, recipient: str = "ada") -> UpTo:
        """Everything whose content is not newer than this position of the present inbox."""
        return UpTo(Cursor((await self.inbox(recipient)).incarnation, UNFILTERED, revision))

    async def interact(
        self, id: bytes, kind: InteractionKind, recipient: str = "ada", action_id: str = ""
    ) -> InteractionReceipt:
        """Does something with an entry."""
        return await self.submit(
            RecordInteraction(
                tenant=self.tenant,
                recipient=recipient,
                notification_id=id,
                kind=kind,
                action_id=action_id,
                inputs={},
            )
        )

    async def acknowledge(
        self, inbox: Inbox, revision: int, *, consumer: str = "app", filter: bytes = UNFILTERED
    ) -> int | None:
        """One position; the revision now recorded."""
        position = ConsumerPosition(consumer, inbox.recipient, inbox.incarnation, filter, revision)
        receipt = await self.submit(AcknowledgePositions(tenant=self.tenant, positions=(position,)))
        return receipt.revisions[0]

    async def erase(self, recipient: str = "ada") -> EraseReceipt:
        """All chunks of it."""
        receipt = await self.submit(EraseRecipient(tenant=self.tenant, recipient=recipient))
        while receipt.more:
            receipt = await self.submit(
                EraseRecipient(tenant=self.tenant, recipient=recipient, erased_before=receipt.erased_count)
            )
        return receipt

    async def erase_tenant(self, name: str, limit: int = 10_000) -> None:
        """All chunks of it."""
        while (await self.submit(EraseTenant(tenant=SYSTEM_TENANT, name=name, limit=limit))).more:
            pass

    async def upsert(self, recipient: str = "ada", **fields: Any) -> Recipient:
        """A recipient with these fields of its profile."""
        return await self.submit(
            UpsertRecipient(
                tenant=self.tenant, recipient=recipient, profile=Profile(**fields), fields=frozenset(fields)
            )
        )

    async def add_members(self, topic: str, *recipients: str) -> int:
        """How many became members."""
        command = AddMembers(tenant=self.tenant, topic=topic, recipients=recipients)
        return (await self.submit(command)).count

    async def remove_members(self, topic: str, *recipients: str) -> int:
        """How many ceased to be members."""
        command = RemoveMembers(tenant=self.tenant, topic=topic, recipients=recipients)
        return (await self.submit(command)).count

    # --- time ---------------------------------------------------------------------------------------------------------

    async def fire_due(self) -> int:
        """Fires what is due now; how many timers that were."""
        commands = await self.firing()
        answers = await self._writer.submit(commands) if commands else []
        return sum(receipt_of(answer) for answer in answers)

    async def firing(self) -> list[FireTimer]:
        """The commands of the timers that are due now."""
        now = self._clock.now()
        commands = []
        for timer in await self._timers.due_timers(now, 1_000):
            drafted = None
            for kept in await self._plans.kept(timer.tenant, (timer.notification_id,), now):
                facts = Facts(Category(kept.spec.category))
                drafted = draft_again(kept, timer.tenant, facts, now)
            commands.append(FireTimer(tenant=timer.tenant, timer=timer, draft=drafted, until=now))
        return commands

    async def timer_count(self) -> int:
        """Timers of the next years."""
        return len(await self._timers.due_timers(self._clock.now() + 3_650 * DAY, 10_000))

    async def prune(self, cutoff: Micros, *recipients: str) -> int:
        """Removes what was last changed before; how many rows that were."""
        inboxes = tuple((self.tenant, recipient) for recipient in recipients or ("ada",))
        total, more = 0, True
        while more:
            receipt = await self.submit(PruneInboxes(tenant=self.tenant, inboxes=inboxes, cutoff=cutoff))
            total, more = total + receipt.count, receipt.more
        return total

    # --- what there is ------------------------------------------------------------------------------------------------

    async def inbox(self, recipient: str = "ada") -> Inbox:
        """The counter row."""
        return (await self._reader.heads(self.tenant, (recipient,)))[recipient]

    async def entries(
        self, recipient: str = "ada", view: EntryView = EntryView.ALL, limit: int = 10_000
    ) -> list[StoredEntry]:
        """Entries by falling content revision."""
        filter = EntryFilter(tuple(map(int, STATUSES_OF_VIEW[view])))
        page = await self._reader.entries(self.tenant, recipient, filter, None, limit)
        return page.entries

    async def statuses(self, recipient: str = "ada") -> dict[bytes, Status]:
        """Where each entry stands."""
        return {
            entry.id: Status(entry.status)
            for entry in await self.entries(recipient)
            if entry.status is not None
        }

    async def changes(
        self, after: int = 0, recipient: str = "ada", *, unread_up_to: int = 0
    ) -> list[StoredEntry]:
        """All changes later than a revision, page by page."""
        found: list[StoredEntry] = []
        while True:
            page = await self._reader.changes(self.tenant, (Wanted(recipient, after, unread_up_to),), 1 << 20)
            found += page.entries
            if page.complete:
                return found
            after = page.entries[-1].revision

    async def check_counts(self, recipient: str = "ada") -> Inbox:
        """The counter row, found equal to a recount of its own snapshot."""
        filter = EntryFilter(tuple(map(int, Status)))
        page = await self._reader.entries(self.tenant, recipient, filter, None, 100_000)
        assert page.inbox is not None
        counts = Counts()
        for entry in page.entries:
            counts = counts.moved(None, Status(entry.status) if entry.status is not None else None)
        assert page.inbox.counts == counts, f"{page.inbox.counts} in the row, {counts} recounted"
        revisions = sorted(entry.revision for entry in page.entries)
        assert len(set(revisions)) == len(revisions), "two entries have one revision"
        assert all(page.inbox.floor < revision <= page.inbox.revision for revision in revisions)
        return page.inbox


def receipt_of(answer: Answer[Receipt] | TocsinError) -> Receipt:
    """What a command that was committed gave. Raises what it failed with."""
    if isinstance(answer, TocsinError):
        raise answer
    return answer.receipt


def key(space: RequestSpace, id: str, meaning: object = "the same") -> RequestKey:
    """The key of a request."""
    return RequestKey(space, id, CODEC.fingerprint(meaning))
