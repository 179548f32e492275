"""Credit: how many notifications a gateway takes before it has acknowledged earlier ones."""

from collections import deque

from tocsin_server.service.position import Position


class Credit:
    """Counts what is under way on one stream."""

    __slots__ = ("in_flight", "max_in_flight")

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        """0: no bound."""
        self.in_flight = 0

    @property
    def left(self) -> int | None:
        """How many more may go out; None: no bound."""
        return max(self.max_in_flight - self.in_flight, 0) if self.max_in_flight else None

    def use(self, position: Position, revision: int) -> None:
        """A notification goes out."""
        if not self.max_in_flight:
            return
        if position.unacknowledged is None:
            position.unacknowledged = deque()
        position.unacknowledged.append(revision)
        self.in_flight += 1

    def free(self, position: Position, revision: int) -> None:
        """Everything of the position up to the revision was dealt with."""
        waiting = position.unacknowledged
        while waiting and waiting[0] <= revision:
            waiting.popleft()
            self.in_flight -= 1

    def release(self, position: Position) -> None:
        """Nothing of the position is waited for any more."""
        if position.unacknowledged:
            self.in_flight -= len(position.unacknowledged)
        position.unacknowledged = None
