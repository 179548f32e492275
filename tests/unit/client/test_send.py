import asyncio

import grpc
import pytest

import tocsin
from tests.unit.client.conftest import QUICK
from tests.unit.client.fake_server import UNAVAILABLE, Failure, FakeServer, Garbage
from tocsin.v1.notification_pb2 import Disposition
from tocsin.v1.notification_service_pb2 import (
    SendBatchResponse,
    SendItemResult,
    SendResponse,
)

CODES = grpc.StatusCode
STORED = SendResponse(
    result=tocsin.SendResult(notification_id="n1", disposition=Disposition.DISPOSITION_STORED, cursor="c1")
)
RATE_LIMITED = Failure(CODES.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=0.001)


async def test_plain_values_are_sent_with_a_request_id(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("Send", STORED)
    result = await client.send(recipient="ada", category="build", content=("Title", "Body"), priority="high")
    assert result == STORED.result
    (request,) = server.requests["Send"]
    assert len(request.request_id) == 32
    assert request.notification == tocsin.spec("ada", "build", ("Title", "Body"), priority="high")


async def test_a_ready_spec_and_the_caller_s_request_id(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("Send", STORED)
    spec = tocsin.spec("ada", "build", ("Title", "Body"))
    await client.send(spec, request_id="order-17")
    (request,) = server.requests["Send"]
    assert (request.request_id, request.notification) == ("order-17", spec)


async def test_a_spec_and_its_parts_together_are_refused(client: tocsin.Client) -> None:
    spec = tocsin.spec("ada", "build", ("Title", "Body"))
    with pytest.raises(ValueError, match="either a ready spec"):
        await client.send(spec, recipient="bob")  # type: ignore[call-overload]


async def test_a_plan_is_asked_for_as_a_send_is(client: tocsin.Client, server: FakeServer) -> None:
    answer = tocsin.PlanSendResponse(
        disposition=Disposition.DISPOSITION_STORED,
        deliveries=[tocsin.PlannedDelivery(address="ada@example.com")],
        decisions=[tocsin.Decision(text="The recipient denies orders.")],
    )
    server.answer("PlanSend", UNAVAILABLE, answer)
    spec = tocsin.spec("ada", "build", ("Title", "Body"), channels=["email"])
    assert await client.plan(spec) == answer
    made = await client.plan(recipient="ada", category="build", content=("Title", "Body"), channels=["email"])
    assert made == answer
    assert [request.notification for request in server.requests["PlanSend"]] == [spec] * 3
    with pytest.raises(ValueError, match="either a ready spec"):
        await client.plan(spec, recipient="bob")  # type: ignore[call-overload]


async def test_passing_failures_are_tried_again_with_the_same_id(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Send", UNAVAILABLE, RATE_LIMITED, UNAVAILABLE, STORED)
    await client.send(recipient="ada", category="build", content=("T", ""))
    assert len(server.requests["Send"]) == 4
    assert len({request.request_id for request in server.requests["Send"]}) == 1


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(CODES.INVALID_ARGUMENT, "INVALID_FIELD"), tocsin.InvalidRequestError),
        (Failure(CODES.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED"), tocsin.ExhaustedError),
        (Failure(CODES.DEADLINE_EXCEEDED, "DEADLINE_PASSED"), tocsin.DeadlineExceededError),
        (Failure(CODES.INTERNAL), tocsin.ServerError),
    ],
)
async def test_lasting_failures_are_raised_at_once(
    client: tocsin.Client, server: FakeServer, failure: Failure, expected: type[tocsin.TocsinError]
) -> None:
    server.answer("Send", failure, STORED)
    with pytest.raises(expected) as caught:
        await client.send(recipient="ada", category="build", content=("T", ""))
    assert caught.value.reason == failure.reason
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)
    assert len(server.requests["Send"]) == 1


async def test_a_server_that_wants_more_patience_than_the_deadline_has_is_not_waited_for(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Send", Failure(CODES.UNAVAILABLE, "SERVER_DRAINING", retry_after=3600.0))
    with pytest.raises(tocsin.UnavailableError) as caught:
        await client.send(recipient="ada", category="build", content=("T", ""))
    assert caught.value.retry_after == 3600
    assert len(server.requests["Send"]) == 1


async def test_a_call_is_given_up_after_as_many_attempts_as_the_policy_allows(server: FakeServer) -> None:
    server.answer("Send", UNAVAILABLE)
    policy = tocsin.RetryPolicy(QUICK.initial_delay, QUICK.max_delay, max_attempts=3)
    async with tocsin.connect(server.target, retry=policy) as client:
        with pytest.raises(tocsin.UnavailableError):
            await client.send(recipient="ada", category="build", content=("T", ""))
    assert len(server.requests["Send"]) == 3


async def test_a_call_survives_a_restart_of_the_server(client: tocsin.Client, server: FakeServer) -> None:
    server.answer("Send", STORED)
    await client.send(recipient="ada", category="build", content=("T", ""))
    await server.stop()
    sending = asyncio.create_task(client.send(recipient="ada", category="build", content=("T", "")))
    await asyncio.sleep(0)
    await server.start()
    assert await sending == STORED.result


async def test_an_answer_that_cannot_be_read_is_a_server_error(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Send", Garbage())
    with pytest.raises(tocsin.ServerError, match="cannot be read"):
        await client.send(recipient="ada", category="build", content=("T", ""))


async def test_a_batch_answers_item_by_item(client: tocsin.Client, server: FakeServer) -> None:
    refused = Failure(CODES.PERMISSION_DENIED, "CATEGORY_NOT_ALLOWED", metadata={"category": "b"})
    results = [SendItemResult(result=STORED.result), SendItemResult(error=refused.status)]
    server.answer("SendBatch", UNAVAILABLE, SendBatchResponse(results=results))
    mine = tocsin.SendItem(request_id="mine", notification=tocsin.spec("ada", "a", ("T", "")))
    without_id = tocsin.SendItem(notification=tocsin.spec("ada", "b", ("T", "")))
    good, bad = await client.send_batch([mine, without_id])

    assert (good.item, good.unwrap(), good.error) == (mine, STORED.result, None)
    assert isinstance(bad.error, tocsin.PermissionDeniedError)
    assert bad.error.metadata == {"category": "b"}
    with pytest.raises(tocsin.PermissionDeniedError):
        bad.unwrap()
    first, second = server.requests["SendBatch"]
    assert first == second
    assert list(first.items) == [mine, bad.item]
    assert bad.item.request_id
    assert bad.item.notification == without_id.notification


async def test_an_empty_batch_is_not_sent(client: tocsin.Client, server: FakeServer) -> None:
    assert await client.send_batch([]) == []
    assert not server.requests["SendBatch"]


async def test_an_answer_with_too_few_results_is_a_server_error(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("SendBatch", SendBatchResponse())
    with pytest.raises(tocsin.ServerError):
        await client.send_batch([tocsin.spec("ada", "a", ("T", ""))])
