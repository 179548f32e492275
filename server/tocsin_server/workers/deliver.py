"""Delivering: claims what is due, calls its provider, records what came of it.

A claim is committed before the call and its result after it, so that no transaction is open meanwhile. A call begins
only while its lease leaves it the time that it may take: then no two of one delivery are under way at once, unless the
process stands still in the middle of one. The result of such a call is refused by the fencing token.
"""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import structlog

from tocsin_server.domain.bodies import completed, derive_body
from tocsin_server.domain.commands import (
    SYSTEM_TENANT,
    ClaimDeliveries,
    ClaimedDelivery,
    RecordDelivery,
    RecordOutcome,
)
from tocsin_server.domain.delivery import (
    Attempted,
    Delivery,
    Failed,
    OutgoingMessage,
    Rejected,
    idempotency_key,
)
from tocsin_server.domain.errors import StorageUnavailable, TocsinError
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.ports import Clock, Codec, Committed, DeliveryReader, Writer
from tocsin_server.service.providers import Providers
from tocsin_server.service.status import Component, QueueReport

CALL_SHARE = 0.5
"""A call takes at most this part of its lease: the rest is for the way to its begin and for recording its result."""

COUNTED_DUE = 1_000
"""Up to so many deliveries that are due are counted."""

LATE: Micros = 30 * SECOND
"""From here on it is reported that deliveries do not keep up."""

LONGEST_SLEEP_SECONDS = 1.0
"""Deliveries that other processes planned are noticed after this at the latest."""

PAUSE_SECONDS = 0.1
"""After what failed, or found nothing where there was something."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverLimits:
    """What the loop keeps to."""

    concurrency: int
    """Calls under way at once."""
    call_timeout: Micros
    """A provider that takes longer counts as failed."""

    @property
    def lease(self) -> Micros:
        """How long a claim holds."""
        return int(self.call_timeout / CALL_SHARE)


class DeliverWorker:
    """Run `run` as a task; end with `drain`."""

    def __init__(
        self,
        reader: DeliveryReader,
        writer: Writer,
        clock: Clock,
        codec: Codec,
        providers: Providers,
        component: Component,
        limits: DeliverLimits,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._codec = codec
        self._providers = providers
        self._component = component
        self._limits = limits
        self._calls: set[asyncio.Task[None]] = set()
        self._earlier = asyncio.Event()
        self._wake_at: Micros | None = None
        self._draining = False
        self._claims_no_more = asyncio.Event()
        self._due_count = 0
        self.lag: Micros = 0
        """How late the earliest delivery that is due is."""
        self.attempts: Counter[tuple[str, str]] = Counter()
        """Calls by the name of their channel and what came of them."""

    def __call__(self, committed: Committed) -> None:
        """Notes an earlier delivery; a `ports.CommitListener`."""
        due = committed.earliest_delivery
        if due is not None and (self._wake_at is None or due < self._wake_at):
            self._earlier.set()

    def queue(self) -> QueueReport:
        """What is due and not claimed, as far as it was last counted."""
        return QueueReport("deliveries", self._due_count, 0, self.lag)

    async def run(self) -> None:
        """Delivers what falls due, until it is drained."""
        while not self._draining:
            try:
                await self._turn()
            except StorageUnavailable:
                await asyncio.sleep(LONGEST_SLEEP_SECONDS)
        self._claims_no_more.set()

    async def drain(self, seconds: float) -> None:
        """Claims nothing more, and gives what is under way so long to end. The rest is claimed anew by others, when its
        lease has ended."""
        self._draining = True
        self._earlier.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._claims_no_more.wait()
                while self._calls:
                    await asyncio.wait(self._calls)
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _turn(self) -> None:
        """Claims what is due now and begins its calls, or sleeps until something is due or can be begun."""
        free = self._limits.concurrency - len(self._calls)
        if not free:
            await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            return
        self._earlier.clear()
        # Until it is known how long to sleep, any new delivery counts as earlier.
        self._wake_at = None
        now = self._clock.now()
        horizon = now + int(LONGEST_SLEEP_SECONDS * SECOND)
        backlog = await self._reader.delivery_backlog(now, horizon, COUNTED_DUE)
        self._report(backlog.due_count, 0 if backlog.earliest is None else max(now - backlog.earliest, 0))
        if backlog.due_count:
            await self._claim(free)
            return
        self._wake_at = horizon if backlog.earliest is None else backlog.earliest
        delay = (self._wake_at - self._clock.now()) / SECOND
        if delay > 0 and not self._draining:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._earlier.wait(), delay)

    async def _claim(self, limit: int) -> None:
        """Claims as many as can be begun at once: one that waited here would have less of its lease."""
        ends = _monotonic() + self._limits.lease / SECOND
        command = ClaimDeliveries(tenant=SYSTEM_TENANT, limit=limit, lease=self._limits.lease)
        (answer,) = await self._writer.submit((command,))
        if isinstance(answer, TocsinError):
            log.warning("deliveries could not be claimed", error=answer.message)
            await asyncio.sleep(LONGEST_SLEEP_SECONDS)
            return
        for claimed in answer.receipt.deliveries:
            call = asyncio.create_task(self._deliver(claimed, ends))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        if not answer.receipt.deliveries and not answer.receipt.closed_count:
            # All that is due is locked by others.
            await asyncio.sleep(PAUSE_SECONDS)

    async def _deliver(self, claimed: ClaimedDelivery, ends: float) -> None:
        """One call, unless it is too late to begin it: then the delivery is claimed anew when its lease has ended."""
        delivery = claimed.delivery
        if _monotonic() > ends - self._limits.call_timeout / SECOND:
            return
        if delivery.expire_time is not None and delivery.expire_time <= self._clock.now():
            return
        attempted = await self._attempt(claimed)
        self.attempts[delivery.channel.name.lower(), type(attempted).__name__.lower()] += 1
        await self._record(delivery, attempted, ends)

    async def _attempt(self, claimed: ClaimedDelivery) -> Attempted:
        """Calls the provider. Whatever it does wrong counts as a failure."""
        delivery = claimed.delivery
        provider = self._providers.provider(delivery.channel, delivery.provider)
        if provider is None:
            return Failed(f"The provider {delivery.provider} is not enabled.")
        try:
            message = self._message(claimed)
            if message is None:
                return Rejected("Its content is gone.")
            async with asyncio.timeout(self._limits.call_timeout / SECOND):
                return await provider.send(message)
        except TimeoutError:
            return Failed(f"No answer within {self._limits.call_timeout / SECOND:g} s.")
        except Exception as error:
            log.exception("a delivery failed", provider=provider.name, **_names(delivery))
            return Failed(f"The provider's adapter failed: {type(error).__name__}.")

    def _message(self, claimed: ClaimedDelivery) -> OutgoingMessage | None:
        """What the provider is told; None when there is nothing left to tell."""
        delivery = claimed.delivery
        if claimed.content is None:
            return None
        content, own = self._codec.content(claimed.content), claimed.body
        return OutgoingMessage(
            delivery.tenant,
            delivery.notification_id,
            delivery.channel,
            delivery.address,
            derive_body(content, delivery.channel) if own is None else completed(own, content),
            content,
            idempotency_key(delivery.tenant, delivery.notification_id, delivery.channel, delivery.address),
            delivery.attempts,
            delivery.expire_time,
            self._codec.trace_parent(claimed.trace),
        )

    async def _record(self, delivery: Delivery, attempted: Attempted, ends: float) -> None:
        """Tries until the lease ends: a result that is lost is a message sent twice."""
        command = RecordDelivery(
            tenant=delivery.tenant,
            pk=delivery.pk,
            notification_id=delivery.notification_id,
            fence=delivery.fence,
            attempted=attempted,
            jitter=random.random(),  # noqa: S311  # spreads retries, no secret
        )
        while True:
            (answer,) = await self._writer.submit((command,))
            if not isinstance(answer, TocsinError):
                break
            if _monotonic() > ends:
                log.warning(
                    "a result could not be recorded: the delivery is made again",
                    error=answer.message,
                    **_names(delivery),
                )
                return
            await asyncio.sleep(PAUSE_SECONDS)
        if answer.receipt is not RecordOutcome.RECORDED:
            log.warning("a result came too late", outcome=answer.receipt.name, **_names(delivery))

    def _report(self, due_count: int, lag: Micros) -> None:
        self._due_count, self.lag = due_count, lag
        if lag < LATE:
            self._component.ok()
        else:
            self._component.degraded(
                f"deliveries are {lag // SECOND} s late", "E-mail, push and the like arrive late."
            )


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _names(delivery: Delivery) -> dict[str, object]:
    """Which one it is, for the log."""
    return {
        "tenant": delivery.tenant,
        "notification_id": format_id(delivery.notification_id),
        "channel": delivery.channel.name,
        "attempt": delivery.attempts,
    }
