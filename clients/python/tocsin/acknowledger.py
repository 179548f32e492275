"""Sending acknowledgements of a named consumer, gathered for a while."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tocsin.errors import TocsinError, error_from_status, is_transient
from tocsin.ledger import Ledger
from tocsin.tasks import stop
from tocsin.transport import Transport
from tocsin.v1.inbox_service_pb2 import AcknowledgeRequest, Position

__all__ = ("AckOutcome", "Acknowledger", "acknowledge")

logger = logging.getLogger("tocsin")

# Of the longest keys and cursors, 10,000 positions, which the contract allows, would not fit into the server's 4 MiB.
MAX_POSITIONS_A_MESSAGE = 5_000
GATHER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class AckOutcome:
    """What became of one acknowledged position.

    Attributes:
        recipient: the recipient's key.
        cursor: the position now recorded, which may be higher than the one given; None when it was refused.
        error: why it was refused; None when it was not.
    """

    recipient: str
    cursor: str | None
    error: TocsinError | None


async def acknowledge(
    transport: Transport, consumer: str, positions: Mapping[str, str], timeout_seconds: float | None
) -> list[AckOutcome]:
    """Acknowledge positions, in as many calls as it takes; one outcome a position, in their order.

    Raises:
        TocsinError: a call failed; positions of the calls before it are recorded.
    """
    wanted = [Position(recipient=recipient, cursor=cursor) for recipient, cursor in positions.items()]
    outcomes: list[AckOutcome] = []
    for start in range(0, len(wanted), MAX_POSITIONS_A_MESSAGE):
        part = wanted[start : start + MAX_POSITIONS_A_MESSAGE]
        outcomes += await _acknowledge(transport, consumer, part, timeout_seconds)
    return outcomes


async def _acknowledge(
    transport: Transport, consumer: str, positions: Sequence[Position], timeout_seconds: float | None = None
) -> list[AckOutcome]:
    response = await transport.call(
        transport.stubs.inbox.Acknowledge,
        AcknowledgeRequest(consumer=consumer, positions=positions),
        timeout_seconds,
    )
    return [
        AckOutcome(result.recipient, None, error_from_status(result.error))
        if result.HasField("error")
        else AckOutcome(result.recipient, result.cursor, None)
        for result in response.results
    ]


class Acknowledger:
    """Sends what a ledger has to acknowledge, at most every 0.2 s, while there is something."""

    def __init__(
        self,
        transport: Transport,
        ledger: Ledger,
        consumer: str,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_failure` is called when there is something for `raise_failure` to raise."""
        self._transport = transport
        self._ledger = ledger
        self._consumer = consumer
        self._on_failure = on_failure
        self._task: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._failure: TocsinError | None = None

    def schedule(self) -> None:
        """Have the acknowledgements sent soon."""
        if self._task is None:
            self._task = asyncio.create_task(self._send_soon())

    def raise_failure(self) -> None:
        """Raise what sending them failed with since the last time, if it did."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    async def flush(self) -> None:
        """Send the acknowledgements now, and return when they are recorded.

        Raises:
            TocsinError: they could not be sent, or the server refused some. What could not be sent is kept.
        """
        async with self._sending:
            while positions := self._ledger.take_acknowledgements(MAX_POSITIONS_A_MESSAGE):
                try:
                    outcomes = await _acknowledge(self._transport, self._consumer, positions)
                except BaseException:
                    self._ledger.return_acknowledgements(positions)
                    raise
                for outcome in outcomes:
                    self._check(outcome)

    async def close(self) -> None:
        """Send what is left. If that fails the events come again some day, which is said in the log only."""
        try:
            await self.flush()
        except TocsinError as error:
            logger.warning("the last acknowledgements of %s are not recorded: %s", self._consumer, error)
        finally:
            if self._task is not None:
                await stop(self._task)

    async def _send_soon(self) -> None:
        try:
            while self._ledger.has_acknowledgements:
                await asyncio.sleep(GATHER_SECONDS)
                try:
                    await self.flush()
                except TocsinError as error:
                    if not is_transient(error):
                        self._failure = error
                        self._on_failure()
                        return
                    logger.warning("acknowledgements of %s are delayed: %s", self._consumer, error)
        finally:
            self._task = None

    def _check(self, outcome: AckOutcome) -> None:
        if outcome.error is None:
            return
        if outcome.error.reason == "INCARNATION_CHANGED":
            # The inbox was erased after the event: the stream says so with a reset, and there is nothing to record.
            logger.info("acknowledgement of an erased inbox was dropped: %s", outcome.recipient)
            return
        raise outcome.error
