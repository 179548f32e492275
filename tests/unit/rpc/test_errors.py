import inspect
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, QuotaFailure, RetryInfo
from google.rpc.status_pb2 import Status

from tests.support.samples import TRACE_PARENT
from tocsin.v1 import error_reason_pb2
from tocsin_server.domain import errors
from tocsin_server.domain.errors import InvalidFields, TocsinError, Violation
from tocsin_server.rpc.errors import CODES, MAX_LISTED_VIOLATIONS, code_of, error_status, internal

ERRORS = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, TocsinError) and "reason" in vars(cls)
]
Detail = TypeVar("Detail", bound=Message)
GRPC_METADATA_LIMIT_BYTES = 8 * 1024


def detail(status: Status, kind: type[Detail]) -> Detail | None:
    """The only detail of a kind; None when there is none."""
    found = [
        kind.FromString(any.value) for any in status.details if any.TypeName() == kind.DESCRIPTOR.full_name
    ]
    assert len(found) < 2
    return found[0] if found else None


def info(status: Status) -> ErrorInfo:
    found = detail(status, ErrorInfo)
    assert found is not None
    return found


def listed(status: Status) -> list[BadRequest.FieldViolation]:
    found = detail(status, BadRequest)
    assert found is not None
    return list(found.field_violations)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Invalid(), "INVALID_ARGUMENT"),
        (errors.CursorInvalid(), "INVALID_ARGUMENT"),
        (errors.CursorExpired(), "OUT_OF_RANGE"),
        (errors.RequestIdReused(), "ALREADY_EXISTS"),
        (errors.NotificationNotFound(), "NOT_FOUND"),
        (errors.NotificationFinal(), "FAILED_PRECONDITION"),
        (errors.FeatureNotBuilt(), "UNIMPLEMENTED"),
        (errors.CredentialsRevoked(), "UNAUTHENTICATED"),
        (errors.TenantSuspended(), "PERMISSION_DENIED"),
        (errors.MessageTooLarge(), "RESOURCE_EXHAUSTED"),
        (errors.QueueFull(), "RESOURCE_EXHAUSTED"),
        (errors.StorageUnavailable(), "UNAVAILABLE"),
        (errors.ServerDraining(), "UNAVAILABLE"),
        (errors.SessionTerminated(), "ABORTED"),
        (errors.DeadlinePassed(), "DEADLINE_EXCEEDED"),
        (errors.RequestTimeout(), "DEADLINE_EXCEEDED"),
    ],
)
def test_a_branch_of_the_tree_has_a_code(error: TocsinError, code: str) -> None:
    assert code_of(error) is grpc.StatusCode[code]
    assert error_status(error).code == code_pb2.Code.Value(code)


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_has_a_reason_of_the_contract(cls: type[TocsinError]) -> None:
    assert f"ERROR_REASON_{cls.reason}" in set(error_reason_pb2.ErrorReason.keys())


def test_every_reason_of_the_contract_has_an_error() -> None:
    known = {f"ERROR_REASON_{cls.reason}" for cls in ERRORS}
    assert set(error_reason_pb2.ErrorReason.keys()) - known == {"ERROR_REASON_UNSPECIFIED"}


def test_every_branch_but_the_root_is_mapped_on_purpose() -> None:
    unmapped = [
        cls
        for cls in ERRORS
        if cls is not TocsinError and not (set(cls.__mro__) & CODES.keys() - {TocsinError})
    ]
    assert unmapped == []


@pytest.mark.parametrize("cls", [cls for cls in ERRORS if not issubclass(cls, InvalidFields)])
def test_an_error_has_exactly_one_info(cls: type[TocsinError]) -> None:
    status = error_status(cls(limit=17))
    assert status.message == (cls.__doc__ or "").partition("\n")[0]
    assert info(status) == ErrorInfo(reason=cls.reason, domain="tocsin", metadata={"limit": "17"})


def test_what_can_be_tried_again_says_when() -> None:
    retry = detail(error_status(errors.QueueFull()), RetryInfo)
    assert retry is not None
    assert retry.retry_delay.ToMilliseconds() == 200
    assert detail(error_status(errors.MessageTooLarge()), RetryInfo) is None


def test_a_quota_is_named() -> None:
    quota = detail(error_status(errors.QuotaExceeded(quota="max_recipients", limit=100)), QuotaFailure)
    assert quota is not None
    assert [violation.subject for violation in quota.violations] == ["max_recipients"]


def test_the_first_violations_are_listed_and_all_are_counted() -> None:
    violations = [Violation(f"items[{n}].request_id", "too long") for n in range(30)]
    status = error_status(InvalidFields(violations))
    assert [(violation.field, violation.description) for violation in listed(status)] == [
        (violation.field, violation.description) for violation in violations[:MAX_LISTED_VIOLATIONS]
    ]
    assert info(status).metadata["violations"] == "30"


@pytest.mark.parametrize("text", ["x", "€", "\U0001f600", "\0"])
def test_an_error_stays_below_the_metadata_limit(text: str) -> None:
    status = error_status(InvalidFields([Violation(text * 1000, text * 1000)] * 1000))
    # The details travel in base64, the message percent-encoded.
    encoded = len(status.SerializeToString()) * 4 / 3 + len(status.message.encode()) * 3
    assert encoded < GRPC_METADATA_LIMIT_BYTES - 1024  # some of which is for other headers
    assert len(listed(status)) >= 3


def test_what_is_for_the_log_is_not_told() -> None:
    assert b"secret" not in error_status(errors.StorageUnavailable(detail="secret")).SerializeToString()


def test_a_defect_is_found_under_the_callers_trace() -> None:
    assert internal(TRACE_PARENT).metadata == {"trace_id": "0af7651916cd43dd8448eb211c80319c"}
    assert len(internal("").metadata["trace_id"]) == 32
    assert code_of(internal("")) is grpc.StatusCode.INTERNAL
