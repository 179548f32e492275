"""Service from storage: where positions start, what those that are behind lack, and when they are live again.

One read is under way at a time, and the next one goes on while what it found is being written: a slow stream reads
slowly, and holds no connection meanwhile.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tocsin_server.domain.cursor import filter_digest
from tocsin_server.domain.entry import ChangesPage, StoredEntry, Wanted
from tocsin_server.domain.errors import CursorExpired, IncarnationChanged, QueueFull, StorageUnavailable
from tocsin_server.domain.inbox import Counts, Inbox
from tocsin_server.service.credit import Credit
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.placing import Placement, Placing, Subscription
from tocsin_server.service.ports import Codec, InboxReader
from tocsin_server.service.position import Position
from tocsin_server.service.reports import Reports
from tocsin_server.service.submitting import STORAGE_RETRY_SECONDS

POSITIONS_PER_READ = 1_000

Found = Callable[[], list[bytes]]
"""Applies what a read has found to the positions as they are then; the events to send."""


class CatchUp:
    """The positions of one stream that are not live."""

    def __init__(
        self,
        subscription: Subscription,
        reader: InboxReader,
        placing: Placing,
        cursors: Cursors,
        codec: Codec,
        reports: Reports,
        credit: Credit,
        *,
        with_trace: bool,
        max_bytes: int,
        on_found: Callable[[], None],
    ) -> None:
        """`on_found` is called when `take` has something to apply."""
        self._subscription = subscription
        self._categories = frozenset(subscription.categories)
        self._filter = filter_digest(subscription.categories)
        self._reader = reader
        self._placing = placing
        self._cursors = cursors
        self._codec = codec
        self._reports = reports
        self._credit = credit
        self._with_trace = with_trace
        self._max_bytes = max_bytes
        self._on_found = on_found
        self._unplaced: dict[Position, None] = {}
        self._behind: dict[Position, None] = {}
        self._reading: asyncio.Task[Found] | None = None
        self.traces: list[bytes] = []
        """Trace parents of the notifications that `take` gave out last."""
        self._resets: list[bytes] = []

    def __len__(self) -> int:
        return len(self._unplaced) + len(self._behind)

    @property
    def stalled(self) -> bool:
        """Whether only credit is missing."""
        return bool(self._behind) and self._credit.left == 0

    def add(self, position: Position) -> None:
        """A new position: it is to be found out where it starts."""
        self._unplaced[position] = None

    def fall_behind(self, position: Position) -> None:
        """From here on the position is read from storage until it has caught up."""
        if not position.behind:
            position.behind = True
            self._behind[position] = None

    def start_anew(self, position: Position, reason: str) -> None:
        """Resets a position: placed again as one without a cursor, and told so."""
        position.generation += 1
        position.reset = reason
        position.placed = False
        position.behind = True
        position.sent = position.taken = position.head = 0
        self.forget(position)
        self._reports.forget(position)
        self._credit.release(position)
        self._unplaced[position] = None

    def forget(self, position: Position) -> None:
        """Reads nothing more for the position."""
        self._unplaced.pop(position, None)
        self._behind.pop(position, None)

    def adopt(self, position: Position, incarnation: bytes) -> None:
        """The inbox that the position waited for has come to be."""
        position.belong(
            incarnation,
            self._cursors.mint(self._subscription.tenant, position.recipient, incarnation, self._filter),
        )

    def start_reading(self) -> None:
        """Keeps one read under way as long as there is something to read and credit to send it."""
        if self._reading is not None:
            return
        reading: Coroutine[Any, Any, Found]
        if self._unplaced:
            reading = self._place(list(self._unplaced)[:POSITIONS_PER_READ])
        elif self._behind and self._credit.left != 0:
            reading = self._read(list(self._behind)[:POSITIONS_PER_READ])
        else:
            return
        self._reading = asyncio.get_running_loop().create_task(reading)
        self._reading.add_done_callback(lambda _: self._on_found())

    def place(self) -> bool:
        """Goes on finding out where new positions start; whether that is known of all of them."""
        if self._unplaced:
            self._apply_found()
        if self._unplaced:
            self.start_reading()
        return not self._unplaced

    @property
    def has_found(self) -> bool:
        """Whether `take` has something."""
        return self._reading is not None and self._reading.done()

    def take(self) -> list[bytes]:
        """Events of what the last read has found, but for resets."""
        self.traces = []
        return self._apply_found()

    def refuse(self, recipient: str, reason: str) -> None:
        """Tells that a recipient is left out."""
        self._resets.append(self._codec.reset_event(recipient, reason, "", ""))

    @property
    def reset_count(self) -> int:
        """How many `take_resets` has."""
        return len(self._resets)

    def take_resets(self) -> list[bytes]:
        """As many as a message may hold; to be sent before anything else of theirs.

        After a new epoch a gateway is told of all its recipients, which is more than most clients take at once.
        """
        if not self._resets:
            return []
        taken, self._resets = self._resets[:POSITIONS_PER_READ], self._resets[POSITIONS_PER_READ:]
        return taken

    def close(self) -> None:
        """Reads nothing more."""
        if self._reading is not None:
            self._reading.cancel()

    def _apply_found(self) -> list[bytes]:
        if self._reading is None or not self._reading.done():
            return []
        found, self._reading = self._reading.result(), None
        return found()

    # --- where positions start ----------------------------------------------------------------------------------------

    async def _place(self, batch: list[Position]) -> Found:
        self._forget_heads(batch)
        generations = [position.generation for position in batch]
        asked = [(position.recipient, position.cursor, position.reset) for position in batch]
        try:
            placements = await self._placing.place(self._subscription, asked)
        except (StorageUnavailable, QueueFull):
            await asyncio.sleep(STORAGE_RETRY_SECONDS)
            return list

        def found() -> list[bytes]:
            for position, generation, placement in zip(batch, generations, placements, strict=True):
                # It may have been removed, or erased, while storage was read.
                if position in self._unplaced and position.generation == generation:
                    self._placed(position, placement)
            return []

        return found

    def _placed(self, position: Position, placement: Placement) -> None:
        del self._unplaced[position]
        inbox = placement.inbox
        position.placed = True
        position.cursor = position.reset = ""
        position.belong(inbox.incarnation if inbox is not None else None, placement.mint)
        position.sent = position.taken = position.reported = placement.revision
        position.unread_up_to = placement.unread_up_to
        position.counts_sent = None
        if placement.reset:
            self._resets.append(
                self._codec.reset_event(
                    position.recipient, placement.reset, placement.oldest_cursor, position.token()
                )
            )
        if inbox is not None:
            position.head = max(position.head, inbox.revision)
            self._reports.counted(position, inbox.counts, inbox.revision)
        else:
            # Says where it stands: before everything that will come.
            self._reports.counted(position, Counts(), 0)
        # A head beyond the start, from the row or from hints that came meanwhile: there is something to read.
        position.behind = position.head > position.taken
        if position.behind:
            self._behind[position] = None

    # --- what positions lack ------------------------------------------------------------------------------------------

    async def _read(self, batch: list[Position]) -> Found:
        self._forget_heads(batch)
        asked = [(position.generation, position.taken) for position in batch]
        wanted = [Wanted(position.recipient, position.taken, position.unread_up_to) for position in batch]
        try:
            page = await self._reader.changes(self._subscription.tenant, wanted, self._max_bytes)
        except StorageUnavailable:
            await asyncio.sleep(STORAGE_RETRY_SECONDS)
            return list
        return lambda: self._apply(batch, asked, page)

    def _apply(self, batch: list[Position], asked: list[tuple[int, int]], page: ChangesPage) -> list[bytes]:
        found: dict[str, list[StoredEntry]] = {}
        for entry in page.entries:
            found.setdefault(entry.recipient, []).append(entry)
        events: list[bytes] = []
        # The recipient after the complete ones may have been read in part.
        for index, position in enumerate(batch[: page.complete + 1]):
            # It may have been removed or started anew while storage was read.
            if position not in self._behind or (position.generation, position.taken) != asked[index]:
                continue
            head = page.heads.get(position.recipient)
            if not self._is_resumable(position, head):
                continue
            entries, complete = found.get(position.recipient, []), index < page.complete
            affordable = self._affordable(entries)
            if affordable < len(entries):
                entries, complete = entries[:affordable], False
            events += self._events(position, entries)
            if complete and head is not None:
                self._caught_up(position, head)
        return events

    def _affordable(self, entries: Sequence[StoredEntry]) -> int:
        """How many of the entries there is credit for; what the filter hides costs none."""
        left = self._credit.left
        if left is None:
            return len(entries)
        for index, entry in enumerate(entries):
            if self._is_shown(entry):
                if not left:
                    return index
                left -= 1
        return len(entries)

    def _is_shown(self, entry: StoredEntry) -> bool:
        return not self._categories or entry.category in self._categories

    def _events(self, position: Position, entries: Sequence[StoredEntry]) -> list[bytes]:
        if not entries:
            return []
        codec = self._codec
        position.taken = position.sent = entries[-1].revision
        self._reports.moved(position)
        shown = [entry for entry in entries if self._is_shown(entry)]
        events = []
        for entry in shown:
            cursor = position.sent_cursor(codec) if entry is shown[-1] else b""
            notification = codec.stored_notification(entry, with_trace=self._with_trace)
            events.append(codec.entry_event(position.encoded_recipient, notification, cursor))
            self._credit.use(position, entry.revision)
        self.traces += [entry.trace for entry in shown if entry.trace]
        return events

    def _caught_up(self, position: Position, head: Inbox) -> None:
        """Everything up to the snapshot's head was read."""
        position.taken = position.sent = max(position.taken, head.revision)
        self._reports.moved(position)
        self._reports.counted(position, head.counts, head.revision)
        self._rejoin(position)

    def _rejoin(self, position: Position) -> None:
        """Live, unless something was committed since the read began."""
        if position.head <= position.taken:
            position.behind = False
            del self._behind[position]

    def _forget_heads(self, batch: Sequence[Position]) -> None:
        """A read that begins now sees all that hints have told of; only what they tell from now on is beyond it.

        A late hint of an inbox that is gone may tell of revisions that will not be there for long.
        """
        for position in batch:
            position.head = position.taken

    def _is_resumable(self, position: Position, head: Inbox | None) -> bool:
        """Checks, in the snapshot of the read itself, that nothing was pruned or made anew underneath."""
        if head is None and position.incarnation is None:
            self._rejoin(position)
            return False
        if head is not None and position.incarnation is None:
            self.adopt(position, head.incarnation)
        if head is None or position.incarnation != head.incarnation:
            self.start_anew(position, IncarnationChanged.reason)
            return False
        if position.taken < head.floor:
            self.start_anew(position, CursorExpired.reason)
            return False
        return True
