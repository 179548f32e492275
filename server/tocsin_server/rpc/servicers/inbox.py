"""InboxService: live streams, the durable inbox, marks and interactions."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tocsin.v1 import inbox_service_pb2 as pb
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.errors import InvalidFields, Violation
from tocsin_server.domain.ids import parse_id
from tocsin_server.domain.inbox import InteractionKind, Mark
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import inbox as convert
from tocsin_server.rpc.convert.times import micros
from tocsin_server.rpc.methods import Streaming, Unary
from tocsin_server.rpc.streams import MessageStream, run_beside
from tocsin_server.service.inboxes import Inboxes
from tocsin_server.service.ports import Codec
from tocsin_server.service.session import Session, SessionKind
from tocsin_server.service.sessions import Sessions


class InboxServicer:
    """Serves InboxService."""

    service = pb.DESCRIPTOR.services_by_name["InboxService"]

    def __init__(
        self,
        sessions: Sessions,
        inboxes: Inboxes,
        codec: Codec,
        *,
        max_recipients_per_subscribe: int,
        max_recipients_per_attach: int,
    ) -> None:
        self._sessions = sessions
        self._inboxes = inboxes
        self._codec = codec
        self._pages = convert.EntryPages()
        self._max_recipients_per_subscribe = max_recipients_per_subscribe
        self._max_recipients_per_attach = max_recipients_per_attach

    def methods(self) -> Mapping[str, Unary | Streaming]:
        """Every RPC with the scope that it needs."""
        return {
            "Subscribe": Streaming(Scope.INBOX_READ, self.subscribe),
            "Attach": Streaming(Scope.INBOX_READ, self.attach),
            # Says how far a reader has got, and changes nothing in the inbox: on a stream it needs no more either.
            "Acknowledge": Unary(Scope.INBOX_READ, self.acknowledge),
            "ListEntries": Unary(Scope.INBOX_READ, self.list_entries),
            "GetSummary": Unary(Scope.INBOX_READ, self.get_summary),
            "MarkEntries": Unary(Scope.INBOX_WRITE, self.mark_entries),
            "RecordInteraction": Unary(Scope.INBOX_WRITE, self.record_interaction),
        }

    async def subscribe(self, stream: MessageStream[pb.SubscribeRequest], call: CallContext) -> None:
        """Follows recipients until the caller leaves."""
        request = await stream.only()
        options = convert.options_from(
            request, max_in_flight=0, max_recipients=self._max_recipients_per_subscribe
        )
        session = self._sessions.open(call.principal, SessionKind.SUBSCRIBE, call.peer, options)
        try:
            session.add(convert.positions_from(request.recipients))
            del request  # which can be large, while the stream may be open for days
            await _deliver(session, stream)
        finally:
            session.close()

    async def attach(self, stream: MessageStream[pb.AttachRequest], call: CallContext) -> None:
        """Follows recipients that come and go, until the caller leaves."""
        start = _start_of(await stream.only())
        options = convert.options_from(
            start, max_in_flight=start.max_in_flight, max_recipients=self._max_recipients_per_attach
        )
        session = self._sessions.open(call.principal, SessionKind.ATTACH, call.peer, options)
        try:
            session.add(convert.positions_from(start.recipients))
            del start
            await run_beside(_deliver(session, stream), _obey(session, stream))
        finally:
            session.close()

    async def acknowledge(self, request: pb.AcknowledgeRequest, call: CallContext) -> pb.AcknowledgeResponse:
        """Records positions of a consumer."""
        positions = convert.positions_from(request.positions)
        results = await self._inboxes.acknowledge(call.principal, request.consumer, positions)
        return convert.acknowledge_message(results)

    async def list_entries(self, request: pb.ListEntriesRequest, call: CallContext) -> bytes:
        """A page of an inbox."""
        result = await self._inboxes.entries(
            call.principal,
            request.recipient,
            convert.view_from(request.view),
            tuple(request.categories),
            request.thread,
            request.page_size,
            request.page_token,
        )
        return self._pages.encode(result, self._encode_for(call.principal))

    async def get_summary(self, request: pb.GetSummaryRequest, call: CallContext) -> pb.GetSummaryResponse:
        """Counts of inboxes."""
        summaries = await self._inboxes.summaries(
            call.principal, tuple(request.recipients), micros(request.max_staleness)
        )
        return convert.summaries_message(summaries)

    async def mark_entries(self, request: pb.MarkEntriesRequest, call: CallContext) -> pb.MarkEntriesResponse:
        """Marks entries."""
        result = await self._inboxes.mark(
            call.principal,
            request.request_id,
            request.recipient,
            Mark(request.mark),
            convert.selection_from(request),
            micros(request.snooze_until) if request.HasField("snooze_until") else None,
            deadline=call.deadline,
        )
        return convert.mark_message(result)

    async def record_interaction(
        self, request: pb.RecordInteractionRequest, call: CallContext
    ) -> pb.RecordInteractionResponse:
        """Records what a recipient did."""
        result = await self._inboxes.interact(
            call.principal,
            request.request_id,
            request.recipient,
            parse_id(request.notification_id),
            InteractionKind(request.kind),
            request.action_id,
            dict(request.inputs),
            deadline=call.deadline,
        )
        return convert.interaction_message(result)

    def _encode_for(self, principal: Principal) -> Callable[[StoredEntry], bytes]:
        return partial(self._codec.stored_notification, with_trace=not principal.end_user)


async def _deliver(session: Session, stream: MessageStream[Any]) -> None:
    async for message in session.messages():
        await stream.write(message)


async def _obey(session: Session, stream: MessageStream[pb.AttachRequest]) -> None:
    """Does what a gateway asks for, until it has sent its last request."""
    while await _obey_next(session, stream):
        pass


async def _obey_next(session: Session, stream: MessageStream[pb.AttachRequest]) -> bool:
    """Does one thing that a gateway asks for, and forgets the request: it can be large. False: there was none."""
    request = await stream.read()
    if request is None:
        return False
    match request.WhichOneof("request"):
        case "add":
            session.add(convert.positions_from(request.add.recipients))
            await session.told()
        case "remove":
            session.remove(tuple(request.remove.recipients))
        case "acknowledge":
            await session.acknowledge(convert.positions_from(request.acknowledge.positions))
        case "credit":
            session.grant(request.credit.max_in_flight)
        case _:
            raise InvalidFields([Violation("start", "must be in the first message only")])
    return True


def _start_of(request: pb.AttachRequest) -> pb.AttachStart:
    if not request.HasField("start"):
        raise InvalidFields([Violation("start", "must be in the first message")])
    return request.start
