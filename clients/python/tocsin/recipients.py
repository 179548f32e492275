"""The profiles of recipients."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from google.protobuf.field_mask_pb2 import FieldMask

from tocsin.errors import TocsinError, error_from_status
from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.recipient_service_pb2 import (
    DeleteRecipientRequest,
    DeleteRecipientResponse,
    ExportRecipientRequest,
    ExportRecipientResponse,
    GetRecipientRequest,
    ListRecipientsRequest,
    ListRecipientsResponse,
    Recipient,
    UpsertRecipientItem,
    UpsertRecipientsRequest,
)

__all__ = ("Recipients", "UpsertOutcome")


@dataclass(frozen=True, slots=True)
class UpsertOutcome:
    """What became of one recipient of an upsert. Either `recipient` or `error` is there.

    Attributes:
        recipient: as it is now.
        error: why it was refused.
        replayed: whether this is the first answer given again.
    """

    recipient: Recipient | None = None
    error: TocsinError | None = None
    replayed: bool = False


class Recipients:
    """`client.recipients`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.recipients

    async def upsert(
        self, recipients: Iterable[Recipient | UpsertRecipientItem], *, fields: Iterable[str] = ()
    ) -> list[UpsertOutcome]:
        """Create or change up to 1,000 recipients, each on its own; one outcome each, in their order.

        Args:
            recipients: the new values; or items, which have a request id and field mask of their own.
            fields: which of locale, time_zone, attributes and addresses to set; empty: all of them.
        """
        mask = FieldMask(paths=fields)
        items = [_item_of(recipient, mask) for recipient in recipients]
        if not items:
            return []
        response = await self._transport.call(
            self._stub.UpsertRecipients, UpsertRecipientsRequest(items=items)
        )
        return [
            UpsertOutcome(error=error_from_status(result.error))
            if result.HasField("error")
            else UpsertOutcome(result.recipient, replayed=result.replayed)
            for result in response.results
        ]

    async def get(self, recipient: str) -> Recipient:
        """One recipient."""
        request = GetRecipientRequest(recipient=recipient)
        return (await self._transport.call(self._stub.GetRecipient, request)).recipient

    def all(self, *, key_prefix: str = "", page_size: int = 0) -> AsyncIterator[Recipient]:
        """All recipients of the tenant, by key.

        Args:
            key_prefix: only keys that begin so; empty: all.
            page_size: how many a call fetches; 0: the server's default of 50.
        """
        request = ListRecipientsRequest(key_prefix=key_prefix, page_size=page_size)

        async def fetch(token: str) -> ListRecipientsResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListRecipients, request)

        return self._transport.items(fetch, lambda page: iter(page.recipients))

    async def delete(
        self,
        recipient: str,
        *,
        request_id: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (the server is told it)
    ) -> DeleteRecipientResponse:
        """Erase everything personal of a recipient. A large inbox takes longer than the usual timeout."""
        request = DeleteRecipientRequest(request_id=request_id or new_request_id(), recipient=recipient)
        return await self._transport.call(self._stub.DeleteRecipient, request, timeout)

    def export(self, recipient: str) -> AsyncIterator[ExportRecipientResponse]:
        """Everything that is stored about a recipient, part by part. Not resumed when it breaks off."""
        request = ExportRecipientRequest(recipient=recipient)
        return self._transport.stream(self._stub.ExportRecipient, request)


def _item_of(recipient: Recipient | UpsertRecipientItem, mask: FieldMask) -> UpsertRecipientItem:
    if isinstance(recipient, Recipient):
        return UpsertRecipientItem(request_id=new_request_id(), recipient=recipient, update_mask=mask)
    if recipient.request_id:
        return recipient
    item = UpsertRecipientItem(request_id=new_request_id())
    item.MergeFrom(recipient)
    return item
