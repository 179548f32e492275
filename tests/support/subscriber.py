"""A subscriber that tells the oracle of all it receives, and comes back whenever its stream ends."""

import asyncio
import random
from collections.abc import Sequence

import grpc
from google.protobuf.duration_pb2 import Duration

from tests.support.calls import asks_again
from tests.support.oracle import Oracle
from tests.support.waiting import INTERVAL_S
from tests.support.wire import counts_of, entry_of
from tocsin.v1.error_reason_pb2 import ErrorReason
from tocsin.v1.inbox_service_pb2 import (
    START_BEGINNING,
    InboxEvent,
    Position,
    SubscribeRequest,
    SubscribeResponse,
)
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub


class Subscriber:
    """Follows recipients from the beginning, or from given cursors, on one stream after another.

    When a stream breaks as one does when a server goes away, it goes on from the last cursors, or, for a share of the
    recipients, from an
    older one of those kept. Any other end is an error, raised by `run`.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        oracle: Oracle,
        name: str,
        recipients: Sequence[str],
        rng: random.Random,
        *,
        older_share: float = 0.0,
        kept_cursors: int = 20,
        expects_resets: bool = False,
    ) -> None:
        self.name = name
        self.session_id = ""
        self.stream_count = 0
        """How many streams have begun."""
        self.message_count = 0
        """How many messages have come, heartbeats among them."""
        self._stub = InboxServiceStub(channel)
        self._reading = asyncio.Event()
        self._reading.set()
        self._oracle = oracle
        self._rng = rng
        self._older_share = older_share
        self._kept_cursors = kept_cursors
        self._expects_resets = expects_resets
        # Of each recipient: how far it has got, and the cursors it was given, each with how far it had got by then.
        self._reached: dict[str, int] = dict.fromkeys(recipients, 0)
        self._cursors: dict[str, list[tuple[str, int]]] = {recipient: [("", 0)] for recipient in recipients}

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                await self._follow()
            except grpc.aio.AioRpcError as error:
                if not asks_again(error):
                    raise
                await asyncio.sleep(INTERVAL_S)

    def stop_reading(self) -> None:
        """Leave what comes in the stream, and the stream open."""
        self._reading.clear()

    def read_on(self) -> None:
        """Read again, after stop_reading."""
        self._reading.set()

    def start_from(self, recipient: str, cursor: str, revision: int) -> None:
        """Begin at a cursor at which somebody else had received everything up to a revision."""
        self._reached[recipient] = revision
        self._cursors[recipient] = [(cursor, revision)]

    def cursors(self, recipient: str) -> Sequence[tuple[str, int]]:
        """The latest cursors of a recipient, each with the last revision that had been received by then."""
        return tuple(self._cursors[recipient])

    def reached(self, recipient: str) -> int:
        """The last revision received on the present stream, or the one that it began after."""
        return self._reached[recipient]

    async def _follow(self) -> None:
        """One stream, from its beginning to its end."""
        chosen = {recipient: self._choose(cursors) for recipient, cursors in self._cursors.items()}
        request = SubscribeRequest(
            recipients=[Position(recipient=key, cursor=cursor) for key, (cursor, _) in chosen.items()],
            start=START_BEGINNING,
            heartbeat_interval=Duration(seconds=1),
        )
        began = False
        async for message in self._stub.Subscribe(request):
            if not began:
                began = True
                self._begin({recipient: revision for recipient, (_, revision) in chosen.items()})
            self._take(message)
            await self._reading.wait()
        raise AssertionError(f"the stream of {self.name} ended with OK")

    def _choose(self, cursors: list[tuple[str, int]]) -> tuple[str, int]:
        return self._rng.choice(cursors) if self._rng.random() < self._older_share else cursors[-1]

    def _begin(self, revisions: dict[str, int]) -> None:
        self.stream_count += 1
        self.session_id = ""
        for recipient, revision in revisions.items():
            self._reached[recipient] = revision
            # Cursors beyond the one it went back to would be from a future that this stream has not seen.
            self._cursors[recipient] = [kept for kept in self._cursors[recipient] if kept[1] <= revision]
            self._oracle.follows(self.name, recipient, revision)

    def _take(self, message: SubscribeResponse) -> None:
        self.message_count += 1
        self.session_id = message.session_id or self.session_id
        for event in message.events:
            self._take_event(event)
            self._keep(event.recipient, event.cursor)
        for position in message.progress.positions:
            self._keep(position.recipient, position.cursor)

    def _take_event(self, event: InboxEvent) -> None:
        match event.WhichOneof("event"):
            case "notification":
                entry = entry_of(event.notification)
                self._reached[event.recipient] = entry.revision
                self._oracle.received(self.name, entry)
            case "summary":
                self._oracle.counted(self.name, event.recipient, counts_of(event.summary))
            case "reset":
                reason = ErrorReason.Name(event.reset.reason)
                self._reached[event.recipient] = 0
                self._cursors[event.recipient] = [("", 0)]
                self._oracle.reset(self.name, event.recipient, reason, expected=self._expects_resets)
            case kind:
                raise AssertionError(f"an event of an unknown kind: {kind}")

    def _keep(self, recipient: str, cursor: str) -> None:
        if cursor:
            cursors = self._cursors[recipient]
            cursors.append((cursor, self._reached[recipient]))
            del cursors[: -self._kept_cursors]
