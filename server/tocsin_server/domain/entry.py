"""A notification as it is stored, and what is asked of the store about it."""

from typing import NamedTuple

from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.notification import Event, NotificationState
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class StoredEntry(NamedTuple):
    """One row: what is needed to show it, its immutable parts already encoded. Plain, because streams read many."""

    id: bytes
    recipient: str
    revision: int
    """0 while it is not in the inbox."""
    content_revision: int
    state: int
    """A NotificationState."""
    status: int | None
    """A Status; None while it is not in the inbox."""
    category: str
    content: bytes | None
    """Encoded; None once it is gone."""
    envelope: bytes
    trace: bytes
    seen_time: Micros | None
    read_time: Micros | None
    archived_time: Micros | None
    snoozed_until: Micros | None
    final_time: Micros | None
    interacted_time: Micros | None
    deliver_time: Micros | None
    shared: bool = False
    """The envelope is one of several entries, so that it lacks the id and the recipient."""


class Wanted(NamedTuple):
    """The changes of one recipient that a session lacks."""

    recipient: str
    after: int
    """Changes later than this revision."""
    unread_up_to: int = 0
    """Up to this revision only what is unread."""


class ChangesPage(Value, frozen=True):
    """Changes of several recipients, recipient by recipient, each in revision order."""

    entries: list[StoredEntry]
    complete: int
    """How many of the recipients asked for, from the first on, were read to the end."""
    heads: dict[str, Inbox]
    """The counter rows of those recipients, and of the one after them, that exist, of the same snapshot."""


class EntryPage(Value, frozen=True):
    """A page of an inbox, and the counter row of the same snapshot."""

    entries: list[StoredEntry]
    inbox: Inbox | None
    more: bool


class NotificationFilter(Value, frozen=True):
    """Which notifications of a tenant are listed; filters are joined by AND."""

    recipient: str = ""
    category: str = ""
    states: tuple[NotificationState, ...] = ()
    start_time: Micros | None = None
    end_time: Micros | None = None


class EntryFilter(Value, frozen=True):
    """Which entries of an inbox are listed."""

    statuses: tuple[int, ...]
    categories: tuple[str, ...] = ()
    thread: str = ""


class ConsumerPosition(Value, frozen=True):
    """How far a named consumer has got with one recipient."""

    consumer: str
    recipient: str
    incarnation: bytes
    filter: bytes
    revision: int
    update_time: Micros = 0


class TimelineEvent(Value, frozen=True):
    """An event of a known notification."""

    notification_id: bytes
    event: Event
