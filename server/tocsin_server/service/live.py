"""Service from memory: what is committed while a position is live gathers here until its stream has a message for it.

What cannot be gathered, or cannot be sent as it was gathered, is left to storage (`catchup`).
"""

from collections.abc import Callable, Sequence, Set

from tocsin_server.domain.time import Micros
from tocsin_server.service.credit import Credit
from tocsin_server.service.metrics import Metrics
from tocsin_server.service.offered import Offered
from tocsin_server.service.ports import Codec
from tocsin_server.service.position import Position
from tocsin_server.service.reports import Reports

ENTRIES_PER_MESSAGE = 64
"""What has gathered goes out in messages of so many, as nothing else runs while one is made. With four times as many a
stream carries no more, and a Send meanwhile takes half as long again."""

_Gathered = tuple[Position, Offered]


class LiveBuffer:
    """Changes of one stream's live positions, in the order in which they were committed."""

    def __init__(
        self,
        categories: frozenset[str],
        codec: Codec,
        reports: Reports,
        credit: Credit,
        metrics: Metrics,
        *,
        with_trace: bool,
        keeps_traces: bool,
        max_bytes: int,
        on_left: Callable[[Position], None],
    ) -> None:
        """`on_left` is called with a position that storage is to serve from its `taken` on."""
        self._categories = categories
        self._codec = codec
        self._reports = reports
        self._credit = credit
        self._metrics = metrics
        self._with_trace = with_trace
        self._keeps_traces = keeps_traces
        self._max_bytes = max_bytes
        self._on_left = on_left
        self._gathered: list[_Gathered] = []
        self.bytes = 0
        """Of all that has gathered."""
        self.drop_count = 0
        """How often that was too much."""
        self.traces: list[bytes] = []
        """Trace parents of the notifications that `take` gave out last, where they are kept."""

    def put(self, position: Position, offered: Offered) -> None:
        """Gathers the very next change of a live position; with too much there, storage serves all of it instead."""
        change = offered.change
        position.taken = change.revision
        self._reports.counted(position, change.counts, change.revision)
        if self._categories and change.category not in self._categories:
            # Hidden: the position moves on, once what is gathered before it is sent.
            if position.sent == position.taken - 1:
                position.sent = position.taken
            self._reports.moved(position)
            return
        position.gathered = change.revision
        self._gathered.append((position, offered))
        self.bytes += offered.size
        if self.bytes > self._max_bytes:
            self.drop_count += 1
            self._metrics.buffer_drops += 1
            self._leave(self._gathered)
            self._keep([])

    def take(self, now: Micros, *, whole: bool) -> list[bytes]:
        """Events of what has gathered first, or of all of it; the cursor stands on each recipient's last one."""
        taken = self._take(now, whole=whole) if self._gathered else []
        if self._keeps_traces:
            self.traces = [offered.change.trace for _, offered in taken]
        return self._events(taken) if taken else []

    def forget(self, positions: Set[Position]) -> None:
        """Nothing of theirs is sent."""
        if self._gathered:
            self._keep([item for item in self._gathered if item[0] not in positions])

    def _take(self, now: Micros, *, whole: bool) -> list[_Gathered]:
        left = self._credit.left
        if left is not None and len(self._gathered) > left:
            # What there is no credit for waits in storage.
            self._leave(self._gathered[left:])
            self._keep(self._gathered[:left])
        count = len(self._gathered) if whole else ENTRIES_PER_MESSAGE
        late = [item for item in self._gathered[:count] if item[1].expires_by(now)]
        if late:
            # Too late to push; storage shows it as expired, and then what came after it.
            self._leave(late)
            self._keep([item for item in self._gathered if item[1].change.revision <= item[0].taken])
        taken, self._gathered = self._gathered[:count], self._gathered[count:]
        self.bytes -= sum(offered.size for _, offered in taken)
        return taken

    def _events(self, taken: Sequence[_Gathered]) -> list[bytes]:
        last = dict(taken)
        codec, with_trace = self._codec, self._with_trace
        entry_event = codec.entry_event
        moved, use_credit = self._reports.moved, self._credit.use
        events: list[bytes] = []
        for position, offered in taken:
            cursor = b""
            if last[position] is offered:
                revision = offered.change.revision
                # Beyond the last event may lie changes that the filter hides.
                position.sent = position.taken if revision == position.gathered else revision
                moved(position)
                cursor = position.sent_cursor(codec)
            events.append(entry_event(position.encoded_recipient, offered.notification(with_trace), cursor))
            use_credit(position, offered.change.revision)
        return events

    def _leave(self, gathered: Sequence[_Gathered]) -> None:
        """Storage serves this, and whatever follows on it."""
        for position, offered in gathered:
            position.taken = min(position.taken, offered.change.revision - 1)
            position.sent = min(position.sent, position.taken)
            self._on_left(position)

    def _keep(self, gathered: list[_Gathered]) -> None:
        self._gathered = gathered
        self.bytes = sum(offered.size for _, offered in gathered)
