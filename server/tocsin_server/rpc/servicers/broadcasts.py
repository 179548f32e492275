"""BroadcastService: one notification for many."""

from collections.abc import Mapping

from tocsin.v1 import broadcast_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.domain.ids import parse_id
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import broadcasts as convert
from tocsin_server.rpc.methods import Unary
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.broadcasts import Broadcasts


class BroadcastServicer:
    """Serves BroadcastService."""

    service = pb.DESCRIPTOR.services_by_name["BroadcastService"]

    def __init__(self, broadcasts: Broadcasts, shape: Shape) -> None:
        self._broadcasts = broadcasts
        self._shape = shape

    def methods(self) -> Mapping[str, Unary]:
        """Every RPC with the scope that it needs."""
        return {
            "CreateBroadcast": Unary(Scope.SEND, self.create),
            "GetBroadcast": Unary(Scope.NOTIFICATIONS_READ, self.get),
            "ListBroadcasts": Unary(Scope.NOTIFICATIONS_READ, self.list),
            "CancelBroadcast": Unary(Scope.SEND, self.cancel),
        }

    async def create(
        self, request: pb.CreateBroadcastRequest, call: CallContext
    ) -> pb.CreateBroadcastResponse:
        """Creates a broadcast."""
        asked = convert.send_request_of(request, self._shape)
        answer = await self._broadcasts.create(
            call.principal,
            request.request_id,
            convert.audience_from(request.audience),
            asked.spec,
            asked.content,
            trace_parent=call.trace_parent,
            deadline=call.deadline,
        )
        return pb.CreateBroadcastResponse(
            broadcast=convert.broadcast_message(answer.receipt), replayed=answer.replayed
        )

    async def get(self, request: pb.GetBroadcastRequest, call: CallContext) -> pb.GetBroadcastResponse:
        """One broadcast."""
        found = await self._broadcasts.get(call.principal, parse_id(request.broadcast_id))
        return pb.GetBroadcastResponse(broadcast=convert.broadcast_message(found))

    async def list(self, request: pb.ListBroadcastsRequest, call: CallContext) -> pb.ListBroadcastsResponse:
        """A page of broadcasts."""
        page = await self._broadcasts.list(call.principal, request.page_size, request.page_token)
        return convert.page_message(page)

    async def cancel(
        self, request: pb.CancelBroadcastRequest, call: CallContext
    ) -> pb.CancelBroadcastResponse:
        """Stops a broadcast."""
        answer = await self._broadcasts.cancel(
            call.principal, request.request_id, parse_id(request.broadcast_id), deadline=call.deadline
        )
        return pb.CancelBroadcastResponse(
            broadcast=convert.broadcast_message(answer.receipt), replayed=answer.replayed
        )
