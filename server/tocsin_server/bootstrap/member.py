"""A process of a fleet, as it sees itself: what its supervisor gave it, and how the two keep in touch.

They share a pair of sockets. One end is the member's standard input: it writes a line there once it serves. The other
end closed means stop, whether the supervisor asks for that or is gone; so no member outlives its supervisor, and one
that is asked to stop twice, by this and by a signal of the system's to all processes, still drains.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from tocsin_server.settings import Settings

VARIABLE = "TOCSIN_FLEET_MEMBER"
"""Set by the supervisor alone: the member's number and the address to listen on."""

READY = b"ready\n"


@dataclass(frozen=True, slots=True)
class Member:
    """One of the processes that share a port."""

    number: int
    listen: str
    """With the port that the supervisor holds."""

    @staticmethod
    def of(environ: Mapping[str, str]) -> "Member | None":
        """The member that this process is; None if no supervisor started it."""
        if VARIABLE not in environ:
            return None
        number, _, listen = environ[VARIABLE].partition(" ")
        return Member(int(number), listen)

    def environ(self) -> dict[str, str]:
        """What tells a new process that it is this member."""
        return {VARIABLE: f"{self.number} {self.listen}"}

    def settings(self, settings: Settings) -> Settings:
        """The settings of the fleet, as they are for this member."""
        port = settings.metrics_port
        return msgspec.structs.replace(
            settings,
            listen=self.listen,
            port_file=None,
            metrics_port=port + self.number if port else port,
        )

    def until_told(self, stop: Callable[[], None]) -> None:
        """Calls `stop` once when the supervisor asks for it, or is gone. To be called on the event loop."""
        loop, link = asyncio.get_running_loop(), sys.stdin.fileno()

        def on_readable() -> None:
            told = b""
            with suppress(ConnectionError):
                told = os.read(link, 1)
            if not told:
                loop.remove_reader(link)
                stop()

        loop.add_reader(link, on_readable)

    def tell_ready(self) -> None:
        """Lets the supervisor know that this member serves."""
        with suppress(ConnectionError):  # it is gone, which the event loop is about to be told
            os.write(sys.stdin.fileno(), READY)
