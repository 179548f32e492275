"""The time of an embedded store: the machine's, as the database has no other."""

import time

from tocsin_server.domain.time import Micros


class SystemClock:
    """Implements `ports.Clock`: wall time that never steps back within the process; `offset` is for tests."""

    def __init__(self, offset: Micros = 0) -> None:
        self.offset = offset
        self._latest = 0

    def now(self) -> Micros:
        """Microseconds since the Unix epoch."""
        now = time.time_ns() // 1000 + self.offset
        if now < self._latest:
            return self._latest
        self._latest = now
        return now
