"""What every call goes through, over a real connection."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from tests.support.calls import reason_of
from tests.support.samples import TRACE_PARENT
from tests.support.waiting import eventually
from tests.unit.rpc.conftest import ANYONE, OPTIONS, Served, serving
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin.v1.preference_service_pb2 import UnsubscribeRequest
from tocsin_server.domain.access import Scope
from tocsin_server.domain.errors import CredentialsInvalid, CredentialsRevoked, QueueFull
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.unsubscribe import Subscription
from tocsin_server.domain.value import replace as changed

SPEC = pb.NotificationSpec(
    recipient="ada", category="orders", content=pb.Content(simple=pb.SimpleContent(title="t"))
)
REQUEST = notifications.SendRequest(request_id="r1", notification=SPEC)
RAW = REQUEST.SerializeToString()


async def failure(
    served: Served, method: str = "Send", body: bytes = RAW, **options: Any
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await served.raw(method, body, **options)
    return error.value


async def test_a_request_reaches_its_use_case_and_the_answer_its_caller(served: Served) -> None:
    response = await NotificationServiceStub(served.channel).Send(REQUEST)
    assert response.result == notifications.SendResult(
        notification_id="00000000-0000-0000-0000-000000000000",
        disposition=pb.DISPOSITION_STORED,
        cursor="cursor of r1",
    )
    (call,) = served.sending.calls
    assert call["principal"] is ANYONE
    assert [request.spec.recipient for request in call["requests"]] == ["ada"]
    assert call["deadline"] is None
    assert call["trace_parent"] == ""


async def test_deadline_and_trace_go_along(served: Served) -> None:
    await served.raw("Send", RAW, timeout=60, metadata=(("traceparent", TRACE_PARENT),))
    (call,) = served.sending.calls
    assert call["trace_parent"] == TRACE_PARENT
    assert 50 < call["deadline"] - time.monotonic() < 61


async def test_a_trace_parent_that_is_none_is_left_out(served: Served) -> None:
    await served.raw("Send", RAW, metadata=(("traceparent", "00-xyz"),))
    assert served.sending.calls[0]["trace_parent"] == ""


async def test_credentials_are_the_authorization_header(served: Served) -> None:
    await served.raw("Send", RAW, metadata=(("authorization", "Bearer tsk_1"),))
    ((authorization, peer),) = served.authenticator.asked
    assert authorization == "Bearer tsk_1"
    assert peer.startswith("ipv4:127.0.0.1:")


async def test_the_unknown_are_refused_before_their_request_is_read(served: Served) -> None:
    served.authenticator.error = CredentialsInvalid()
    error = await failure(served, body=b"\xff")
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID")


async def test_a_scope_is_needed(served: Served) -> None:
    served.authenticator.principal = changed(ANYONE, scopes=frozenset({Scope.INBOX_READ}))
    error = await failure(served)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")


class Redeeming:
    """Takes tokens, and notes who brings them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float | None]] = []

    async def unsubscribe(
        self, token: str, request_id: str, *, deadline: float | None
    ) -> tuple[Subscription, bool]:
        self.calls.append((token, deadline))
        return Subscription("acme", "ada", "orders", Channel.EMAIL), False


async def test_a_request_that_is_its_own_credential_needs_no_other() -> None:
    redeeming = Redeeming()
    async with serving(preferences=redeeming) as served:
        served.authenticator.error = CredentialsInvalid()
        body = UnsubscribeRequest(token="t").SerializeToString()
        path = "/tocsin.v1.PreferenceService/Unsubscribe"
        await served.raw(path, body, metadata=(("authorization", "Bearer nonsense"),), timeout=60)
        ((token, deadline),) = redeeming.calls
        assert token == "t"
        assert deadline is not None
        assert served.authenticator.asked == []
        # Everything else is checked as ever, and nobody else gets in.
        assert reason_of(await failure(served, path, b"")) == "INVALID_FIELD"
        assert reason_of(await failure(served, path, b"\xff")) == "MALFORMED_REQUEST"
        others = ("GetPreferences", "UpdatePreferences", "ResolvePreferences", "CreateUnsubscribeToken")
        for other in others:
            error = await failure(served, f"/tocsin.v1.PreferenceService/{other}", b"")
            assert reason_of(error) == "CREDENTIALS_INVALID"
        served.rpc.admission.close()
        assert reason_of(await failure(served, path, body)) == "SERVER_DRAINING"


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST"),
        (b"\x0a\x02\xc3\x28", grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST"),  # not UTF-8
        (RAW[:-1], grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_REQUEST"),
        (b"", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        (b"\x0a\x03a\0b", grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        (bytes(100_001), grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE"),
        (
            notifications.SendRequest(
                notification=pb.NotificationSpec(
                    recipient="a", category="c", template=pb.TemplateRef(name="n"), no_batch=True
                )
            ).SerializeToString(),
            grpc.StatusCode.UNIMPLEMENTED,
            "FEATURE_NOT_BUILT",
        ),
    ],
)
async def test_what_cannot_be_taken_is_refused_clearly(
    served: Served, body: bytes, code: grpc.StatusCode, reason: str
) -> None:
    error = await failure(served, body=body)
    assert (error.code(), reason_of(error)) == (code, reason)
    assert served.sending.calls == []


async def test_what_grpc_itself_finds_too_large_is_an_error_too(served: Served) -> None:
    error = await failure(served, body=bytes(1_000_000))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_call_without_a_message_is_malformed(served: Served) -> None:
    call: Any = served.channel.stream_unary("/tocsin.v1.NotificationService/Send")()
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert reason_of(error.value) == "MALFORMED_REQUEST"


async def test_a_call_that_never_sends_its_message_is_given_up_on() -> None:
    async with serving(options=replace(OPTIONS, request_timeout=0.05)) as served:
        silent: list[Any] = [
            served.channel.stream_unary("/tocsin.v1.NotificationService/Send")() for _ in range(3)
        ]
        for call in silent:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call
            assert reason_of(error.value) == "REQUEST_TIMEOUT"
        # It is the message that has to come in time, not the answer.
        served.sending.gate.clear()
        slow = asyncio.ensure_future(served.raw("Send", RAW))
        await eventually(lambda: served.sending.calls, "the call")
        await asyncio.sleep(0.1)
        served.sending.gate.set()
        assert await slow
        assert served.rpc.admission.calls == 0


async def test_a_request_that_comes_once_its_caller_is_welcome_no_more_is_refused(served: Served) -> None:
    for method in ("Send", "SendBatch"):
        served.authenticator.asked.clear()
        served.authenticator.error = None
        call: Any = served.channel.stream_unary(f"/tocsin.v1.NotificationService/{method}")()
        await eventually(lambda: served.authenticator.asked, "the call")
        served.authenticator.error = CredentialsRevoked(api_key_id="key")
        await call.write(RAW)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert reason_of(error.value) == "CREDENTIALS_REVOKED"
    assert not served.sending.calls


async def test_an_expected_error_is_told_with_its_details(served: Served) -> None:
    served.sending.answer = lambda request: QueueFull(limit=17)
    error = await failure(served)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert error.details() == QueueFull().message


async def test_a_defect_is_logged_and_not_told(served: Served) -> None:
    served.sending.error = RuntimeError("the password is hunter2")
    with capture_logs() as logs:
        error = await failure(served)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "hunter2" not in str(error) + str(error.trailing_metadata())
    (line,) = logs
    assert line["method"] == "/tocsin.v1.NotificationService/Send"
    assert line["exc_info"]
    assert line["trace_id"].encode() in dict(error.trailing_metadata())["grpc-status-details-bin"]


async def test_who_leaves_ends_the_call(served: Served) -> None:
    served.sending.gate.clear()
    batch = notifications.SendBatchRequest(items=[notifications.SendItem.FromString(RAW)])
    call = asyncio.ensure_future(served.raw("SendBatch", batch.SerializeToString()))
    await eventually(lambda: served.sending.calls, "the call")
    with capture_logs() as logs:
        call.cancel()
        await eventually(lambda: served.sending.cancelled, "the end of the call")
    await eventually(lambda: served.rpc.admission.calls == 0, "the way out")
    assert logs == []


async def test_who_leaves_a_call_that_is_served_with_others_leaves_them_alone(served: Served) -> None:
    served.sending.gate.clear()
    leaving, staying = [asyncio.ensure_future(served.raw("Send", RAW)) for _ in range(2)]
    await eventually(lambda: served.sending.calls, "the calls")
    with capture_logs() as logs:
        leaving.cancel()
        await eventually(lambda: served.rpc.admission.calls == 1, "the way out")
    assert (logs, served.sending.cancelled) == ([], 0)
    served.sending.gate.set()
    assert await staying


async def test_no_more_calls_are_served_at_once_than_allowed() -> None:
    async with serving(options=replace(OPTIONS, max_in_flight=2)) as served:
        served.sending.gate.clear()
        calls = [asyncio.ensure_future(served.raw("Send", RAW)) for _ in range(2)]
        await eventually(lambda: len(served.sending.calls) == 2, "both calls")
        error = await failure(served)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_REQUESTS")
        served.sending.gate.set()
        await asyncio.gather(*calls)
        await served.raw("Send", RAW)


@pytest.mark.parametrize(
    "path", ["/tocsin.v1.ScheduleService/CreateSchedule", "/tocsin.v1.BatchService/FlushBatch"]
)
async def test_what_is_not_built_says_so(served: Served, path: str) -> None:
    error = await failure(served, path)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNIMPLEMENTED, "FEATURE_NOT_BUILT")


async def test_what_is_not_ours_is_left_to_grpc(served: Served) -> None:
    error = await failure(served, "/other.Service/Do")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


# --- telemetry --------------------------------------------------------------------------------------------------------


class Recorded:
    """One call as a fake telemetry sees it."""

    trace_parent = ""

    def __init__(self, method: str) -> None:
        self.method = method
        self.ended: tuple[grpc.StatusCode, BaseException | None] | None = None
        self.task = asyncio.current_task()

    def end(self, code: grpc.StatusCode, error: BaseException | None) -> None:
        assert asyncio.current_task() is self.task
        self.ended = (code, error)


class FakeTelemetry:
    def __init__(self) -> None:
        self.calls: list[Recorded] = []

    def begin(self, method: str, metadata: Mapping[str, str | bytes]) -> Recorded:
        self.calls.append(Recorded(method))
        return self.calls[-1]


@pytest.mark.parametrize(
    ("spoil", "code", "error"),
    [
        (lambda served: None, grpc.StatusCode.OK, None),
        (
            lambda served: setattr(served.sending, "error", QueueFull()),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            QueueFull,
        ),
        (lambda served: setattr(served.sending, "error", KeyError()), grpc.StatusCode.INTERNAL, KeyError),
        (lambda served: served.rpc.admission.close(), grpc.StatusCode.UNAVAILABLE, Exception),
    ],
)
async def test_telemetry_sees_how_a_call_ends(
    spoil: Callable[[Served], object], code: grpc.StatusCode, error: type[BaseException] | None
) -> None:
    telemetry = FakeTelemetry()
    async with serving(telemetry=telemetry) as served:
        spoil(served)
        with suppress(grpc.aio.AioRpcError):
            await served.raw("Send", RAW)
        (call,) = telemetry.calls
        await eventually(lambda: call.ended, "the end of the call")
        assert call.method == "/tocsin.v1.NotificationService/Send"
        assert call.ended is not None
        assert call.ended[0] is code
        assert error is None or isinstance(call.ended[1], error)


async def test_the_servers_own_span_is_what_is_linked_to() -> None:
    telemetry = FakeTelemetry()
    async with serving(telemetry=telemetry) as served:
        Recorded.trace_parent = TRACE_PARENT.replace("b7ad", "ffff")
        try:
            await served.raw("Send", RAW, metadata=(("traceparent", TRACE_PARENT),))
        finally:
            Recorded.trace_parent = ""
        assert served.sending.calls[0]["trace_parent"] == TRACE_PARENT.replace("b7ad", "ffff")


async def test_names_that_callers_invent_are_not_recorded() -> None:
    telemetry = FakeTelemetry()
    async with serving(telemetry=telemetry) as served:
        await failure(served, "/tocsin.v1.Invented/17")
        assert [call.method for call in telemetry.calls] == ["_OTHER"]
