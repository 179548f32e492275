"""Following a fixed set of recipients."""

from collections.abc import Iterable

from tocsin.acknowledger import Acknowledger
from tocsin.events import Event
from tocsin.ledger import Ledger
from tocsin.live import LiveStream, ServerStream
from tocsin.transport import Transport
from tocsin.v1.inbox_service_pb2 import Start, SubscribeRequest, SubscribeResponse
from tocsin.values import duration

__all__ = ("Subscription",)


class Subscription(LiveStream[SubscribeResponse]):
    """The events of up to 1,000 recipients. Made by `Client.subscribe`; how it iterates is said at `LiveStream`.

    Ends by itself when a reset has left out the last recipient.
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
    ) -> None:
        super().__init__(transport, Ledger(positions), heartbeat)
        self._request = SubscribeRequest(
            consumer=consumer, start=start, categories=categories, heartbeat_interval=duration(heartbeat)
        )
        self._acknowledger = (
            Acknowledger(transport, self._ledger, consumer, self._has_failed) if consumer else None
        )
        self._ledger.acknowledges_progress = bool(consumer)

    def ack(self, *events: Event) -> None:
        """Acknowledge these events and all earlier ones of their recipients, for the named consumer.

        Returns at once; the latest position of each recipient is sent within a fraction of a second, and when the
        subscription is closed. Of events that travelled together only the last one of a recipient has a position:
        acknowledge each one, and it is not missed. Where sending fails for good, the iteration raises the error.

        Raises:
            ValueError: the subscription has no consumer.
        """
        acknowledger = self._required_acknowledger()
        for event in events:
            self._ledger.acknowledge(event)
        if self._ledger.has_acknowledgements:
            acknowledger.schedule()

    async def flush(self) -> None:
        """Send the acknowledgements given so far, and return when they are recorded.

        Raises:
            TocsinError: they could not be sent, or the server refused one.
            ValueError: the subscription has no consumer.
        """
        await self._required_acknowledger().flush()

    def _open(self) -> ServerStream[SubscribeResponse]:
        request = SubscribeRequest()
        request.CopyFrom(self._request)
        request.recipients.extend(self._ledger.resume())
        return self._transport.stubs.inbox.Subscribe(request)

    def _acknowledge_soon(self) -> None:
        if self._acknowledger is not None:
            self._acknowledger.schedule()

    def _raise_failure(self) -> None:
        if self._acknowledger is not None:
            self._acknowledger.raise_failure()

    def _is_over(self) -> bool:
        return len(self._ledger) == 0

    async def _finish(self) -> None:
        if self._acknowledger is not None:
            await self._acknowledger.close()

    def _required_acknowledger(self) -> Acknowledger:
        if self._acknowledger is None:
            raise ValueError("only a named consumer acknowledges: subscribe with `consumer`")
        return self._acknowledger
