"""Following recipients that come and go, for gateways."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import grpc

from tocsin.acknowledger import MAX_POSITIONS_A_MESSAGE, Acknowledger
from tocsin.events import Event
from tocsin.ledger import Ledger
from tocsin.live import Followed, LiveStream, ServerStream, positions_of
from tocsin.transport import Transport
from tocsin.v1.inbox_service_pb2 import (
    AttachAcknowledge,
    AttachAdd,
    AttachCredit,
    AttachRemove,
    AttachRequest,
    AttachResponse,
    AttachStart,
    Position,
    Start,
)
from tocsin.values import duration

__all__ = ("Attachment",)

# Acknowledgements told this many others ago have left every buffer on the way to the server.
MAX_REMEMBERED = 100_000


class Attachment(LiveStream[AttachResponse]):
    """The events of up to 100,000 recipients that come and go. Made by `Client.attach`; iterates as `LiveStream` says.

    `add`, `remove`, `ack` and `credit` return at once; what they ask for is sent as fast as the connection takes it,
    and again on the next connection if this one breaks.
    """

    def __init__(
        self,
        transport: Transport,
        positions: dict[str, str],
        *,
        consumer: str,
        start: Start.ValueType,
        categories: Iterable[str],
        heartbeat: float,
        max_in_flight: int,
    ) -> None:
        super().__init__(transport, Ledger(positions), heartbeat)
        self._start = AttachStart(
            consumer=consumer,
            start=start,
            categories=categories,
            heartbeat_interval=duration(heartbeat),
            max_in_flight=max_in_flight,
        )
        self._ledger.acknowledges_progress = bool(consumer) or max_in_flight > 0
        self._failure: Exception | None = None
        # What the connection has not been told yet. A recipient is in one of them at most: the last word counts.
        self._to_add: dict[str, str] = {}
        self._to_remove: dict[str, None] = {}
        self._new_credit = False
        self._something_to_tell = asyncio.Event()
        # Acknowledgements told to this connection. There is no answer to them, so they are told to the next one too.
        self._told: dict[str, str] = {}

    def add(self, recipients: Followed) -> None:
        """Follow more recipients, or the same ones from another position.

        Args:
            recipients: with a cursor, to go on from there; without, from the consumer's position or as `start` says.
        """
        positions = positions_of(recipients)
        self._drop_steps(positions)
        self._ledger.follow(positions)
        for recipient, cursor in positions.items():
            self._to_remove.pop(recipient, None)
            self._to_add[recipient] = cursor
        self._something_to_tell.set()

    def remove(self, recipients: str | Iterable[str]) -> None:
        """Follow these no more. No event of theirs is handed out after this."""
        keys = {recipients: None} if isinstance(recipients, str) else dict.fromkeys(recipients)
        self._drop_steps(keys)
        self._ledger.leave(keys)
        for recipient in keys:
            self._to_add.pop(recipient, None)
        self._to_remove.update(keys)
        self._something_to_tell.set()

    def ack(self, *events: Event) -> None:
        """Say that these events and all earlier ones of their recipients have been dealt with.

        Frees their credit, and records the positions for a named consumer. Of events that travelled together only the
        last one of a recipient has a position: acknowledge each one, and it is not missed.
        """
        for event in events:
            self._ledger.acknowledge(event)
        self._acknowledge_soon()

    def credit(self, max_in_flight: int) -> None:
        """Let so many notifications be under way without an acknowledgement, from now on; 0: no bound."""
        self._start.max_in_flight = max_in_flight
        self._ledger.acknowledges_progress = bool(self._start.consumer) or max_in_flight > 0
        self._new_credit = True
        self._something_to_tell.set()

    def _open(self) -> ServerStream[AttachResponse]:
        call = self._transport.stubs.inbox.Attach()
        self._helpers.append(asyncio.create_task(self._tell(call, self._first_requests())))
        return call

    def _acknowledge_soon(self) -> None:
        self._something_to_tell.set()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _is_over(self) -> bool:
        return False

    async def _finish(self) -> None:
        if self._start.consumer:
            # By a call of their own, since that has an answer.
            self._retell_acknowledgements()
            await Acknowledger(self._transport, self._ledger, self._start.consumer).close()

    async def _tell(
        self, call: grpc.aio.StreamStreamCall[AttachRequest, AttachResponse], first: list[AttachRequest]
    ) -> None:
        try:
            for request in first:
                await call.write(request)
            while True:
                await self._something_to_tell.wait()
                self._something_to_tell.clear()
                for request in self._next_requests():
                    await call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended, and whoever reads from it learns why
        except Exception as error:
            self._failure = error
            call.cancel()

    def _first_requests(self) -> list[AttachRequest]:
        """What a new connection is told: everything that is so now."""
        self._to_add.clear()
        self._to_remove.clear()
        self._new_credit = False
        if self._start.consumer:
            self._retell_acknowledgements()
        positions = self._ledger.resume()
        start = AttachStart(recipients=positions[:MAX_POSITIONS_A_MESSAGE])
        start.MergeFrom(self._start)
        return [
            AttachRequest(start=start),
            *(
                AttachRequest(add=AttachAdd(recipients=positions[first : first + MAX_POSITIONS_A_MESSAGE]))
                for first in range(MAX_POSITIONS_A_MESSAGE, len(positions), MAX_POSITIONS_A_MESSAGE)
            ),
        ]

    def _next_requests(self) -> Iterator[AttachRequest]:
        """What has changed, each message made when the one before is written."""
        # First, so that the last positions of those who are removed still count.
        while positions := self._ledger.take_acknowledgements(MAX_POSITIONS_A_MESSAGE):
            self._remember(positions)
            yield AttachRequest(acknowledge=AttachAcknowledge(positions=positions))
        while keys := list(islice(self._to_remove, MAX_POSITIONS_A_MESSAGE)):
            for key in keys:
                del self._to_remove[key]
            yield AttachRequest(remove=AttachRemove(recipients=keys))
        while keys := list(islice(self._to_add, MAX_POSITIONS_A_MESSAGE)):
            added = [Position(recipient=key, cursor=self._to_add.pop(key)) for key in keys]
            yield AttachRequest(add=AttachAdd(recipients=added))
        if self._new_credit:
            self._new_credit = False
            yield AttachRequest(credit=AttachCredit(max_in_flight=self._start.max_in_flight))

    def _remember(self, positions: Iterable[Position]) -> None:
        if not self._start.consumer:
            return
        for position in positions:
            self._told.pop(position.recipient, None)  # so that the order is that of telling
            self._told[position.recipient] = position.cursor
        for recipient in list(islice(self._told, max(0, len(self._told) - MAX_REMEMBERED))):
            del self._told[recipient]

    def _retell_acknowledgements(self) -> None:
        told, self._told = self._told, {}
        self._ledger.return_acknowledgements(
            Position(recipient=recipient, cursor=cursor) for recipient, cursor in told.items()
        )
        self._something_to_tell.set()

    def _drop_steps(self, recipients: Iterable[str]) -> None:
        """Forget what has been received for these and not been handed out."""
        dropped = frozenset(recipients)
        if any(step.recipient in dropped for step in self._steps):
            self._steps = deque(step for step in self._steps if step.recipient not in dropped)
