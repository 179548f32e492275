"""RecipientService: who recipients are, and erasing or handing out what is kept about them."""

from collections.abc import Mapping
from functools import partial

from tocsin.v1 import recipient_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.rpc.bulk import sift
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import recipients as convert
from tocsin_server.rpc.methods import Streaming, Unary
from tocsin_server.rpc.streams import MessageStream
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.ports import Codec
from tocsin_server.service.recipients import Recipients


class RecipientServicer:
    """Serves RecipientService."""

    service = pb.DESCRIPTOR.services_by_name["RecipientService"]

    def __init__(self, recipients: Recipients, codec: Codec, shape: Shape) -> None:
        self._recipients = recipients
        self._shape = shape
        self._encode = partial(codec.stored_notification, with_trace=True)

    def methods(self) -> Mapping[str, Unary | Streaming]:
        """Every RPC with the scope that it needs."""
        return {
            "UpsertRecipients": Unary(Scope.RECIPIENTS_WRITE, self.upsert),
            "GetRecipient": Unary(Scope.RECIPIENTS_READ, self.get),
            "ListRecipients": Unary(Scope.RECIPIENTS_READ, self.list),
            "DeleteRecipient": Unary(Scope.RECIPIENTS_WRITE, self.delete),
            "ExportRecipient": Streaming(Scope.RECIPIENTS_READ, self.export),
        }

    async def upsert(
        self, request: pb.UpsertRecipientsRequest, call: CallContext
    ) -> pb.UpsertRecipientsResponse:
        """Creates or changes recipients."""
        sifted = await sift(self._shape, request.items, convert.upsert_request_from)
        answers = await self._recipients.upsert(call.principal, sifted.good, deadline=call.deadline)
        return convert.upsert_message(sifted.results(answers))

    async def get(self, request: pb.GetRecipientRequest, call: CallContext) -> pb.GetRecipientResponse:
        """One recipient."""
        recipient = await self._recipients.get(call.principal, request.recipient)
        return pb.GetRecipientResponse(recipient=convert.recipient_message(recipient))

    async def list(self, request: pb.ListRecipientsRequest, call: CallContext) -> pb.ListRecipientsResponse:
        """A page of recipients."""
        page = await self._recipients.list(
            call.principal, request.key_prefix, request.page_size, request.page_token
        )
        return convert.page_message(page)

    async def delete(
        self, request: pb.DeleteRecipientRequest, call: CallContext
    ) -> pb.DeleteRecipientResponse:
        """Erases a recipient."""
        answer = await self._recipients.delete(
            call.principal, request.request_id, request.recipient, deadline=call.deadline
        )
        return convert.delete_message(answer)

    async def export(self, stream: MessageStream[pb.ExportRecipientRequest], call: CallContext) -> None:
        """Hands out everything that is kept about a recipient."""
        request = await stream.only()
        async for part in self._recipients.export(call.principal, request.recipient):
            stream.go_on()
            await stream.write(convert.part_message(part, self._encode).SerializeToString())
