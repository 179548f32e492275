"""The time."""

from typing import Protocol

from tocsin_server.domain.time import Micros


class Clock(Protocol):
    """The time."""

    def now(self) -> Micros:
        """Never less than it was before within this process."""
