"""Items to send, and what became of each."""

from collections.abc import Iterable
from dataclasses import dataclass

from tocsin.errors import ServerError, TocsinError, error_from_status
from tocsin.ids import new_request_id
from tocsin.v1.notification_pb2 import NotificationSpec
from tocsin.v1.notification_service_pb2 import SendItem, SendItemResult, SendResult

__all__ = ("SendOutcome",)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one item of `send_batch` or `send_many`. Either `result` or `error` is there.

    Attributes:
        item: what was sent, with its request id: sending it again is safe.
        result: it was accepted and is durable; `result.disposition` says what follows.
        error: it was refused, as `Client.send` would have failed.
    """

    item: SendItem
    result: SendResult | None = None
    error: TocsinError | None = None

    def unwrap(self) -> SendResult:
        """The result.

        Raises:
            TocsinError: the error, if there is no result.
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None
        return self.result


def item_of(spec: NotificationSpec | SendItem) -> SendItem:
    """The spec as an item with a request id; an item that has one is returned as it is.

    Raises:
        TypeError: it is neither a spec nor an item.
    """
    match spec:
        case SendItem() if spec.request_id:
            return spec
        case SendItem():
            return SendItem(request_id=new_request_id(), notification=spec.notification)
        case NotificationSpec():
            return SendItem(request_id=new_request_id(), notification=spec)
        case _:
            raise TypeError(f"{type(spec).__name__} is neither a NotificationSpec nor a SendItem")


def outcomes_of(items: Iterable[SendItem], results: Iterable[SendItemResult]) -> list[SendOutcome]:
    """The outcomes of the items, given the server's results in their order.

    Raises:
        ServerError: there are not as many results as items.
    """
    try:
        return [
            SendOutcome(item, error=error_from_status(result.error))
            if result.HasField("error")
            else SendOutcome(item, result=result.result)
            for item, result in zip(items, results, strict=True)
        ]
    except ValueError:
        raise ServerError("the number of results is not that of the items") from None
