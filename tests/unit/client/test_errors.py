import pickle

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import DebugInfo
from google.rpc.status_pb2 import Status

import tocsin
from tests.unit.client.fake_server import Failure
from tocsin.errors import error_from_rpc, error_from_status
from tocsin.v1.error_reason_pb2 import ErrorReason

CODES = grpc.StatusCode


def rpc_error(code: grpc.StatusCode, *metadata: tuple[str, str | bytes]) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details="text")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (CODES.INVALID_ARGUMENT, tocsin.InvalidRequestError),
        (CODES.UNAUTHENTICATED, tocsin.CredentialsError),
        (CODES.PERMISSION_DENIED, tocsin.PermissionDeniedError),
        (CODES.NOT_FOUND, tocsin.NotFoundError),
        (CODES.ALREADY_EXISTS, tocsin.AlreadyExistsError),
        (CODES.FAILED_PRECONDITION, tocsin.PreconditionError),
        (CODES.OUT_OF_RANGE, tocsin.CursorError),
        (CODES.UNIMPLEMENTED, tocsin.FeatureNotBuiltError),
        (CODES.RESOURCE_EXHAUSTED, tocsin.ExhaustedError),
        (CODES.UNAVAILABLE, tocsin.UnavailableError),
        (CODES.DEADLINE_EXCEEDED, tocsin.DeadlineExceededError),
        (CODES.ABORTED, tocsin.AbortedError),
        (CODES.INTERNAL, tocsin.ServerError),
        (CODES.UNKNOWN, tocsin.ServerError),
        (CODES.DATA_LOSS, tocsin.ServerError),
        (CODES.CANCELLED, tocsin.ServerError),
    ],
)
def test_every_code_has_its_class_and_keeps_its_code(
    code: grpc.StatusCode, expected: type[tocsin.TocsinError]
) -> None:
    error = error_from_rpc(rpc_error(code))
    assert type(error) is expected
    assert error.code is code
    assert error.message == "text"


def test_details_are_taken_from_the_status() -> None:
    failure = Failure(
        CODES.INVALID_ARGUMENT,
        "INVALID_FIELD",
        "Two fields break a rule.",
        metadata={"violations": "2"},
        violations=[("notification.recipient", "must not be empty"), ("request_id", "is too long")],
        retry_after=1.5,
    )
    error = error_from_status(failure.status)
    assert isinstance(error, tocsin.InvalidRequestError)
    assert error.reason == "INVALID_FIELD"
    assert error.metadata == {"violations": "2"}
    assert error.violations == (
        tocsin.Violation("notification.recipient", "must not be empty"),
        tocsin.Violation("request_id", "is too long"),
    )
    assert error.retry_after == 1.5
    assert str(error) == (
        "INVALID_FIELD: Two fields break a rule."
        " (notification.recipient: must not be empty; request_id: is too long)"
    )


def test_a_reason_of_another_domain_is_none_of_ours() -> None:
    failure = Failure(CODES.UNAVAILABLE, "RATE_LIMITED", domain="proxy.example")
    assert error_from_status(failure.status).reason == ""


def test_details_that_cannot_be_read_are_left_out() -> None:
    error = error_from_rpc(rpc_error(CODES.UNAVAILABLE, ("grpc-status-details-bin", b"\xff\xff")))
    assert (error.reason, error.retry_after) == ("", None)

    broken = Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff")
    unknown = Any()
    unknown.Pack(DebugInfo(detail="x"))
    kept = Failure(CODES.UNAVAILABLE, "SERVER_DRAINING").status.details
    status = Status(code=14, message="text", details=[broken, unknown, *kept])
    assert error_from_status(status).reason == "SERVER_DRAINING"


def test_a_code_that_gRPC_does_not_know_is_a_server_error() -> None:
    assert isinstance(error_from_status(Status(code=99)), tocsin.ServerError)


def test_an_error_survives_pickling() -> None:
    error = tocsin.ExhaustedError("slow down", reason="RATE_LIMITED", retry_after=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is tocsin.ExhaustedError
    assert vars(copy) == vars(error)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = [
        line.split()[1]
        for line in (tocsin.errors.__doc__ or "").splitlines()
        if line.lstrip().startswith(("├", "└"))
    ]
    assert sorted(drawn) == sorted(error.__name__ for error in tocsin.TocsinError.__subclasses__())


def test_reasons_in_the_documentation_exist() -> None:
    for reason in ("REQUEST_ID_REUSED", "NOTIFICATION_FINAL"):
        assert reason in (tocsin.errors.__doc__ or "")
        assert ErrorReason.Value(f"ERROR_REASON_{reason}")
