"""The time of a store: the machine's, unless the database has one of its own."""

import time

from tocsin_server.domain.time import Micros


class SystemClock:
    """Implements `ports.Clock`: wall time that never steps back within the process; `offset` is for tests."""

    def __init__(self, offset: Micros = 0) -> None:
        self.offset = offset
        self._ahead: Micros | None = None
        self._latest = 0

    def follow(self, now: Micros) -> None:
        """From here on goes with another clock, which says what time it is: all replicas go with the database's.

        In between only the time that passes is measured here: this machine's own may be set anew at any moment.
        """
        if self._ahead is None:
            # What it said before anything was stored binds it to nothing.
            self._latest = 0
        self._ahead = now - time.monotonic_ns() // 1000

    def now(self) -> Micros:
        """Microseconds since the Unix epoch."""
        ahead = self._ahead
        machine = time.time_ns() // 1000 if ahead is None else time.monotonic_ns() // 1000 + ahead
        now = machine + self.offset
        if now < self._latest:
            return self._latest
        self._latest = now
        return now
