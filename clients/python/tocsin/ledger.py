"""How far each recipient's changes were handed to the application, and what it has acknowledged of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from tocsin.events import Entry, Event, ResetHappened, SummaryChanged
from tocsin.v1.error_reason_pb2 import ErrorReason
from tocsin.v1.inbox_service_pb2 import InboxEvent, Position, Progress
from tocsin.values import enum_name

__all__ = ("Ledger", "Step")


class Step(NamedTuple):
    """One thing to do with a received message: hand out an event, move a position, or both."""

    recipient: str
    cursor: str
    event: InboxEvent | None


@dataclass(slots=True)
class _Place:
    cursor: str
    revision: int = 0
    counts: tuple[int, int, int] | None = None
    # Sequences of events: the last one that the application has to deal with, the last one that it acknowledged, and
    # the reset before which nothing counts any more.
    handed: int = 0
    acknowledged: int = 0
    reset: int = 0
    # Followed again on an open connection: what was under way for the earlier following may still arrive.
    moved: bool = False


class Ledger:
    """The state of a live stream that outlives its connections. Does no input or output.

    A message received is turned into steps by `read`; `hand` takes them one by one. A position moves with the step
    that reaches it, so `cursors` never lies beyond what was handed out; and since a connection is only opened when no
    step is left, a resume loses nothing. What a resume repeats is recognised by its revision.
    """

    def __init__(self, positions: Mapping[str, str]) -> None:
        """Follow the recipients from these cursors; an empty cursor is none."""
        self._places = {recipient: _Place(cursor) for recipient, cursor in positions.items()}
        self._sequence = 0
        # Positions to acknowledge, with the sequence that they stand for.
        self._pending: dict[str, tuple[int, str]] = {}
        # Whether positions that the application has nothing to do with are to be acknowledged too.
        self.acknowledges_progress = False

    def __len__(self) -> int:
        return len(self._places)

    @property
    def cursors(self) -> dict[str, str]:
        """Where to resume each recipient, of those that have a position yet."""
        return {recipient: place.cursor for recipient, place in self._places.items() if place.cursor}

    def follow(self, positions: Mapping[str, str]) -> None:
        """Follow more recipients, or the same ones from another position."""
        for recipient, cursor in positions.items():
            self._places[recipient] = _Place(cursor, moved=True)

    def leave(self, recipients: Iterable[str]) -> None:
        """Follow these no more; what still comes for them is ignored. Acknowledgements of theirs stay valid."""
        for recipient in recipients:
            self._places.pop(recipient, None)

    def resume(self) -> list[Position]:
        """All recipients and positions, for the first messages of a new connection."""
        for place in self._places.values():
            place.moved = False
        return [
            Position(recipient=recipient, cursor=place.cursor) for recipient, place in self._places.items()
        ]

    def read(self, events: Sequence[InboxEvent], progress: Progress) -> Iterator[Step]:
        """The steps of a message, in order."""
        for event, cursor in zip(events, _cursors(events), strict=True):
            yield Step(event.recipient, cursor, event)
        for position in progress.positions:
            yield Step(position.recipient, position.cursor, None)

    def hand(self, step: Step) -> Event | None:
        """Take a step: move the position, and return the event that the application is to get.

        None where there is none: a repetition, a recipient no longer followed, or nothing but a position.
        """
        place = self._places.get(step.recipient)
        if place is None:
            return None
        event = self._event(place, step)
        if event is not None:
            self._sequence = event.sequence
        if isinstance(event, ResetHappened):
            self._pending.pop(step.recipient, None)
            place = self._places[step.recipient] = _Place(cursor="", reset=event.sequence)
        if step.cursor:
            place.cursor = step.cursor
        if isinstance(event, Entry | ResetHappened):
            place.handed = event.sequence
        elif step.cursor and self.acknowledges_progress and place.acknowledged >= place.handed:
            # Nothing is in the application's hands, so it has dealt with everything up to here. Without this, the
            # position of one whose changes are all hidden by the filter would one day be too old to resume from.
            self._pending[step.recipient] = (self._sequence, step.cursor)
        if isinstance(event, ResetHappened) and event.left_out:
            del self._places[step.recipient]
        return event

    def acknowledge(self, event: Event) -> None:
        """The application has dealt with this event and all earlier ones of its recipient."""
        place = self._places.get(event.recipient)
        cursor = event.cursor
        if place is not None:
            if event.sequence < max(place.acknowledged, place.reset):
                return
            place.acknowledged = event.sequence
            if 0 < place.handed <= event.sequence:
                # Its position may have moved on meanwhile, past what is of no concern to the application.
                cursor = place.cursor
        if cursor and self._pending.get(event.recipient, (0, ""))[0] <= event.sequence:
            self._pending[event.recipient] = (event.sequence, cursor)

    @property
    def has_acknowledgements(self) -> bool:
        """Whether there are positions to acknowledge."""
        return bool(self._pending)

    def take_acknowledgements(self, limit: int) -> list[Position]:
        """Remove and return up to `limit` positions to acknowledge, the latest of each recipient."""
        recipients = list(islice(self._pending, limit))
        return [Position(recipient=key, cursor=self._pending.pop(key)[1]) for key in recipients]

    def return_acknowledgements(self, positions: Iterable[Position]) -> None:
        """Take back positions that may not have arrived; later ones of the same recipients stand."""
        for position in positions:
            self._pending.setdefault(position.recipient, (0, position.cursor))

    def _event(self, place: _Place, step: Step) -> Event | None:
        if step.event is None:
            return None
        recipient, cursor, sequence = step.recipient, step.cursor or None, self._sequence + 1
        match step.event.WhichOneof("event"):
            case "notification":
                entry = step.event.notification
                if entry.revision <= place.revision:
                    if not place.moved:
                        return None
                    place.moved = False  # what was asked for begins here
                place.revision = entry.revision
                return Entry(recipient=recipient, cursor=cursor, sequence=sequence, notification=entry)
            case "summary":
                counts = (step.event.summary.unread, step.event.summary.unseen, step.event.summary.total)
                if counts == place.counts:
                    return None
                place.counts = counts
                unread, unseen, total = counts
                return SummaryChanged(
                    recipient=recipient,
                    cursor=cursor,
                    sequence=sequence,
                    unread=unread,
                    unseen=unseen,
                    total=total,
                )
            case "reset":
                return ResetHappened(
                    recipient=recipient,
                    cursor=cursor,
                    sequence=sequence,
                    reason=enum_name(ErrorReason, step.event.reset.reason),
                    oldest_cursor=step.event.reset.oldest_cursor or None,
                )
            case _:
                return None  # a kind of event that only a newer server knows


def _cursors(events: Sequence[InboxEvent]) -> list[str]:
    """The position after each event, empty where there is none.

    A cursor stands on a recipient's last event in the message, which is often a summary. Counts are no change, so the
    entry before them has reached the same position: one who deals with entries only can acknowledge it.
    """
    cursors: list[str] = []
    after: dict[str, str] = {}
    for event in reversed(events):
        cursor = event.cursor or after.get(event.recipient, "")
        after[event.recipient] = cursor if event.HasField("summary") else ""
        cursors.append(cursor)
    cursors.reverse()
    return cursors
