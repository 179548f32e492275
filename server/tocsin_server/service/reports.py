"""What a stream says besides entries: new counts, and how far it has got."""

import time
from itertools import islice

from tocsin_server.domain.inbox import Counts
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import Codec
from tocsin_server.service.position import Position

SUMMARY_INTERVAL_SECONDS = 0.1
"""A recipient gets at most one summary in this time."""

SUMMARIES_PER_MESSAGE = 1_000

POSITIONS_PER_PROGRESS = 10_000
"""The rest comes in the next message: one with a hundred thousand would be larger than most clients take."""

SUMMARY_SHARE = 0.1
"""Summaries of a stream that carries very many recipients take at most this share of the time: beyond, they come less
often."""


class Reports:
    """Summaries and progress of one stream."""

    __slots__ = ("_codec", "_heartbeat_seconds", "_moved", "_uncounted", "heartbeat_at", "summary_at")

    def __init__(self, codec: Codec, heartbeat_interval: Micros, now: float) -> None:
        self._codec = codec
        self._heartbeat_seconds = heartbeat_interval / SECOND
        self._moved: dict[Position, None] = {}
        self._uncounted: dict[Position, None] = {}
        self.heartbeat_at = now + self._heartbeat_seconds
        """When the next progress is due, by the monotonic clock."""
        self.summary_at = 0.0
        """Before this no summary is sent."""

    def counted(self, position: Position, counts: Counts, revision: int) -> None:
        """The counts at a revision are known."""
        position.counts, position.counts_revision = counts, revision
        self._uncounted[position] = None

    def moved(self, position: Position) -> None:
        """The position was sent further, or what the filter hides was passed."""
        self._moved[position] = None

    def forget(self, position: Position) -> None:
        """Says nothing of the position."""
        self._moved.pop(position, None)
        self._uncounted.pop(position, None)

    @property
    def has_summaries(self) -> bool:
        """Whether a summary waits for its time."""
        return bool(self._uncounted)

    def take(self, now: float, clock_now: Micros) -> list[bytes]:
        """Whatever is due."""
        due: list[bytes] = []
        if self._uncounted and now >= self.summary_at:
            due += self._take_summaries()
            spent = time.monotonic() - now
            self.summary_at = now + max(SUMMARY_INTERVAL_SECONDS, spent / SUMMARY_SHARE)
        if now >= self.heartbeat_at:
            due.append(self._take_progress(clock_now))
            if not self._moved:
                self.heartbeat_at = now + self._heartbeat_seconds
        return due

    def _take_summaries(self) -> list[bytes]:
        """Only of positions at their head: the counts belong to the cursor beside them."""
        events: list[bytes] = []
        waiting: dict[Position, None] = {}
        codec = self._codec
        for position in self._uncounted:
            if position.behind:
                # Counted again when it has caught up.
                continue
            if position.sent != position.counts_revision or len(events) >= SUMMARIES_PER_MESSAGE:
                waiting[position] = None
            elif position.counts != position.counts_sent:
                position.counts_sent = position.counts
                cursor = position.sent_cursor(codec)
                events.append(codec.summary_event(position.encoded_recipient, position.counts, cursor))
        self._uncounted = waiting
        return events

    def _take_progress(self, clock_now: Micros) -> bytes:
        """The heartbeat, with the positions that moved since the last one."""
        taken = list(islice(self._moved, POSITIONS_PER_PROGRESS))
        for position in taken:
            del self._moved[position]
        moved = [position for position in taken if position.sent > position.reported]
        for position in moved:
            position.reported = position.sent
        return self._codec.progress([(position.recipient, position.token()) for position in moved], clock_now)
