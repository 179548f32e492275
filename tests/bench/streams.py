"""Live streams seen from a client: opened, gathered from, and checked afterwards for what they brought."""

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.bench.http2 import Call, Connection, framed
from tests.bench.sending import NotArrived
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import (
    START_NOW,
    AttachAdd,
    AttachRequest,
    AttachResponse,
    AttachStart,
    InboxEvent,
    Position,
    SubscribeRequest,
)

SUBSCRIBE = "/tocsin.v1.InboxService/Subscribe"
ATTACH = "/tocsin.v1.InboxService/Attach"
POSITIONS_PER_REQUEST = 10_000
ARRIVAL_S = 60


@dataclass
class Stream:
    """One stream and what it has brought: when each message came, and the message."""

    connection: Connection
    call: Call
    arrivals: list[tuple[float, bytes]] = field(default_factory=list)
    problem: str = ""

    @classmethod
    def attach(cls, connection: Connection, positions: Sequence[tuple[str, str]]) -> Self:
        """An Attach stream for any number of (recipient, cursor)."""
        wanted = [Position(recipient=recipient, cursor=cursor) for recipient, cursor in positions]
        chunks = [
            wanted[start : start + POSITIONS_PER_REQUEST]
            for start in range(0, len(wanted), POSITIONS_PER_REQUEST)
        ]
        first = AttachRequest(start=AttachStart(recipients=chunks[0], start=START_NOW))
        stream = cls._begin(connection, ATTACH, first.SerializeToString(), more=True)
        for chunk in chunks[1:]:
            request = AttachRequest(add=AttachAdd(recipients=chunk))
            connection.send(stream.call, framed(request.SerializeToString()))
        return stream

    @classmethod
    def subscribe(cls, connection: Connection, recipients: Iterable[str]) -> Self:
        """A Subscribe stream from now on."""
        positions = [Position(recipient=recipient) for recipient in recipients]
        request = SubscribeRequest(recipients=positions, start=START_NOW)
        return cls._begin(connection, SUBSCRIBE, request.SerializeToString(), more=False)

    @classmethod
    def _begin(cls, connection: Connection, path: str, request: bytes, *, more: bool) -> Self:
        arrivals: list[tuple[float, bytes]] = []
        call = connection.call(
            path,
            framed(request),
            lambda message: arrivals.append((time.monotonic(), message)),
            _ignore,
            more=more,
        )
        stream = cls(connection, call, arrivals)
        call.on_end = stream._ended
        return stream

    def watch(self, seen: Callable[[bytes], None]) -> None:
        """Shows every message that comes from now on, too."""
        arrivals = self.arrivals

        def arrived(message: bytes) -> None:
            arrivals.append((time.monotonic(), message))
            seen(message)

        self.call.on_message = arrived

    def close(self) -> None:
        """Ends the stream."""
        self.connection.cancel(self.call)

    def events(self) -> Iterable[tuple[float, InboxEvent]]:
        """Everything that came, with the instant of its arrival."""
        for instant, message in self.arrivals:
            for event in AttachResponse.FromString(message).events:
                yield instant, event

    async def placed(self, count: int) -> None:
        """Returns when so many recipients have a place on the stream, and forgets what came until then."""
        seen: set[str] = set()
        looked = 0

        def all_placed() -> bool:
            nonlocal looked
            if self.problem:
                raise NotArrived(f"the stream ended: {self.problem}")
            for _, message in self.arrivals[looked:]:
                seen.update(
                    event.recipient
                    for event in AttachResponse.FromString(message).events
                    if event.HasField("summary")
                )
            looked = len(self.arrivals)
            return len(seen) >= count

        await eventually(all_placed, f"the summaries of {count} recipients", ARRIVAL_S)
        self.arrivals.clear()

    def _ended(self, problem: str) -> None:
        self.problem = problem or "OK"


class Revisions:
    """Checks that what a stream brings of each recipient follows on what it brought before."""

    def __init__(self) -> None:
        self.latest: dict[str, int] = {}
        self.cursors: dict[str, str] = {}

    def take(self, event: InboxEvent) -> None:
        """Raises NotArrived for an entry that was skipped or came twice."""
        if event.HasField("reset"):
            raise NotArrived(f"{event.recipient} was reset: {event.reset}")
        if event.HasField("notification"):
            revision = event.notification.revision
            expected = self.latest.get(event.recipient, revision - 1) + 1
            if revision != expected:
                raise NotArrived(f"{event.recipient}: revision {revision} came in the place of {expected}")
            self.latest[event.recipient] = revision
            if event.cursor:
                self.cursors[event.recipient] = event.cursor


class Control:
    """The control socket of a hub server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Connected to the socket at the path."""
        await eventually(path.exists, "the control socket")
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, what: str, **details: object) -> dict[str, Any]:
        """The answer to a request."""
        self._writer.write(json.dumps({"do": what, **details}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await self._reader.readline())
        return answer

    def close(self) -> None:
        """Ends the connection."""
        self._writer.close()


async def paced(count: int, per_second: float, begin: Callable[[int], None]) -> None:
    """Calls `begin` with 0, 1, … at its instants, whatever becomes of the calls before."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(count):
        delay = started + number / per_second - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        begin(number)


def _ignore(_problem: str) -> None:
    pass
