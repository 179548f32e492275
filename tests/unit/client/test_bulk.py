"""send_many, over a stream that breaks."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from types import CoroutineType
from typing import Any

import grpc
import pytest

import tocsin
from tests.unit.client.conftest import QUICK, Clock
from tests.unit.client.fake_server import DRAINING, Failure, FakeServer, StreamCall
from tocsin.v1.notification_service_pb2 import SendItemResult, SendStreamRequest, SendStreamResponse

CODES = grpc.StatusCode
Call = StreamCall[SendStreamRequest, SendStreamResponse]
RATE_LIMITED = Failure(CODES.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=0.001)


class Accepting:
    """Accepts everything, once: a request id that comes again gets its first answer."""

    def __init__(self) -> None:
        self.accepted: dict[str, str] = {}
        self.chunk_sizes: list[int] = []
        self.refuse: dict[str, Failure] = {}

    async def __call__(self, call: Call) -> None:
        while await self.answer(call):
            pass

    async def answer(self, call: Call) -> bool:
        request = await call.read()
        if request is None:
            return False
        await call.send(self.response(request))
        return True

    def response(self, request: SendStreamRequest) -> SendStreamResponse:
        self.chunk_sizes.append(len(request.items))
        return SendStreamResponse(results=[self.result(item) for item in request.items])

    def result(self, item: tocsin.SendItem) -> SendItemResult:
        recipient = item.notification.recipient
        if refusal := self.refuse.pop(recipient, None):
            return SendItemResult(error=refusal.status)
        replayed = item.request_id in self.accepted
        self.accepted.setdefault(item.request_id, recipient)
        return SendItemResult(result=tocsin.SendResult(notification_id=recipient, replayed=replayed))


async def reads_only(call: Call) -> None:
    while await call.read():
        pass


def specs(count: int) -> Iterable[tocsin.NotificationSpec]:
    return (tocsin.spec(f"r{number}", "news", ("T", "")) for number in range(count))


def ids(outcomes: Iterable[tocsin.SendOutcome]) -> list[str]:
    return [outcome.unwrap().notification_id for outcome in outcomes]


def names(count: int) -> list[str]:
    return [f"r{number}" for number in range(count)]


def tasks_of_the_client() -> list[asyncio.Task[Any]]:
    package = str(Path(tocsin.__file__).parent)
    return [
        task
        for task in asyncio.all_tasks()
        if isinstance(coroutine := task.get_coro(), CoroutineType)
        and coroutine.cr_code.co_filename.startswith(package)
    ]


async def test_outcomes_come_in_the_order_of_the_specs(client: tocsin.Client, server: FakeServer) -> None:
    accepting = Accepting()
    server.script("SendStream", accepting)
    outcomes = [outcome async for outcome in client.send_many(specs(2_500), chunk=400)]
    assert ids(outcomes) == names(2_500)
    assert accepting.chunk_sizes == [400] * 6 + [100]
    assert [outcome.item.request_id for outcome in outcomes] == list(accepting.accepted)
    (call,) = server.calls["SendStream"]
    assert call.half_closed  # an orderly end, not a cancelled call


async def test_nothing_to_send_opens_no_stream(client: tocsin.Client, server: FakeServer) -> None:
    assert [outcome async for outcome in client.send_many([])] == []
    assert not server.calls["SendStream"]


async def test_what_is_unanswered_is_sent_again_with_the_same_ids(
    client: tocsin.Client, server: FakeServer
) -> None:
    accepting = Accepting()
    lost: list[SendStreamRequest] = []

    async def answers_two_and_drains(call: Call) -> None:
        await accepting.answer(call)
        await accepting.answer(call)
        await call.fail(DRAINING)

    async def accepts_but_its_answer_is_lost(call: Call) -> None:
        request = await call.read()
        assert request is not None
        lost.append(request)
        accepting.response(request)
        await call.fail(Failure(CODES.CANCELLED))  # as RST_STREAM shows up

    async def ends_without_a_word(call: Call) -> None:
        await accepting.answer(call)

    server.script(
        "SendStream", answers_two_and_drains, accepts_but_its_answer_is_lost, ends_without_a_word, accepting
    )
    outcomes = [outcome async for outcome in client.send_many(specs(100), chunk=10, window=3)]

    assert ids(outcomes) == names(100)
    assert len(accepting.accepted) == 100
    assert len(server.calls["SendStream"]) == 4
    replayed = [outcome.item for outcome in outcomes if outcome.unwrap().replayed]
    assert replayed == list(lost[0].items)


async def test_a_server_that_is_restarted_is_found_again(client: tocsin.Client, server: FakeServer) -> None:
    accepting = Accepting()

    async def one_answer(call: Call) -> None:
        await accepting.answer(call)
        await call.hang()

    server.script("SendStream", one_answer, accepting)
    outcomes: list[tocsin.SendOutcome] = []
    async for outcome in client.send_many(specs(40), chunk=10, window=2):
        outcomes.append(outcome)
        if len(outcomes) == 10:
            await server.stop()
            await server.start()
    assert ids(outcomes) == names(40)
    assert len(accepting.accepted) == 40


async def test_a_stream_that_broke_while_there_was_nothing_to_send(
    client: tocsin.Client, server: FakeServer
) -> None:
    accepting = Accepting()

    async def one_answer(call: Call) -> None:
        await accepting.answer(call)
        await call.fail(DRAINING)

    server.script("SendStream", one_answer, one_answer, accepting)

    def has_broken(times: int) -> bool:
        return sum(call.ended for call in server.calls["SendStream"]) == times

    async def source() -> AsyncIterator[tocsin.NotificationSpec]:
        for number, spec in enumerate(specs(3)):
            await server.until(partial(has_broken, number))
            yield spec

    assert ids([outcome async for outcome in client.send_many(source())]) == names(3)
    assert len(server.calls["SendStream"]) == 3


async def test_a_lasting_failure_of_the_stream_is_raised(client: tocsin.Client, server: FakeServer) -> None:
    async def refuses(call: Call) -> None:
        await call.read()
        await call.fail(Failure(CODES.PERMISSION_DENIED, "SCOPE_MISSING"))

    server.script("SendStream", refuses)
    with pytest.raises(tocsin.PermissionDeniedError):
        await anext(client.send_many(specs(10)))
    assert len(server.calls["SendStream"]) == 1


async def test_a_server_that_stays_away_for_too_long_is_given_up(
    client: tocsin.Client, server: FakeServer
) -> None:
    async def sends_away(call: Call) -> None:
        await call.read()
        await call.fail(Failure(CODES.UNAVAILABLE, "SERVER_DRAINING", retry_after=61.0))

    server.script("SendStream", sends_away)
    with pytest.raises(tocsin.UnavailableError):
        await anext(client.send_many(specs(10), timeout=60))
    assert len(server.calls["SendStream"]) == 1


async def test_a_silent_connection_is_replaced(
    client: tocsin.Client, server: FakeServer, clock: Clock
) -> None:
    server.script("SendStream", reads_only, Accepting())
    waiting = asyncio.ensure_future(anext(client.send_many(specs(10), timeout=60)))
    await server.until(lambda: server.calls["SendStream"] and server.calls["SendStream"][0].received)
    clock.advance(21)
    assert (await waiting).unwrap().notification_id == "r0"


async def test_a_server_that_never_answers_is_given_up(
    client: tocsin.Client, server: FakeServer, clock: Clock
) -> None:
    server.script("SendStream", reads_only)
    waiting = asyncio.ensure_future(anext(client.send_many(specs(10), timeout=60)))
    await server.until(lambda: server.calls["SendStream"] and server.calls["SendStream"][0].received)
    clock.advance(61)
    with pytest.raises(tocsin.UnavailableError, match="silent"):
        await waiting


async def test_an_answer_with_too_few_results_is_a_server_error(
    client: tocsin.Client, server: FakeServer
) -> None:
    async def answers_too_little(call: Call) -> None:
        await call.read()
        await call.send(SendStreamResponse())
        await call.hang()

    server.script("SendStream", answers_too_little)
    with pytest.raises(tocsin.ServerError, match="number of results"):
        await anext(client.send_many(specs(10)))


async def test_a_refused_item_is_a_value_and_its_neighbours_are_accepted(
    client: tocsin.Client, server: FakeServer
) -> None:
    accepting = Accepting()
    accepting.refuse["r2"] = Failure(CODES.INVALID_ARGUMENT, "INVALID_FIELD")
    server.script("SendStream", accepting)
    outcomes = [outcome async for outcome in client.send_many(specs(5))]
    assert [type(outcome.error) for outcome in outcomes] == [
        type(None),
        type(None),
        tocsin.InvalidRequestError,
        type(None),
        type(None),
    ]


async def test_an_item_refused_for_a_passing_reason_is_sent_again(
    client: tocsin.Client, server: FakeServer
) -> None:
    accepting = Accepting()
    accepting.refuse = {"r1": RATE_LIMITED, "r7": RATE_LIMITED}
    server.script("SendStream", accepting)
    outcomes = [outcome async for outcome in client.send_many(specs(20), chunk=5, window=2)]
    assert ids(outcomes) == names(20)
    assert sorted(accepting.chunk_sizes) == [1, 1, 5, 5, 5, 5]


async def test_an_item_refused_for_too_long_is_left_at_its_error(
    client: tocsin.Client, server: FakeServer
) -> None:
    accepting = Accepting()
    accepting.refuse["r1"] = Failure(CODES.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=3600.0)
    server.script("SendStream", accepting)
    outcomes = [outcome async for outcome in client.send_many(specs(3))]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, tocsin.ExhaustedError)


async def test_no_more_than_the_window_is_taken_while_nobody_takes_outcomes(
    client: tocsin.Client, server: FakeServer
) -> None:
    accepting = Accepting()
    server.script("SendStream", accepting)
    taken = 0

    def endless() -> Iterable[tocsin.NotificationSpec]:
        nonlocal taken
        while True:
            taken += 1
            yield tocsin.spec(f"r{taken}", "news", ("T", ""))

    async with aclosing(client.send_many(endless(), chunk=10, window=3)) as outcomes:
        await anext(outcomes)
        # The window: one chunk handed out, three under way, one gathered, one spec waiting for room.
        await server.until(lambda: len(accepting.accepted) == 40)
        assert taken <= 51
        assert len(server.calls["SendStream"][0].received) == 4


async def test_a_slow_source_is_not_waited_for(client: tocsin.Client, server: FakeServer) -> None:
    server.script("SendStream", Accepting())
    more = asyncio.Queue[tocsin.NotificationSpec | None]()

    async def source() -> AsyncIterator[tocsin.NotificationSpec]:
        while (spec := await more.get()) is not None:
            yield spec

    async with aclosing(client.send_many(source())) as outcomes:
        for spec in specs(3):
            more.put_nowait(spec)
            assert (await anext(outcomes)).unwrap().notification_id == spec.recipient
        more.put_nowait(None)
        assert await anext(outcomes, None) is None


async def test_large_specs_travel_in_smaller_messages(client: tocsin.Client, server: FakeServer) -> None:
    accepting = Accepting()
    server.script("SendStream", accepting)
    body = "x" * 300_000
    large = [tocsin.spec(f"r{number}", "news", ("T", body)) for number in range(7)]
    assert ids([outcome async for outcome in client.send_many(large)]) == names(7)
    assert accepting.chunk_sizes == [3, 3, 1]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_what_the_source_raises_comes_after_the_outcomes_before_it(
    client: tocsin.Client, server: FakeServer, asynchronous: bool
) -> None:
    server.script("SendStream", Accepting())

    def broken() -> Iterable[tocsin.NotificationSpec]:
        yield from specs(25)
        raise LookupError("row 26")

    async def broken_too() -> AsyncIterator[tocsin.NotificationSpec]:
        for spec in broken():
            yield spec

    outcomes = client.send_many(broken_too() if asynchronous else broken(), chunk=10)
    assert ids([await anext(outcomes) for _ in range(25)]) == names(25)
    with pytest.raises(LookupError, match="row 26"):
        await anext(outcomes)


async def test_what_is_no_spec_is_refused(client: tocsin.Client) -> None:
    with pytest.raises(TypeError, match="neither"):
        await anext(client.send_many(["ada"]))  # type: ignore[list-item]


async def leave_by_closing(outcomes: Any) -> None:
    async with aclosing(outcomes):
        await anext(outcomes)
        assert tasks_of_the_client()
    assert not tasks_of_the_client()


async def leave_by_break(outcomes: Any) -> None:
    async for _ in outcomes:
        break


async def leave_by_cancellation(outcomes: Any) -> None:
    for _ in range(10):
        await anext(outcomes)
    waiting = asyncio.ensure_future(anext(outcomes))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize("leave", [leave_by_closing, leave_by_break, leave_by_cancellation])
async def test_leaving_early_leaves_no_task_and_closes_source_and_stream(
    client: tocsin.Client, server: FakeServer, leave: Callable[[Any], Any]
) -> None:
    accepting = Accepting()
    closed = asyncio.Event()

    async def source() -> AsyncIterator[tocsin.NotificationSpec]:
        try:
            for spec in specs(1_000_000):
                yield spec
        finally:
            closed.set()

    async def answers_one(call: Call) -> None:
        await accepting.answer(call)
        await call.hang()

    server.script("SendStream", answers_one)
    await leave(client.send_many(source(), chunk=10))
    gc.collect()
    await closed.wait()
    if server.calls["SendStream"]:
        await server.until(lambda: server.calls["SendStream"][0].ended)
    while remaining := tasks_of_the_client():
        await asyncio.wait(remaining)


async def test_a_client_that_is_closed_ends_the_stream(server: FakeServer) -> None:
    async with tocsin.connect(server.target, retry=QUICK) as client:
        first = asyncio.ensure_future(anext(client.send_many(specs(10))))
        await server.until(lambda: server.calls["SendStream"])
    with pytest.raises(tocsin.ClosedError):
        await first


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"chunk": 1_001}, {"window": 0}])
def test_sizes_that_make_no_sense_are_refused_at_once(client: tocsin.Client, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="chunk must be"):
        client.send_many([], **wrong)
