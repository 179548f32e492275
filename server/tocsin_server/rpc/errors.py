"""From errors of the domain to statuses on the wire: the one table, and the details that go with them.

Every status carries one `google.rpc.ErrorInfo` (https://google.aip.dev/193), and what helps the caller go on:
BadRequest with the fields, RetryInfo with a delay, QuotaFailure with the quota.
"""

import secrets
from typing import Any, Never

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from tocsin_server.domain import errors
from tocsin_server.domain.errors import InvalidFields, QuotaExceeded, TocsinError, Violation
from tocsin_server.rpc.convert.times import duration
from tocsin_server.service.tracing import parse_trace_parent

DOMAIN = "tocsin"
STATUS_DETAILS_KEY = "grpc-status-details-bin"

MAX_LISTED_VIOLATIONS = 20
_MAX_DETAILS_BYTES = 4_096
"""All trailing metadata must stay below 8 KB, in base64 (4/3) and with the message beside it, or clients drop it."""
_MAX_MESSAGE_BYTES = 320
"""Percent-encoding makes it up to three times as long."""
_MAX_TEXT_CHARS = 160

CODES: dict[type[TocsinError], grpc.StatusCode] = {
    TocsinError: grpc.StatusCode.INTERNAL,
    errors.Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.CursorOutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.NotificationFinal: grpc.StatusCode.FAILED_PRECONDITION,
    errors.BroadcastFinal: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CategoryMandatory: grpc.StatusCode.FAILED_PRECONDITION,
    errors.FeatureNotBuilt: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.SessionTerminated: grpc.StatusCode.ABORTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""A class stands for all below it that have no line of their own."""


class Internal(TocsinError):
    """The server has a defect. Its log has more under this trace id."""


def code_of(error: TocsinError) -> grpc.StatusCode:
    """The canonical code, from the nearest class that the table has."""
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def error_status(error: TocsinError) -> Status:
    """The error with its details, as an item's result holds it."""
    number, _ = code_of(error).value
    status = Status(code=number, message=_cut_bytes(error.message, _MAX_MESSAGE_BYTES))
    for detail in (_error_info(error), *_help(error)):
        status.details.add().Pack(detail)
    return status


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", error: TocsinError) -> Never:
    """Ends the call with the error. Raises AbortError."""
    status = error_status(error)
    trailing = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    await context.abort(code_of(error), status.message, trailing)


def internal(trace_parent: str) -> Internal:
    """What a caller is told of a defect: where to find it in the log, and nothing else."""
    trace = parse_trace_parent(trace_parent)
    return Internal(trace_id=secrets.token_hex(16) if trace is None else f"{trace.trace_id:032x}")


def _error_info(error: TocsinError) -> details.ErrorInfo:
    metadata = {key: _cut(value, _MAX_TEXT_CHARS) for key, value in error.metadata.items()}
    return details.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)


def _help(error: TocsinError) -> list[Message]:
    helpful: list[Message] = []
    if isinstance(error, InvalidFields):
        helpful.append(_bad_request(error.violations))
    if isinstance(error, QuotaExceeded):
        violation = details.QuotaFailure.Violation(
            subject=error.metadata.get("quota", ""), description=_cut(error.message, _MAX_TEXT_CHARS)
        )
        helpful.append(details.QuotaFailure(violations=[violation]))
    if error.retry_delay is not None:
        helpful.append(details.RetryInfo(retry_delay=duration(error.retry_delay)))
    return helpful


def _bad_request(violations: list[Violation]) -> details.BadRequest:
    """The first violations, as many as the trailing metadata holds."""
    bad_request = details.BadRequest()
    room = _MAX_DETAILS_BYTES
    for violation in violations[:MAX_LISTED_VIOLATIONS]:
        field_violation = details.BadRequest.FieldViolation(
            field=_cut(violation.field, _MAX_TEXT_CHARS),
            description=_cut(violation.description, _MAX_TEXT_CHARS),
        )
        room -= field_violation.ByteSize()
        if room < 0:
            break
        bad_request.field_violations.append(field_violation)
    return bad_request


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _cut_bytes(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else encoded[: size - 3].decode(errors="ignore") + "…"
