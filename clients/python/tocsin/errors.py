"""Errors of the client.

    TocsinError                  whatever a call, or one item of it, failed with
    ├── InvalidRequestError      INVALID_ARGUMENT: the request breaks a rule; `violations` names the fields
    ├── CredentialsError         UNAUTHENTICATED: no key or token, or one that is unknown, expired or revoked
    ├── PermissionDeniedError    PERMISSION_DENIED: the key may not do this, or its tenant is suspended
    ├── NotFoundError            NOT_FOUND
    ├── AlreadyExistsError       ALREADY_EXISTS: above all REQUEST_ID_REUSED, the id of a different request
    ├── PreconditionError        FAILED_PRECONDITION: what is to be changed is final, or mandatory
    ├── CursorError              OUT_OF_RANGE: the cursor is of another recipient, filter or incarnation, or too old
    ├── FeatureNotBuiltError     UNIMPLEMENTED: this server does not do it; `metadata["field"]` says what
    ├── ExhaustedError           RESOURCE_EXHAUSTED: a limit; worth another try when `retry_after` is there
    ├── UnavailableError         UNAVAILABLE: no server, or one that cannot serve now; nothing was decided
    ├── DeadlineExceededError    DEADLINE_EXCEEDED: no answer in time; the outcome is unknown
    ├── AbortedError             ABORTED: an operator ended the session
    ├── ServerError              INTERNAL and every other code: a defect, or something that is not Tocsin answered
    └── ClosedError              the client was closed while the call was under way

The client tries again by itself where `is_transient` says that it helps; what reaches the caller has outlasted that.
`reason` is a name of `tocsin.v1.ErrorReason` without its prefix, and the thing to branch on:

    try:
        await client.notifications.revise(notification_id, content)
    except tocsin.PreconditionError as error:
        if error.reason != "NOTIFICATION_FINAL":
            raise
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

__all__ = (
    "AbortedError",
    "AlreadyExistsError",
    "ClosedError",
    "CredentialsError",
    "CursorError",
    "DeadlineExceededError",
    "ExhaustedError",
    "FeatureNotBuiltError",
    "InvalidRequestError",
    "NotFoundError",
    "PermissionDeniedError",
    "PreconditionError",
    "ServerError",
    "TocsinError",
    "UnavailableError",
    "Violation",
)

DOMAIN = "tocsin"
STATUS_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that breaks a rule: its path in the request, and what is wrong with it, for people."""

    field: str
    description: str


class TocsinError(Exception):
    """Whatever a call, or one item of it, failed with.

    Attributes:
        message: what happened and what to do, in English; for people, not for branching.
        code: the canonical gRPC code.
        reason: name of the `ErrorReason` without its prefix; empty when the failure did not come from a Tocsin server.
        metadata: what `ErrorReason` documents for the reason, such as {"recipient": "ada"}.
        violations: the fields that break a rule; at most 20, `metadata["violations"]` has their number.
        retry_after: seconds after which another try makes sense; None where the server did not say.
    """

    code = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[Violation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after

    def __str__(self) -> str:
        fields = "; ".join(f"{violation.field}: {violation.description}" for violation in self.violations)
        return f"{self.reason or self.code.name}: {self.message}" + (f" ({fields})" if fields else "")


class InvalidRequestError(TocsinError):
    """The request breaks a rule; `violations` names the fields."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class CredentialsError(TocsinError):
    """There is no key or token, or it is unknown, expired or revoked."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(TocsinError):
    """The key may not do this, or its tenant is suspended."""

    code = grpc.StatusCode.PERMISSION_DENIED


class NotFoundError(TocsinError):
    """What the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(TocsinError):
    """It exists already, or the request id was used for a different request."""

    code = grpc.StatusCode.ALREADY_EXISTS


class PreconditionError(TocsinError):
    """What is to be changed is in a final state, or must stay as it is."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class CursorError(TocsinError):
    """The cursor is of another recipient, filter or incarnation, or older than what is kept."""

    code = grpc.StatusCode.OUT_OF_RANGE


class FeatureNotBuiltError(TocsinError):
    """The field or call is part of the contract, but this server does not do it."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ExhaustedError(TocsinError):
    """A limit was reached. With `retry_after` it passes by itself, without it is lasting."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(TocsinError):
    """There is no server, or it cannot serve now. Nothing was decided: try again with the same request id."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(TocsinError):
    """No answer came in time. The outcome is unknown: try again with the same request id."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class AbortedError(TocsinError):
    """An operator ended the session."""

    code = grpc.StatusCode.ABORTED


class ServerError(TocsinError):
    """The server has a defect, or something that is not Tocsin answered in its place."""


class ClosedError(TocsinError):
    """The client is closed."""

    code = grpc.StatusCode.CANCELLED

    def __init__(self, message: str = "the client is closed") -> None:
        super().__init__(message)


_CLASSES: Mapping[grpc.StatusCode, type[TocsinError]] = {
    cls.code: cls
    for cls in (
        InvalidRequestError,
        CredentialsError,
        PermissionDeniedError,
        NotFoundError,
        AlreadyExistsError,
        PreconditionError,
        CursorError,
        FeatureNotBuiltError,
        ExhaustedError,
        UnavailableError,
        DeadlineExceededError,
        AbortedError,
    )
}
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def error_from_rpc(error: grpc.aio.AioRpcError) -> TocsinError:
    """The typed error of a failed call; details that cannot be read are left out."""
    return _error(error.code(), error.details() or "", _details(error.trailing_metadata()))


def error_from_status(status: Status) -> TocsinError:
    """The typed error of one item of a batch or stream."""
    return _error(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status.details)


def is_transient(error: TocsinError) -> bool:
    """Whether the same request may well succeed later: the server is away, or said when to come back."""
    return isinstance(error, UnavailableError) or (
        isinstance(error, ExhaustedError) and error.retry_after is not None
    )


def is_interruption(error: TocsinError) -> bool:
    """Whether a stream that ended so can be taken up again.

    Besides what is transient, that is a stream that something between client and server broke off: RST_STREAM shows
    up as CANCELLED or INTERNAL, and without a reason, since every failure that Tocsin means has one. So does any
    failure that reaches grpc.aio during a write, now and then: it loses the status ("Internal error from Core").
    """
    if is_transient(error):
        return True
    broken_off = error.code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL) and not error.reason
    return broken_off and not isinstance(error, ClosedError)


def _error(code: grpc.StatusCode, message: str, details: Iterable[Any]) -> TocsinError:
    reason, metadata = "", dict[str, str]()
    violations: list[Violation] = []
    retry_after: float | None = None
    info, bad_request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for detail in details:
        try:
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason, metadata = info.reason, dict(info.metadata)
            elif detail.Unpack(bad_request):
                violations += (Violation(v.field, v.description) for v in bad_request.field_violations)
            elif detail.Unpack(retry):
                retry_after = max(0.0, retry.retry_delay.ToTimedelta().total_seconds())
        except DecodeError:
            continue
    return _CLASSES.get(code, ServerError)(
        message, code=code, reason=reason, metadata=metadata, violations=violations, retry_after=retry_after
    )


def _details(metadata: grpc.aio.Metadata | None) -> Iterable[Any]:
    encoded = metadata.get(STATUS_DETAILS_KEY) if metadata is not None else None
    if not isinstance(encoded, bytes):
        return ()
    try:
        return Status.FromString(encoded).details
    except DecodeError:
        return ()
