"""What a subscriber is given, and the checks of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import tocsin
from tocsin_server.cli.failures import Failure

PATIENCE_S = 30.0


class Arrivals:
    """What the subscriber has been given. Made by `arrivals_of`."""

    def __init__(self, events: tocsin.Subscription) -> None:
        self._events = events
        self.entries: list[tocsin.Entry] = []
        self._changed = asyncio.Condition()
        self._failure: BaseException | None = None

    async def watch(self) -> None:
        """Takes events until cancelled."""
        try:
            async for event in self._events:
                if isinstance(event, tocsin.ResetHappened):
                    raise Failure(f"The stream was reset: {event.reason}.")
                if isinstance(event, tocsin.Entry):
                    self.entries.append(event)
                    await self._tell()
        except Exception as error:
            self._failure = error
            await self._tell()

    async def until(self, count: int) -> None:
        """Waits for so many entries. Raises Failure if they do not come."""
        try:
            async with asyncio.timeout(PATIENCE_S), self._changed:
                await self._changed.wait_for(lambda: len(self.entries) >= count or self._failure)
        except TimeoutError:
            raise Failure(
                f"{len(self.entries)} of {count} notifications arrived in {PATIENCE_S:g} s."
            ) from None
        if self._failure is not None:
            raise self._failure

    def check(self, sent: list[str]) -> None:
        """Each notification once, in order. Raises Failure."""
        got = [entry.notification.id for entry in self.entries]
        if missing := set(sent) - set(got):
            raise Failure(f"{len(missing)} notifications are missing.")
        if len(got) != len(set(got)):
            raise Failure(f"{len(got) - len(set(got))} notifications came twice.")
        if got != sent:
            raise Failure("Notifications came out of order.")

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def arrivals_of(client: tocsin.Client, recipient: str) -> AsyncIterator[Arrivals]:
    """All that a recipient has been given and is given, for the duration of the context."""
    async with client.subscribe(recipient, start="beginning") as events:
        arrivals = Arrivals(events)
        watching = asyncio.create_task(arrivals.watch())
        try:
            yield arrivals
        finally:
            watching.cancel()
