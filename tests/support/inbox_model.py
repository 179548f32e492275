"""An inbox in the plainest Python there is: what the real one must be like, whatever is done in whatever order."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tocsin.v1.notification_pb2 import Notification
from tocsin_server.domain.inbox import Counts, Mark
from tocsin_server.domain.time import DAY, Micros

RETENTION: Micros = 90 * DAY


@dataclass
class Entry:
    """One entry."""

    id: bytes
    text: str
    create_time: Micros
    expire_time: Micros | None = None
    deliver_time: Micros | None = None
    """Set while it waits."""
    revision: int = 0
    content_revision: int = 0
    change_time: Micros = 0
    seen: bool = False
    read: bool = False
    shelf: str = "inbox"
    """inbox, snoozed, archived; retracted or expired: it is gone."""
    snoozed_until: Micros | None = None

    @property
    def gone(self) -> bool:
        return self.shelf in ("retracted", "expired")

    def shown(self) -> tuple[int, str, frozenset[str]]:
        """What a subscriber sees: revision, text, and what its state says."""
        held = {flag for flag in ("seen", "read") if getattr(self, flag)}
        return self.revision, "" if self.gone else self.text, frozenset(held | {self.shelf})


def shown(notification: Notification) -> tuple[int, str, frozenset[str]]:
    """The same of what came on a stream."""
    state = notification.state
    held = {flag for flag in ("seen", "read") if getattr(state, flag)}
    shelves = {flag for flag in ("archived", "retracted", "expired") if getattr(state, flag)}
    if state.HasField("snoozed_until"):
        shelves.add("snoozed")
    return notification.revision, notification.content.fallback_text, frozenset(held | (shelves or {"inbox"}))


@dataclass
class InboxModel:
    """One inbox, between its creation and its erasure."""

    incarnation: int = 0
    revision: int = 0
    floor: int = 0
    entries: dict[bytes, Entry] = field(default_factory=dict)
    waiting: dict[bytes, Entry] = field(default_factory=dict)
    timers: list[tuple[Micros, str, bytes]] = field(default_factory=list)
    history: dict[int, bytes] = field(default_factory=dict)
    """Which entry took each revision."""

    def counts(self) -> Counts:
        there = [entry for entry in self.entries.values() if entry.shelf == "inbox"]
        return Counts(
            unread=sum(not entry.read for entry in there),
            unseen=sum(not entry.seen for entry in there),
            total=sum(not entry.gone for entry in self.entries.values()),
        )

    def changes(self, after: int) -> list[Entry]:
        """In the order of their revisions."""
        later = (entry for entry in self.entries.values() if entry.revision > after)
        return sorted(later, key=lambda entry: entry.revision)

    # --- what is done to it -------------------------------------------------------------------------------------------

    def send(self, entry: Entry, now: Micros) -> None:
        if entry.expire_time is not None and entry.expire_time <= now:
            return
        if entry.deliver_time is not None:
            self.waiting[entry.id] = entry
            self.timers.append((entry.deliver_time, "deliver", entry.id))
            return
        self._enter(entry, now)
        if entry.expire_time is not None:
            self.timers.append((entry.expire_time, "expire", entry.id))

    def mark(self, ids: Iterable[bytes], mark: Mark, until: Micros | None, now: Micros) -> int:
        """How many changed."""
        chosen = [self.entries[id] for id in ids if id in self.entries]
        changed = 0
        for entry in sorted(chosen, key=lambda entry: entry.content_revision):
            before = (entry.seen, entry.read, entry.shelf, entry.snoozed_until)
            if not entry.gone:
                self._mark(entry, mark, until)
            if (entry.seen, entry.read, entry.shelf, entry.snoozed_until) != before:
                changed += 1
                self._change(entry, now)
                if mark is Mark.SNOOZED and until is not None:
                    self.timers.append((until, "unsnooze", entry.id))
        return changed

    def revise(self, id: bytes, text: str, renotify: bool, now: Micros) -> bool:
        """Whether it could be."""
        if id in self.waiting:
            self.waiting[id].text = text
            return True
        entry = self.entries.get(id)
        if entry is None or entry.gone:
            return False
        entry.text = text
        if renotify:
            entry.seen = entry.read = False
        self._change(entry, now)
        entry.content_revision = entry.revision
        return True

    def cancel(self, id: bytes, now: Micros) -> str:
        """What became of it."""
        if self.waiting.pop(id, None) is not None:
            return "CANCELLED"
        entry = self.entries.get(id)
        if entry is None or entry.gone:
            return "ALREADY_FINAL"
        self._finish(entry, "retracted", now)
        return "RETRACTED"

    def expire(self, ids: Iterable[bytes], now: Micros) -> None:
        """By retention, in the order of the ids given."""
        for id in ids:
            entry = self.entries.get(id)
            if entry is not None and not entry.gone:
                self._finish(entry, "expired", now)

    def fire(self, now: Micros) -> None:
        """What is due, the earliest first."""
        due = sorted(timer for timer in self.timers if timer[0] <= now)
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for at, kind, id in due:
            if kind == "deliver":
                entry = self.waiting.pop(id, None)
                if entry is None or (entry.expire_time is not None and entry.expire_time <= now):
                    continue
                entry.deliver_time = None
                self._enter(entry, now)
                ends = min(entry.expire_time or now + RETENTION, now + RETENTION)
                self.timers.append((ends, "expire", id))
            elif (entry := self.entries.get(id)) is None or entry.gone:
                continue
            elif kind == "expire":
                self._finish(entry, "expired", now)
            elif entry.shelf == "snoozed" and entry.snoozed_until == at:
                self.mark([id], Mark.UNSNOOZED, None, now)

    def prune(self, cutoff: Micros) -> None:
        """In revision order, as far as what is there is gone and old."""
        for entry in self.changes(0):
            if not entry.gone or entry.change_time >= cutoff:
                return
            del self.entries[entry.id]
            self.floor = entry.revision

    def _enter(self, entry: Entry, now: Micros) -> None:
        self.entries[entry.id] = entry
        self._change(entry, now)
        entry.content_revision = entry.revision

    def _change(self, entry: Entry, now: Micros) -> None:
        self.revision += 1
        entry.revision, entry.change_time = self.revision, now
        self.history[self.revision] = entry.id

    def _finish(self, entry: Entry, how: str, now: Micros) -> None:
        entry.shelf, entry.snoozed_until = how, None
        self._change(entry, now)

    def _mark(self, entry: Entry, mark: Mark, until: Micros | None) -> None:
        match mark:
            case Mark.SEEN:
                entry.seen = True
            case Mark.READ:
                entry.seen = entry.read = True
            case Mark.UNREAD:
                entry.read = False
            case Mark.ARCHIVED:
                entry.shelf, entry.snoozed_until = "archived", None
            case Mark.UNARCHIVED if entry.shelf == "archived":
                entry.shelf = "inbox"
            case Mark.SNOOZED:
                entry.shelf, entry.snoozed_until = "snoozed", until
            case Mark.UNSNOOZED if entry.shelf == "snoozed":
                entry.shelf, entry.snoozed_until = "inbox", None
