"""Send, SendBatch and SendStream: requests, and answers joined from encoded fields."""

from collections.abc import Iterable

from tocsin.v1 import notification_pb2
from tocsin.v1 import notification_service_pb2 as pb
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.sending import PlannedDelivery
from tocsin_server.rpc.convert.content import sent_content_from
from tocsin_server.rpc.convert.notification import decision_message, spec_from
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.rpc.errors import error_status
from tocsin_server.rpc.wire import delimited, tag, varint
from tocsin_server.service.sending import SendPlan, SendRequest, SendResult

_TRUE = b"\x01"


def send_request_from(message: pb.SendRequest | pb.SendItem, path: str = "") -> SendRequest:
    """A checked request. Raises FeatureNotBuilt with the field's path, which begins with `path`."""
    return _request(message.notification, message.request_id, path)


def plan_request_from(message: pb.PlanSendRequest) -> SendRequest:
    """A checked request. Raises FeatureNotBuilt."""
    return _request(message.notification, "", "")


def plan_message(plan: SendPlan) -> pb.PlanSendResponse:
    """What sending would do."""
    settled = plan.plan
    return pb.PlanSendResponse(
        disposition=notification_pb2.Disposition.ValueType(settled.disposition),
        enters_inbox=settled.entered,
        content=notification_pb2.Notification.FromString(plan.shown.content).content,
        deliveries=map(_delivery_message, settled.deliveries),
        decisions=map(decision_message, settled.decisions),
    )


def _request(spec: notification_pb2.NotificationSpec, request_id: str, path: str) -> SendRequest:
    content = None if spec.HasField("template") else sent_content_from(spec.content)
    return SendRequest(request_id, spec_from(spec, f"{path}notification."), content)


def _delivery_message(planned: PlannedDelivery) -> pb.PlannedDelivery:
    return pb.PlannedDelivery(
        channel=notification_pb2.Channel.ValueType(planned.channel),
        address=planned.address,
        provider=planned.provider,
        due_time=timestamp(planned.due_time),
    )


class SendAnswers:
    """Encodes answers, of which a bulk call has as many as it has items."""

    def __init__(self) -> None:
        self._response_result = tag(pb.SendResponse.DESCRIPTOR, "result")
        self._results = tag(pb.SendBatchResponse.DESCRIPTOR, "results")
        self._item_result = tag(pb.SendItemResult.DESCRIPTOR, "result")
        self._item_error = tag(pb.SendItemResult.DESCRIPTOR, "error")
        result = pb.SendResult.DESCRIPTOR
        self._notification_id = tag(result, "notification_id")
        self._disposition = tag(result, "disposition")
        self._cursor = tag(result, "cursor")
        self._decisions = tag(result, "decisions")
        self._replayed = tag(result, "replayed")

    def one(self, result: SendResult) -> bytes:
        """A SendResponse."""
        return delimited(self._response_result, self._result(result))

    def many(self, results: Iterable[SendResult | TocsinError]) -> bytes:
        """A SendBatchResponse, whose fields are those of a SendStreamResponse."""
        return b"".join([delimited(self._results, self._item(result)) for result in results])

    def _item(self, result: SendResult | TocsinError) -> bytes:
        if isinstance(result, TocsinError):
            return delimited(self._item_error, error_status(result).SerializeToString())
        return delimited(self._item_result, self._result(result))

    def _result(self, result: SendResult) -> bytes:
        receipt = result.receipt
        encoded = (
            delimited(self._notification_id, format_id(receipt.notification_id).encode())
            + self._disposition
            + varint(receipt.disposition)
        )
        if result.cursor:
            encoded += delimited(self._cursor, result.cursor.encode())
        for decision in receipt.decisions:
            encoded += delimited(self._decisions, decision_message(decision).SerializeToString())
        if result.replayed:
            encoded += self._replayed + _TRUE
        return encoded
