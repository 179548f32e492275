"""What a live stream tells the application."""

from dataclasses import dataclass, field

from tocsin.v1.notification_pb2 import Notification

__all__ = ("Entry", "Event", "ResetHappened", "SummaryChanged")

LEFT_OUT_REASONS = frozenset({"LIMIT_REACHED", "RECIPIENT_NOT_ALLOWED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of one recipient.

    Attributes:
        recipient: the recipient's key.
        cursor: the position just after this event, to resume from; None where the server gave none: it gives one for
            the last of a recipient's changes that travel together. Belongs to the stream's categories.
        sequence: counts the events that this stream handed out, from 1.
    """

    recipient: str
    cursor: str | None = None
    sequence: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Event):
    """An entry, new or changed, in its latest state.

    Attributes:
        notification: the entry. `notification.revision` rises from one entry of the recipient to the next.
    """

    notification: Notification


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryChanged(Event):
    """The counts of the inbox after all that was handed out before.

    Attributes:
        unread: entries in the inbox that are not read.
        unseen: entries in the inbox that are not seen.
        total: entries kept that are neither retracted nor expired, archived and snoozed ones included.
    """

    unread: int
    unseen: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetHappened(Event):
    """The position in this recipient's changes could not be kept: forget what was built from them.

    The stream goes on for the recipient as `start` says, so entries that were handed out before may come again.

    Attributes:
        reason: CURSOR_INVALID, CURSOR_MISMATCH, CURSOR_EXPIRED, INCARNATION_CHANGED, LIMIT_REACHED or
            RECIPIENT_NOT_ALLOWED.
        oldest_cursor: the oldest position from which changes are kept; None where there is none.
    """

    reason: str
    oldest_cursor: str | None = None

    @property
    def left_out(self) -> bool:
        """Whether the stream does not follow this recipient any more."""
        return self.reason in LEFT_OUT_REASONS
