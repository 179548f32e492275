"""Who may enter: how many calls and streams are served at once, and whether any are while the server drains."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tocsin_server.domain.errors import ServerDraining, TooManyRequests, TooManyStreams


class Admission:
    """Counts what is being served and closes the doors in two steps.

    Draining: streams are turned away and those that only take, end; calls are still served, because a balancer takes a
    moment to send them elsewhere. Closed: everything is turned away.
    """

    def __init__(self, max_calls: int, max_streams: int) -> None:
        self.draining = False
        self.closed = asyncio.Event()
        self.calls = 0
        self.streams = 0
        self._endings = set[Callable[[], object]]()
        self._max_calls = max_calls
        self._max_streams = max_streams

    def enter_call(self) -> None:
        """Counts a call in. Raises ServerDraining, TooManyRequests; the caller leaves only what it has entered."""
        if self.closed.is_set():
            raise ServerDraining
        if self.calls >= self._max_calls:
            raise TooManyRequests(limit=self._max_calls)
        self.calls += 1

    def leave_call(self) -> None:
        """Counts a call out."""
        self.calls -= 1

    def enter_stream(self) -> None:
        """Counts a stream in. Raises ServerDraining, TooManyStreams; the caller leaves only what it has entered."""
        if self.draining:
            raise ServerDraining
        if self.streams >= self._max_streams:
            raise TooManyStreams(limit=self._max_streams)
        self.streams += 1

    def leave_stream(self) -> None:
        """Counts a stream out."""
        self.streams -= 1

    @contextmanager
    def at_drain(self, end: Callable[[], object]) -> Iterator[None]:
        """Within it, `end` is called when the server begins to drain."""
        self._endings.add(end)
        try:
            yield
        finally:
            self._endings.discard(end)

    def drain(self) -> None:
        """Turns streams away from now on, and has those end that only take."""
        self.draining = True
        for end in tuple(self._endings):
            end()

    def close(self) -> None:
        """Turns everything away from now on."""
        self.drain()
        self.closed.set()
