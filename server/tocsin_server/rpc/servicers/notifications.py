"""NotificationService: sending, and what became of what was sent."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from tocsin.v1 import notification_service_pb2 as pb
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.ids import parse_id
from tocsin_server.rpc.admission import Admission
from tocsin_server.rpc.bulk import Sifted, sift
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import notifications as convert
from tocsin_server.rpc.convert.content import sent_content_from
from tocsin_server.rpc.convert.sending import (
    SendAnswers,
    plan_message,
    plan_request_from,
    send_request_from,
)
from tocsin_server.rpc.methods import Gathered, Streaming, Unary
from tocsin_server.rpc.streams import MessageStream
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.notifications import Notifications
from tocsin_server.service.ports import Codec
from tocsin_server.service.sending import Sending, SendRequest

_READ_AHEAD = 8
"""Messages of a SendStream that are under way at once: enough that the writer always has the next ones."""

_DEADLINE_STEP_S = 0.01
"""Deadlines of calls that are served together are the same up to this."""


class NotificationServicer:
    """Serves NotificationService."""

    service = pb.DESCRIPTOR.services_by_name["NotificationService"]

    def __init__(
        self,
        sending: Sending,
        notifications: Notifications,
        codec: Codec,
        shape: Shape,
        admission: Admission,
    ) -> None:
        self._sending = sending
        self._notifications = notifications
        self._codec = codec
        self._shape = shape
        self._admission = admission
        self._answers = SendAnswers()

    def methods(self) -> Mapping[str, Unary | Gathered | Streaming]:
        """Every RPC with the scope that it needs."""
        return {
            "Send": Gathered(Scope.SEND, self.send),
            "SendBatch": Unary(Scope.SEND, self.send_batch),
            "SendStream": Streaming(Scope.SEND, self.send_stream),
            "PlanSend": Unary(Scope.SEND, self.plan),
            "GetNotification": Unary(Scope.NOTIFICATIONS_READ, self.get),
            "ListNotifications": Unary(Scope.NOTIFICATIONS_READ, self.list),
            "CancelNotifications": Unary(Scope.SEND, self.cancel),
            "ReviseNotification": Unary(Scope.SEND, self.revise),
        }

    async def send(self, calls: Sequence[tuple[pb.SendRequest, CallContext]]) -> list[bytes | TocsinError]:
        """One notification a call."""
        answers: dict[int, bytes | TocsinError] = {}
        alike: dict[tuple[Principal, str, float | None], dict[int, SendRequest]] = {}
        for place, (request, call) in enumerate(calls):
            try:
                asked = send_request_from(request)
            except TocsinError as error:
                answers[place] = error.with_traceback(None)
                continue
            sender = (call.principal, call.trace_parent, _rounded(call.deadline))
            alike.setdefault(sender, {})[place] = asked
        for sent in await asyncio.gather(*(self._send_alike(*each, asked) for each, asked in alike.items())):
            answers |= sent
        return [answers[place] for place in range(len(calls))]

    async def _send_alike(
        self,
        principal: Principal,
        trace_parent: str,
        deadline: float | None,
        asked: Mapping[int, SendRequest],
    ) -> dict[int, bytes | TocsinError]:
        """The answers to requests of one sender, by their places."""
        results = await self._sending.send(
            principal, list(asked.values()), trace_parent=trace_parent, deadline=deadline
        )
        return {
            place: result if isinstance(result, TocsinError) else self._answers.one(result)
            for place, result in zip(asked, results, strict=True)
        }

    async def send_batch(self, request: pb.SendBatchRequest, call: CallContext) -> bytes:
        """Many notifications."""
        return await self._send_many(await self._sifted(request.items), call)

    async def send_stream(self, stream: MessageStream[pb.SendStreamRequest], call: CallContext) -> None:
        """Messages of many notifications, some of them under way at once, answered in their order."""
        under_way = asyncio.Queue[asyncio.Task[bytes] | None]()
        room = asyncio.Semaphore(_READ_AHEAD)

        async def take_next(read: Callable[[], Awaitable[pb.SendStreamRequest | None]]) -> bool:
            request = await read()
            if request is None:
                return False
            sifted, queued = await self._sifted(request.items), asyncio.Event()
            sending = asyncio.create_task(self._send_many(sifted, call, queued.set))
            sending.add_done_callback(lambda _: queued.set())
            under_way.put_nowait(sending)
            # What comes later must not get ahead of what waits for a template or a profile to be read.
            await queued.wait()
            return True

        async def take() -> None:
            try:
                more = await take_next(stream.first)
                while more:
                    await room.acquire()
                    more = await take_next(stream.read)
            finally:
                under_way.put_nowait(None)

        taking = asyncio.create_task(take())
        try:
            with self._admission.at_drain(stream.stop_reading):
                while (answer := await under_way.get()) is not None:
                    await stream.write(await answer)
                    room.release()
            await taking  # says why no more was taken, now that all that was taken is answered
        finally:
            taking.cancel()
            while not under_way.empty():
                if (unanswered := under_way.get_nowait()) is not None:
                    unanswered.cancel()

    async def plan(self, request: pb.PlanSendRequest, call: CallContext) -> pb.PlanSendResponse:
        """What sending would do."""
        return plan_message(await self._sending.plan(call.principal, plan_request_from(request)))

    async def get(self, request: pb.GetNotificationRequest, call: CallContext) -> pb.GetNotificationResponse:
        """One notification and its timeline."""
        details = await self._notifications.get(call.principal, parse_id(request.notification_id))
        return convert.details_message(details, self._encode)

    async def list(
        self, request: pb.ListNotificationsRequest, call: CallContext
    ) -> pb.ListNotificationsResponse:
        """A page of notifications."""
        page = await self._notifications.list(
            call.principal, convert.filter_from(request), request.page_size, request.page_token
        )
        return convert.page_message(page, self._encode)

    async def cancel(
        self, request: pb.CancelNotificationsRequest, call: CallContext
    ) -> pb.CancelNotificationsResponse:
        """Cancels by ids or by thread."""
        answer = await self._notifications.cancel(
            call.principal,
            request.request_id,
            convert.ids_from(request.notifications),
            request.thread.recipient,
            request.thread.thread,
            deadline=call.deadline,
        )
        return convert.cancel_message(answer)

    async def revise(
        self, request: pb.ReviseNotificationRequest, call: CallContext
    ) -> pb.ReviseNotificationResponse:
        """Replaces a content."""
        result = await self._notifications.revise(
            call.principal,
            request.request_id,
            parse_id(request.notification_id),
            sent_content_from(request.content),
            request.renotify,
            deadline=call.deadline,
        )
        return convert.revise_message(result)

    async def _sifted(self, items: Sequence[pb.SendItem]) -> Sifted[SendRequest]:
        return await sift(self._shape, items, send_request_from)

    async def _send_many(
        self,
        sifted: Sifted[SendRequest],
        call: CallContext,
        on_queued: Callable[[], object] = lambda: None,
    ) -> bytes:
        results = await self._sending.send(
            call.principal,
            sifted.good,
            trace_parent=call.trace_parent,
            deadline=call.deadline,
            on_queued=on_queued,
        )
        return self._answers.many(sifted.results(results))

    def _encode(self, entry: StoredEntry) -> bytes:
        return self._codec.stored_notification(entry, with_trace=True)


def _rounded(deadline: float | None) -> float | None:
    """Down, as nothing is to be written after it."""
    return None if deadline is None else deadline // _DEADLINE_STEP_S * _DEADLINE_STEP_S
