"""One recipient's inbox: its counter row, the status of its entries, and what marks do to them."""

from collections.abc import Container
from enum import IntEnum

from tocsin_server.domain.notification import EventKind
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class Status(IntEnum):
    """Where an entry stands with its recipient, in one number that an index can range over.

    The shelf is `status // 3`: inbox, snoozed, archived, gone; within a shelf: unseen, seen, read.
    """

    UNSEEN = 0
    SEEN = 1
    READ = 2
    SNOOZED_UNSEEN = 3
    SNOOZED_SEEN = 4
    SNOOZED_READ = 5
    ARCHIVED_UNSEEN = 6
    ARCHIVED_SEEN = 7
    ARCHIVED_READ = 8
    GONE = 9
    """Retracted or expired; counts nowhere."""


class Shelf(IntEnum):
    """Which part of an inbox an entry is in."""

    INBOX = 0
    SNOOZED = 3
    ARCHIVED = 6
    GONE = 9


class Attention(IntEnum):
    """How much of the recipient's attention an entry has had."""

    UNSEEN = 0
    SEEN = 1
    READ = 2


class EntryView(IntEnum):
    """Which entries are listed; numbered as in the contract."""

    INBOX = 1
    UNREAD = 2
    UNSEEN = 3
    ARCHIVED = 4
    SNOOZED = 5
    ALL = 6


STATUSES_OF_VIEW: dict[EntryView, tuple[Status, ...]] = {
    EntryView.INBOX: (Status.UNSEEN, Status.SEEN, Status.READ),
    EntryView.UNREAD: (Status.UNSEEN, Status.SEEN),
    EntryView.UNSEEN: (Status.UNSEEN,),
    EntryView.ARCHIVED: (Status.ARCHIVED_UNSEEN, Status.ARCHIVED_SEEN, Status.ARCHIVED_READ),
    EntryView.SNOOZED: (Status.SNOOZED_UNSEEN, Status.SNOOZED_SEEN, Status.SNOOZED_READ),
    EntryView.ALL: tuple(Status),
}


class Mark(IntEnum):
    """How entries are marked; numbered as in the contract."""

    SEEN = 1
    READ = 2
    UNREAD = 3
    ARCHIVED = 4
    UNARCHIVED = 5
    SNOOZED = 6
    UNSNOOZED = 7


EVENT_OF_MARK: dict[Mark, EventKind] = {
    Mark.SEEN: EventKind.SEEN,
    Mark.READ: EventKind.READ,
    Mark.UNREAD: EventKind.UNREAD,
    Mark.ARCHIVED: EventKind.ARCHIVED,
    Mark.UNARCHIVED: EventKind.UNARCHIVED,
    Mark.SNOOZED: EventKind.SNOOZED,
    Mark.UNSNOOZED: EventKind.UNSNOOZED,
}


class InteractionKind(IntEnum):
    """What a recipient did with an entry; numbered as in the contract."""

    OPENED = 1
    CLICKED = 2
    DISMISSED = 3
    CONVERTED = 4


EVENT_OF_INTERACTION: dict[InteractionKind, EventKind] = {
    InteractionKind.OPENED: EventKind.OPENED,
    InteractionKind.CLICKED: EventKind.CLICKED,
    InteractionKind.DISMISSED: EventKind.DISMISSED,
    InteractionKind.CONVERTED: EventKind.CONVERTED,
}

MARK_OF_INTERACTION: dict[InteractionKind, Mark | None] = {
    InteractionKind.OPENED: Mark.READ,
    InteractionKind.CLICKED: Mark.READ,
    InteractionKind.DISMISSED: Mark.SEEN,
    InteractionKind.CONVERTED: None,
}


def shelf_of(status: Status) -> Shelf:
    """The part of the inbox that an entry of this status is in."""
    return Shelf(status // 3 * 3)


def attention_of(status: Status) -> Attention:
    """What attention an entry of this status has had. Meaningless for GONE."""
    return Attention(status % 3)


def status_of(shelf: Shelf, attention: Attention) -> Status:
    """Inverse of `shelf_of` and `attention_of`."""
    return Status(shelf + attention)


def marked(status: Status, mark: Mark) -> Status:
    """The status after a mark; the same where the mark changes nothing. What is gone stays gone."""
    if status is Status.GONE:
        return status
    shelf, attention = shelf_of(status), attention_of(status)
    match mark:
        case Mark.SEEN:
            attention = max(attention, Attention.SEEN)
        case Mark.READ:
            attention = Attention.READ
        case Mark.UNREAD:
            attention = Attention.SEEN if attention is Attention.READ else attention
        case Mark.ARCHIVED:
            shelf = Shelf.ARCHIVED
        case Mark.UNARCHIVED:
            shelf = Shelf.INBOX if shelf is Shelf.ARCHIVED else shelf
        case Mark.SNOOZED:
            shelf = Shelf.SNOOZED
        case Mark.UNSNOOZED:
            shelf = Shelf.INBOX if shelf is Shelf.SNOOZED else shelf
    return status_of(shelf, attention)


def statuses_changed_by(mark: Mark) -> tuple[Status, ...]:
    """The statuses of the entries that a mark would change; SNOOZED also moves the time of a snoozed entry."""
    if mark is Mark.SNOOZED:
        return tuple(status for status in Status if status is not Status.GONE)
    return tuple(status for status in Status if marked(status, mark) is not status)


class Counts(Value, frozen=True):
    """The counts of an inbox. Only what is on the inbox shelf can be unread or unseen."""

    unread: int = 0
    unseen: int = 0
    total: int = 0
    """Entries that are not gone, archived and snoozed ones included."""

    def moved(self, before: Status | None, after: Status | None) -> "Counts":
        """The counts once an entry went from one status to another; None: it was, or is, not there."""
        unread, unseen, total = self.unread, self.unseen, self.total
        if before is not None:
            unread -= before <= Status.SEEN
            unseen -= before == Status.UNSEEN
            total -= before != Status.GONE
        if after is not None:
            unread += after <= Status.SEEN
            unseen += after == Status.UNSEEN
            total += after != Status.GONE
        return Counts(unread, unseen, total)


class Inbox(Value, frozen=True):
    """The counter row of one recipient. Everything about its order hangs on it."""

    tenant: str
    recipient: str
    incarnation: bytes
    """8 random bytes, drawn anew whenever revisions start again."""
    revision: int = 0
    """The last revision given out."""
    floor: int = 0
    """The highest revision whose row was removed: only positions at or above it can be resumed from."""
    counts: Counts = Counts()
    profile_version: int = 0
    """Rises with every change of the recipient's profile or preferences; 0: nothing was ever said."""


class InboxChange(Value, frozen=True):
    """What a commit did to one inbox: the hint that makes sessions move.

    An entry's own bytes are there only when the commit gave it out whole; otherwise sessions read from storage.
    """

    tenant: str
    recipient: str
    incarnation: bytes
    revision: int
    """The inbox's revision after the change."""
    counts: Counts
    """The counts at that revision."""
    category: str = ""
    content: bytes | None = None
    """Encoded content of the new entry; None: look in storage."""
    envelope: bytes = b""
    """Encoded immutable fields of the new entry."""
    trace: bytes = b""
    """Encoded trace parent, left out for end users."""
    expire_time: Micros | None = None
    """From then on the entry is not pushed."""
    id: bytes = b""
    """Of a new entry whose envelope is shared by others, so that it lacks the id and the recipient."""


class InboxErased(Value, frozen=True):
    """An inbox is gone; its sessions start anew."""

    tenant: str
    recipient: str
    incarnation: bytes


class BroadcastEntry(Value, frozen=True):
    """What one transaction of a broadcast did to one inbox."""

    recipient: str
    incarnation: bytes
    revision: int
    """The inbox's revision after the change, which is the entry's."""
    counts: Counts
    """The counts at that revision."""
    id: bytes
    """Of the entry."""


class BroadcastChunk(Value, frozen=True):
    """One transaction of a broadcast: what its entries share, once, and then the entries."""

    tenant: str
    category: str
    content: bytes
    """Encoded."""
    envelope: bytes
    """Encoded immutable fields that all entries share: all but their ids and their recipients."""
    trace: bytes
    expire_time: Micros | None
    entries: tuple[BroadcastEntry, ...]

    def changes(self, wanted: Container[tuple[str, str]]) -> list[InboxChange]:
        """The same, inbox by inbox, for those that are wanted by tenant and recipient."""
        return [
            InboxChange(
                self.tenant,
                entry.recipient,
                entry.incarnation,
                entry.revision,
                entry.counts,
                self.category,
                self.content,
                self.envelope,
                self.trace,
                self.expire_time,
                entry.id,
            )
            for entry in self.entries
            if (self.tenant, entry.recipient) in wanted
        ]
