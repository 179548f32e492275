"""SendStream: pipelined, answered in order, and ended without losing what was read."""

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from tests.support.calls import reason_of
from tests.support.waiting import eventually
from tests.unit.rpc.conftest import OPTIONS, Served, serving, stored
from tocsin.v1 import notification_pb2 as pb
from tocsin.v1 import notification_service_pb2 as notifications
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin_server.domain.errors import QueueFull, TocsinError
from tocsin_server.service.sending import SendRequest, SendResult

SPEC = pb.NotificationSpec(
    recipient="ada", category="orders", content=pb.Content(simple=pb.SimpleContent(title="t"))
)


def message(*request_ids: str) -> notifications.SendStreamRequest:
    return notifications.SendStreamRequest(
        items=[notifications.SendItem(request_id=request_id, notification=SPEC) for request_id in request_ids]
    )


def cursors(response: notifications.SendStreamResponse) -> list[str]:
    return [result.result.cursor.removeprefix("cursor of ") for result in response.results]


Call = grpc.aio.StreamStreamCall[notifications.SendStreamRequest, notifications.SendStreamResponse]


def opened(served: Served) -> Call:
    return NotificationServiceStub(served.channel).SendStream()


async def end_of(call: Call) -> str:
    """The reason with which a call ends, or OK."""
    try:
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    return (await call.code()).name


async def test_every_message_is_answered_in_order(served: Served) -> None:
    call = opened(served)
    for n in range(20):
        await call.write(message(f"{n}a", f"{n}b"))
    await call.done_writing()
    answers = [cursors(response) async for response in call]
    assert answers == [[f"{n}a", f"{n}b"] for n in range(20)]
    assert await call.code() is grpc.StatusCode.OK


async def test_a_stream_without_messages_is_fine(served: Served) -> None:
    call = opened(served)
    await call.done_writing()
    assert await end_of(call) == "OK"


async def test_messages_are_under_way_at_once_but_not_without_bound(served: Served) -> None:
    served.sending.gate.clear()
    call = opened(served)
    for n in range(50):
        await call.write(message(str(n)))
    await eventually(lambda: len(served.sending.calls) >= 8, "messages under way")
    await asyncio.sleep(0.1)
    assert len(served.sending.calls) <= 9
    served.sending.gate.set()
    await call.done_writing()
    assert [cursors(response) async for response in call] == [[str(n)] for n in range(50)]


async def test_a_bad_item_does_not_reject_its_neighbours(served: Served) -> None:
    def answer(request: SendRequest) -> SendResult | TocsinError:
        return QueueFull() if request.request_id == "full" else stored(request)

    served.sending.answer = answer
    call = opened(served)
    mixed = message("a", "b", "full", "d", "e")
    mixed.items[1].notification.ClearField("category")
    mixed.items[3].notification.MergeFrom(pb.NotificationSpec(batch_key="k"))
    await call.write(mixed)
    await call.done_writing()
    response = await call.read()
    assert isinstance(response, notifications.SendStreamResponse)
    assert [result.WhichOneof("outcome") for result in response.results] == [
        "result",
        "error",
        "error",
        "error",
        "result",
    ]
    infos = [ErrorInfo.FromString(result.error.details[0].value) for result in response.results[1:4]]
    assert [info.reason for info in infos] == ["INVALID_FIELD", "QUEUE_FULL", "FEATURE_NOT_BUILT"]
    assert infos[2].metadata["field"] == "items[3].notification.batch_key"


async def test_a_message_that_breaks_a_rule_ends_the_stream_once_the_others_are_answered(
    served: Served,
) -> None:
    served.sending.gate.clear()
    call = opened(served)
    await call.write(message("a"))
    await call.write(notifications.SendStreamRequest())
    await eventually(lambda: served.sending.calls, "the first message")
    served.sending.gate.set()
    assert cursors(await call.read()) == ["a"]  # type: ignore[arg-type]
    assert await end_of(call) == "INVALID_FIELD"


async def test_bytes_that_are_no_message_end_the_stream(served: Served) -> None:
    call: Any = served.channel.stream_stream("/tocsin.v1.NotificationService/SendStream")()
    await call.write(b"\xff\xff")
    assert await end_of(call) == "MALFORMED_REQUEST"


async def test_draining_answers_what_was_read_and_ends(served: Served) -> None:
    served.sending.gate.clear()
    call = opened(served)
    await call.write(message("a"))
    await call.write(message("b"))
    await eventually(lambda: len(served.sending.calls) == 2, "both messages")
    served.rpc.drain()
    served.sending.gate.set()
    assert cursors(await call.read()) == ["a"]  # type: ignore[arg-type]
    assert cursors(await call.read()) == ["b"]  # type: ignore[arg-type]
    assert await end_of(call) == "SERVER_DRAINING"


async def test_draining_reaches_a_stream_that_waits_for_its_first_message(served: Served) -> None:
    call = opened(served)
    await eventually(lambda: served.rpc.admission.streams == 1, "the stream")
    await asyncio.sleep(0.05)
    served.rpc.drain()
    assert await end_of(call) == "SERVER_DRAINING"


async def test_draining_reaches_a_stream_that_is_between_two_messages(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, queued, send = asyncio.Event(), asyncio.Event(), served.sending.send

    async def send_later(*args: Any, **options: Any) -> list[SendResult | TocsinError]:
        taken.set()
        await queued.wait()
        return await send(*args, **options)

    monkeypatch.setattr(served.sending, "send", send_later)
    call = opened(served)
    await call.write(message("a"))
    await taken.wait()
    served.rpc.drain()
    queued.set()
    assert cursors(await call.read()) == ["a"]  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        assert await end_of(call) == "SERVER_DRAINING"


async def test_no_stream_begins_while_the_server_drains_but_calls_do(served: Served) -> None:
    served.rpc.drain()
    assert await end_of(opened(served)) == "SERVER_DRAINING"
    await served.raw("Send", notifications.SendRequest(notification=SPEC).SerializeToString())


async def test_no_more_streams_are_open_at_once_than_allowed() -> None:
    async with serving(options=replace(OPTIONS, max_streams=1)) as served:
        first = opened(served)
        await first.write(message("a"))
        await first.read()
        assert await end_of(opened(served)) == "TOO_MANY_STREAMS"
        await first.done_writing()
        assert await end_of(first) == "OK"
        await eventually(lambda: served.rpc.admission.streams == 0, "room")
        second = opened(served)
        await second.done_writing()
        assert await end_of(second) == "OK"


async def test_a_defect_ends_the_stream(served: Served) -> None:
    served.sending.error = RuntimeError()
    call = opened(served)
    await call.write(message("a"))
    assert await end_of(call) == "INTERNAL"


async def test_who_leaves_leaves_nothing_behind(served: Served) -> None:
    served.sending.gate.clear()
    call = opened(served)
    for n in range(12):
        await call.write(message(str(n)))
    await eventually(lambda: len(served.sending.calls) >= 8, "messages under way")
    before = len(served.sending.calls)
    call.cancel()
    await eventually(lambda: served.rpc.admission.streams == 0, "the end of the stream")
    await eventually(lambda: served.sending.cancelled == before, "the end of what was under way")
