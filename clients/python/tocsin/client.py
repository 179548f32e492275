"""The client of a Tocsin server."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Unpack, overload

from tocsin.acknowledger import AckOutcome, acknowledge
from tocsin.attachment import Attachment
from tocsin.broadcasts import Broadcasts
from tocsin.bulk import Specs, send_stream
from tocsin.categories import Categories
from tocsin.channel import ApiKeySource, Stubs, TLSConfig
from tocsin.ids import new_request_id
from tocsin.inbox import Inbox
from tocsin.live import Followed, positions_of
from tocsin.notifications import Notifications
from tocsin.preferences import PreferenceCenter
from tocsin.recipients import Recipients
from tocsin.retry import RetryPolicy
from tocsin.sending import SendOutcome, item_of, outcomes_of
from tocsin.specs import ContentLike, SpecOptions, one_spec
from tocsin.subscription import Subscription
from tocsin.system import System
from tocsin.templates import Templates
from tocsin.tenants import Tenants
from tocsin.topics import Topics
from tocsin.transport import Transport
from tocsin.v1.inbox_service_pb2 import Start
from tocsin.v1.notification_pb2 import NotificationSpec, TemplateRef
from tocsin.v1.notification_service_pb2 import (
    PlanSendRequest,
    PlanSendResponse,
    SendBatchRequest,
    SendItem,
    SendRequest,
    SendResult,
)
from tocsin.values import StartName, enum_value

__all__ = ("Client", "connect", "connect_from_environ")

DEFAULT_TARGET = "localhost:7700"
DEFAULT_TIMEOUT_SECONDS = 10.0


@asynccontextmanager
async def connect(
    target: str = DEFAULT_TARGET,
    *,
    api_key: ApiKeySource | None = None,
    tls: TLSConfig | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,  # noqa: ASYNC109 (of each call, not of this function)
    retry: RetryPolicy | None = None,
) -> AsyncIterator["Client"]:
    """A client, for the duration of the context; it connects with its first call, and again whenever it has to.

        async with tocsin.connect("tocsin.internal:7700", api_key=key, tls=tocsin.TLSConfig()) as client:
            await client.send(recipient="ada", category="build", content=("Build 17 failed", ""))

    Open subscriptions and attachments are closed at the end, other calls under way fail with `ClosedError`. One client
    serves any number of tasks of its event loop.

    Args:
        target: host:port, or any other target that gRPC knows.
        api_key: an API key or end user's token, or what returns the one to use now; None: none is sent.
        tls: how to encrypt; None: plain text, which shows the key to whoever listens.
        timeout: seconds for a call with all its attempts, unless the call says otherwise.
        retry: when to try again; None: `RetryPolicy()`.

    Raises:
        OSError, ValueError: the certificates cannot be used.
    """
    transport = Transport(target, api_key=api_key, tls=tls, timeout=timeout, retry=retry or RetryPolicy())
    try:
        yield Client(transport)
    finally:
        await transport.close()


@asynccontextmanager
async def connect_from_environ(
    environ: Mapping[str, str],
    *,
    tls: TLSConfig | None = None,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,  # noqa: ASYNC109 (of each call, not of this function)
    retry: RetryPolicy | None = None,
) -> AsyncIterator["Client"]:
    """As `connect`, with the target and the key from the environment's TOCSIN_TARGET and TOCSIN_API_KEY.

    Args:
        environ: usually `os.environ`. A variable that is missing or empty leaves the default.
        tls: as for `connect`.
        timeout: as for `connect`.
        retry: as for `connect`.
    """
    target = environ.get("TOCSIN_TARGET") or DEFAULT_TARGET
    api_key = environ.get("TOCSIN_API_KEY") or None
    async with connect(target, api_key=api_key, tls=tls, timeout=timeout, retry=retry) as client:
        yield client


class Client:
    """Sends notifications and receives them. Made by `connect`.

    A call that fails for a passing reason is made again within its timeout, with the same request id, so that nothing
    happens twice. What remains is raised as a `TocsinError`.

    Attributes:
        inbox: entries, counts, marks, interactions.
        notifications: what became of what was sent; cancelling and revising.
        recipients: their profiles.
        categories: where their notifications go, how urgent they are, how many there may be.
        preferences: what recipients want, and the tenant for them.
        topics: sets of recipients.
        broadcasts: one notification for many.
        system: status, sessions, API keys.
        templates: their versions, and previews.
        tenants: tenants and quotas.
        stubs: the generated stubs, for what has no method here.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.inbox = Inbox(transport)
        self.notifications = Notifications(transport)
        self.recipients = Recipients(transport)
        self.categories = Categories(transport)
        self.preferences = PreferenceCenter(transport)
        self.topics = Topics(transport)
        self.broadcasts = Broadcasts(transport)
        self.system = System(transport)
        self.templates = Templates(transport)
        self.tenants = Tenants(transport)
        self.stubs: Stubs = transport.stubs

    @overload
    async def send(
        self,
        notification: NotificationSpec,
        *,
        request_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
    ) -> SendResult: ...

    @overload
    async def send(
        self,
        *,
        recipient: str,
        category: str,
        content: ContentLike | None = None,
        template: TemplateRef | None = None,
        request_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
        **options: Unpack[SpecOptions],
    ) -> SendResult: ...

    async def send(
        self,
        notification: NotificationSpec | None = None,
        *,
        recipient: str = "",
        category: str = "",
        content: ContentLike | None = None,
        template: TemplateRef | None = None,
        request_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
        **options: Unpack[SpecOptions],
    ) -> SendResult:
        """Send one notification; when it returns, it is durable.

            await client.send(recipient="ada", category="build", content=("Build 17 failed", "2 of 340 tests"))

        Args:
            notification: a ready spec, in place of all that `tocsin.spec` takes.
            recipient: the recipient's key.
            category: what it is about.
            content: what to show. Either this or `template`.
            template: a stored template and its data.
            request_id: one of the caller's, to send the same notification once even across restarts of the caller; made
                anew when absent.
            timeout: seconds, retries included; None: the client's.
            options: see `SpecOptions`.

        Returns:
            The notification's id, what became of it (stored, scheduled, batched, suppressed), and why.

        Raises:
            TocsinError: it was refused, or there was no answer in time; sending it again with the same request id is
                safe.
            ValueError, TypeError: the values do not make a spec.
        """
        asked = one_spec(notification, recipient, category, content, template, options)
        request = SendRequest(request_id=request_id or new_request_id(), notification=asked)
        response = await self._transport.call(self.stubs.notifications.Send, request, timeout)
        return response.result

    @overload
    async def plan(
        self,
        notification: NotificationSpec,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
    ) -> PlanSendResponse: ...

    @overload
    async def plan(
        self,
        *,
        recipient: str,
        category: str,
        content: ContentLike | None = None,
        template: TemplateRef | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
        **options: Unpack[SpecOptions],
    ) -> PlanSendResponse: ...

    async def plan(
        self,
        notification: NotificationSpec | None = None,
        *,
        recipient: str = "",
        category: str = "",
        content: ContentLike | None = None,
        template: TemplateRef | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
        **options: Unpack[SpecOptions],
    ) -> PlanSendResponse:
        """What sending this notification now would do, and why. Nothing is sent or written.

            plan = await client.plan(recipient="ada", category="build", content=("Build 17 failed", ""))
            for decision in plan.decisions:
                print(decision.text)

        Args:
            notification: as for `send`.
            recipient: as for `send`.
            category: as for `send`.
            content: as for `send`.
            template: as for `send`.
            timeout: as for `send`.
            options: as for `send`.

        Returns:
            What would become of it, what it would show, where it would go out and when, and each decision with the rule
            and the layer that took it.

        Raises:
            TocsinError: it would be refused, or there was no answer in time.
            ValueError, TypeError: the values do not make a spec.
        """
        asked = one_spec(notification, recipient, category, content, template, options)
        request = PlanSendRequest(notification=asked)
        return await self._transport.call(self.stubs.notifications.PlanSend, request, timeout)

    async def send_batch(
        self,
        specs: Iterable[NotificationSpec | SendItem],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
    ) -> list[SendOutcome]:
        """Send up to 1,000 notifications in one call of at most 4 MiB, each accepted or refused on its own.

        Args:
            specs: what to send; a `SendItem` brings its own request id.
            timeout: seconds, retries included; None: the client's.

        Returns:
            One outcome each, in their order. An item refused for a passing reason is not sent again by itself.

        Raises:
            TocsinError: the call failed as a whole.
        """
        items = [item_of(item) for item in specs]
        if not items:
            return []
        request = SendBatchRequest(items=items)
        response = await self._transport.call(self.stubs.notifications.SendBatch, request, timeout)
        return outcomes_of(items, response.results)

    def send_many(
        self, specs: Specs, *, chunk: int = 500, window: int = 8, timeout: float = 60.0
    ) -> AsyncGenerator[SendOutcome, None]:
        """Send any number of notifications over one stream, as fast as it goes, and yield their outcomes in order.

            async for outcome in client.send_many(tocsin.spec(user, "news", text) for user in users):
                if outcome.error: ...

        When the connection breaks, exactly what has no answer is sent again on the next one, with the same request ids.
        An item that the server refuses for a passing reason (with a delay to wait, such as RATE_LIMITED) is sent again
        too, and may so be committed after later ones; the outcomes keep the order of the specs. At most
        `chunk` × (`window` + 1) items are held at a time, and no more are taken while nobody takes outcomes.

        To stop early, close the iterator (`contextlib.aclosing`). What was taken but not answered by then may or may
        not have been accepted. An asynchronous generator of specs is closed with it.

        Args:
            specs: an iterable, plain or asynchronous. A plain one should not block.
            chunk: items a message, at most 1,000; fewer while they come in slowly, or beyond 1 MiB.
            window: messages under way without an answer.
            timeout: seconds: how long to go on without any answer, or with an item being refused.

        Raises:
            TocsinError: the stream was refused, or could not be taken up again within the timeout.
            Exception: whatever `specs` raises, after the outcomes of all that came before.
        """
        if not 1 <= chunk <= 1_000 or window < 1:
            raise ValueError("chunk must be from 1 to 1,000, window at least 1")
        return send_stream(self._transport, specs, chunk=chunk, window=window, patience=timeout)

    def subscribe(
        self,
        recipients: Followed,
        *,
        consumer: str = "",
        start: StartName | Start.ValueType = "now",
        categories: Iterable[str] = (),
        heartbeat: float = 30.0,
    ) -> Subscription:
        """Follow up to 1,000 recipients: what was missed first, then what happens.

            async with client.subscribe("ada", start="unread") as events:
                async for event in events:
                    match event:
                        case tocsin.Entry(notification=entry): ...
                        case tocsin.SummaryChanged(unread=unread): ...
                        case tocsin.ResetHappened(): ...

        Args:
            recipients: one, several, or each with the cursor to go on from.
            consumer: a name under which acknowledged positions are kept by the server; a recipient without a cursor
                goes on from there.
            start: where to start without a cursor and without an acknowledged position: "now", "unread" (first all
                unread entries) or "beginning" (first all that is kept).
            categories: only entries of these; empty: all. Cursors belong to the set they were received with.
            heartbeat: seconds, 1 to 300; three of them without a sign of life and the connection is taken for dead.

        Raises:
            ValueError: there is no recipient.
        """
        positions = positions_of(recipients)
        if not positions:
            raise ValueError("there is nobody to follow")
        return Subscription(
            self._transport,
            positions,
            consumer=consumer,
            start=enum_value(Start, start),
            categories=categories,
            heartbeat=heartbeat,
        )

    def attach(
        self,
        recipients: Followed = (),
        *,
        consumer: str = "",
        start: StartName | Start.ValueType = "now",
        categories: Iterable[str] = (),
        heartbeat: float = 30.0,
        max_in_flight: int = 0,
    ) -> Attachment:
        """Follow up to 100,000 recipients that come and go, as a gateway does for its own clients.

            async with client.attach(max_in_flight=10_000) as events:
                events.add({"ada": cursor})
                async for event in events:
                    await deliver(event)
                    events.ack(event)

        Args:
            recipients: those to begin with; more by `Attachment.add`.
            consumer: as in `subscribe`.
            start: as in `subscribe`.
            categories: as in `subscribe`.
            heartbeat: as in `subscribe`.
            max_in_flight: how many notifications may be under way without an acknowledgement; at the bound everything
                waits on the server. 0: no bound.
        """
        return Attachment(
            self._transport,
            positions_of(recipients),
            consumer=consumer,
            start=enum_value(Start, start),
            categories=categories,
            heartbeat=heartbeat,
            max_in_flight=max_in_flight,
        )

    async def ack(
        self,
        consumer: str,
        positions: Mapping[str, str],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
    ) -> list[AckOutcome]:
        """Acknowledge positions for a named consumer, from wherever. The highest position counts.

        Args:
            consumer: its name.
            positions: a cursor for each recipient.
            timeout: seconds a call, retries included; None: the client's.

        Returns:
            One outcome a position, in their order.
        """
        return await acknowledge(self._transport, consumer, positions, timeout)
