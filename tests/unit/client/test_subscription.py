"""Subscriptions, on a server whose streams break in every way."""

import asyncio
import logging
from functools import partial
from typing import Any

import grpc
import pytest

import tocsin
from tests.unit.client.conftest import QUICK, Clock, until
from tests.unit.client.events import entry, message, reset, summary
from tests.unit.client.fake_server import DRAINING, Failure, FakeServer, Garbage, StreamCall
from tocsin.live import LiveStream
from tocsin.v1.inbox_service_pb2 import (
    AcknowledgeRequest,
    AcknowledgeResponse,
    AcknowledgeResult,
    Start,
    SubscribeRequest,
    SubscribeResponse,
)

CODES = grpc.StatusCode
Call = StreamCall[SubscribeRequest, SubscribeResponse]


class Sends:
    """A script: these messages, and then an end, or silence."""

    def __init__(
        self, *messages: SubscribeResponse, end: Failure | None = None, returns: bool = False
    ) -> None:
        self.messages = messages
        self.end = end
        self.returns = returns

    async def __call__(self, call: Call) -> None:
        for response in self.messages:
            await call.send(response)
        if self.end is not None:
            await call.fail(self.end)
        if not self.returns:
            await call.hang()


async def take(stream: LiveStream[Any], count: int) -> list[str]:
    return [word(await anext(stream)) for _ in range(count)]


def word(event: tocsin.Event) -> str:
    match event:
        case tocsin.Entry():
            return event.notification.id
        case tocsin.SummaryChanged():
            return f"{event.recipient}: {event.unread} unread"
        case tocsin.ResetHappened():
            return f"{event.recipient}: {event.reason}"
        case _:
            raise AssertionError(event)


def positions(request: SubscribeRequest) -> dict[str, str]:
    return {position.recipient: position.cursor for position in request.recipients}


def recorded_positions(requests: list[AcknowledgeRequest]) -> dict[str, str]:
    return {position.recipient: position.cursor for request in requests for position in request.positions}


async def recorded(request: AcknowledgeRequest) -> AcknowledgeResponse:
    results = [AcknowledgeResult(recipient=p.recipient, cursor=p.cursor) for p in request.positions]
    return AcknowledgeResponse(results=results)


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [
        ("ada", {"ada": ""}),
        (["ada", "bob"], {"ada": "", "bob": ""}),
        ({"ada": "a1", "bob": None}, {"ada": "a1", "bob": ""}),
    ],
)
async def test_what_is_asked_for_reaches_the_server(
    client: tocsin.Client, server: FakeServer, recipients: Any, expected: dict[str, str]
) -> None:
    server.script("Subscribe", Sends(message(summary("ada", 1), session_id="s1")))
    async with client.subscribe(
        recipients, consumer="mail", start="unread", categories=["build"], heartbeat=1.5
    ) as events:
        assert await take(events, 1) == ["ada: 1 unread"]
        assert events.session_id == "s1"
    (request,) = server.requests["Subscribe"]
    assert positions(request) == expected
    assert (request.consumer, request.start, request.categories) == ("mail", Start.START_UNREAD, ["build"])
    assert request.heartbeat_interval.ToMilliseconds() == 1_500


async def test_nobody_to_follow_is_refused(client: tocsin.Client) -> None:
    with pytest.raises(ValueError, match="nobody"):
        client.subscribe([])


@pytest.mark.parametrize(
    "broken",
    [
        DRAINING,
        Failure(CODES.UNAVAILABLE),  # a lost connection
        Failure(CODES.CANCELLED),  # RST_STREAM of a proxy
        Failure(CODES.INTERNAL),
        Failure(CODES.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", retry_after=0.001),
        None,  # an end without an error
    ],
)
async def test_a_broken_stream_goes_on_where_it_was_without_repeating(
    client: tocsin.Client, server: FakeServer, broken: Failure | None
) -> None:
    server.script(
        "Subscribe",
        Sends(
            message(entry("ada", 1), entry("bob", 1, "b1"), entry("ada", 2, "a2")), end=broken, returns=True
        ),
        # this server is generous and begins before the cursors
        Sends(message(entry("ada", 2, "a2"), entry("bob", 1), entry("bob", 2, "b2"), ada="a3")),
    )
    async with client.subscribe(["ada", "bob"]) as events:
        assert await take(events, 4) == ["ada-1", "bob-1", "ada-2", "bob-2"]
        assert events.cursors == {"ada": "a2", "bob": "b2"}
    assert [positions(request) for request in server.requests["Subscribe"]] == [
        {"ada": "", "bob": ""},
        {"ada": "a2", "bob": "b1"},
    ]


async def test_a_message_that_was_received_is_handed_out_whole_though_the_connection_is_gone(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script(
        "Subscribe",
        Sends(message(*(entry("ada", n) for n in range(1, 5)), entry("ada", 5, "a5"))),
        Sends(message(entry("ada", 6, "a6"))),
    )
    async with client.subscribe("ada") as events:
        assert await take(events, 2) == ["ada-1", "ada-2"]
        assert events.cursors == {}  # a crash here must get all five again
        await server.stop()
        await server.start()
        assert await take(events, 4) == ["ada-3", "ada-4", "ada-5", "ada-6"]
    assert [positions(request) for request in server.requests["Subscribe"]] == [{"ada": ""}, {"ada": "a5"}]


async def test_progress_moves_the_position_past_what_the_filter_hides(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script(
        "Subscribe",
        Sends(message(entry("ada", 1, "a1")), message(ada="a7"), end=DRAINING),
        Sends(message(entry("ada", 8, "a8"))),
    )
    async with client.subscribe("ada", categories=["build"]) as events:
        assert await take(events, 2) == ["ada-1", "ada-8"]
    assert positions(server.requests["Subscribe"][1]) == {"ada": "a7"}


async def test_a_reset_is_handed_out_and_the_recipient_starts_anew(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script(
        "Subscribe",
        Sends(
            message(entry("ada", 9, "a9")),
            message(reset("ada", "INCARNATION_CHANGED"), entry("ada", 1)),
            end=DRAINING,
        ),
        Sends(message(entry("ada", 1), entry("ada", 2, "x2"))),
    )
    async with client.subscribe("ada") as events:
        assert await take(events, 4) == ["ada-9", "ada: INCARNATION_CHANGED", "ada-1", "ada-2"]
    assert [positions(r) for r in server.requests["Subscribe"]] == [{"ada": ""}, {"ada": ""}]


async def test_it_ends_when_the_last_recipient_is_left_out(client: tocsin.Client, server: FakeServer) -> None:
    server.script("Subscribe", Sends(message(reset("ada", "LIMIT_REACHED"))))
    events = client.subscribe("ada")
    assert [word(event) async for event in events] == ["ada: LIMIT_REACHED"]
    await server.until(lambda: server.calls["Subscribe"][0].ended)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (Failure(CODES.UNAUTHENTICATED, "CREDENTIALS_REVOKED"), tocsin.CredentialsError),
        (Failure(CODES.ABORTED, "SESSION_TERMINATED"), tocsin.AbortedError),
        (Failure(CODES.PERMISSION_DENIED, "TENANT_SUSPENDED"), tocsin.PermissionDeniedError),
        (Failure(CODES.INVALID_ARGUMENT, "INVALID_FIELD"), tocsin.InvalidRequestError),
        (Failure(CODES.RESOURCE_EXHAUSTED, "LIMIT_REACHED"), tocsin.ExhaustedError),
    ],
)
async def test_it_stops_where_connecting_again_would_not_help(
    client: tocsin.Client, server: FakeServer, failure: Failure, expected: type[tocsin.TocsinError]
) -> None:
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1")), end=failure))
    events = client.subscribe("ada")
    assert await take(events, 1) == ["ada-1"]
    with pytest.raises(expected) as caught:
        await anext(events)
    assert caught.value.reason == failure.reason
    assert events.cursors == {"ada": "a1"}
    assert [event async for event in events] == []
    assert len(server.calls["Subscribe"]) == 1


async def test_it_stops_at_a_message_that_cannot_be_read(client: tocsin.Client, server: FakeServer) -> None:
    async def sends_garbage(call: StreamCall[Any, Any]) -> None:
        await call.send(Garbage())
        await call.hang()

    server.script("Subscribe", sends_garbage)
    with pytest.raises(tocsin.ServerError, match="cannot be read"):
        await anext(client.subscribe("ada"))


async def test_a_silent_connection_is_taken_for_dead(
    client: tocsin.Client, server: FakeServer, clock: Clock
) -> None:
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1"))), Sends(message(entry("ada", 2, "a2"))))
    async with client.subscribe("ada", heartbeat=30) as events:
        assert await take(events, 1) == ["ada-1"]
        waiting = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0)
        clock.advance(91)
        assert await waiting == ["ada-2"]
    await server.until(lambda: server.calls["Subscribe"][0].ended)
    assert positions(server.requests["Subscribe"][1]) == {"ada": "a1"}


async def test_heartbeats_keep_a_quiet_connection(
    client: tocsin.Client, server: FakeServer, clock: Clock
) -> None:
    events = client.subscribe("ada", heartbeat=30)

    def has_reached(cursor: str) -> bool:
        return events.cursors == {"ada": cursor}

    async def beats_at_long_intervals(call: Call) -> None:
        for cursor in ("a0", "a1", "a2", "a3"):
            await call.send(message(ada=cursor))
            await until(partial(has_reached, cursor))
            clock.advance(80)
        await call.send(message(entry("ada", 1, "a9")))
        await call.hang()

    server.script("Subscribe", beats_at_long_intervals)
    async with events:
        assert await take(events, 1) == ["ada-1"]
    assert len(server.calls["Subscribe"]) == 1


async def test_an_application_that_takes_its_time_is_no_silence(
    client: tocsin.Client, server: FakeServer, clock: Clock
) -> None:
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1")), message(entry("ada", 2, "a2"))))
    async with client.subscribe("ada", heartbeat=30) as events:
        assert await take(events, 1) == ["ada-1"]
        clock.advance(3_600)
        assert await take(events, 1) == ["ada-2"]
    assert len(server.calls["Subscribe"]) == 1


async def test_the_server_s_wish_to_wait_is_kept_even_by_one_who_asks_again_and_again(
    client: tocsin.Client, server: FakeServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    patient = Failure(CODES.UNAVAILABLE, "SERVER_DRAINING", retry_after=3_600.0)
    server.script(
        "Subscribe", Sends(message(entry("ada", 1, "a1")), end=patient), Sends(message(entry("ada", 2, "a2")))
    )
    async with client.subscribe("ada") as events:
        assert await take(events, 1) == ["ada-1"]
        caplog.set_level(logging.INFO, "tocsin")
        waiting = asyncio.create_task(take(events, 1))
        await until(lambda: "connecting again in 3600.0 s" in caplog.text)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        clock.advance(3_590)
        waiting = asyncio.create_task(take(events, 1))
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(server.calls["Subscribe"]) == 1
        clock.advance(11)
        assert await waiting == ["ada-2"]


async def test_a_connection_that_had_been_working_is_no_reason_to_worry(
    client: tocsin.Client, server: FakeServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def works_for_an_hour(call: Call) -> None:
        await call.send(message(entry("ada", 2, "a2"), session_id="s2"))
        await until(lambda: events.cursors == {"ada": "a2"})
        clock.advance(3_600)
        await call.fail(DRAINING)

    server.script(
        "Subscribe",
        Sends(message(entry("ada", 1, "a1"), session_id="s1"), end=DRAINING),
        Sends(end=DRAINING),
        works_for_an_hour,
        Sends(message(entry("ada", 3, "a3"))),
    )
    caplog.set_level(logging.INFO, "tocsin")
    async with client.subscribe("ada", heartbeat=3_000) as events:
        assert await take(events, 3) == ["ada-1", "ada-2", "ada-3"]
    levels = [record.levelname for record in caplog.records if "interrupted" in record.message]
    assert levels == ["INFO", "WARNING", "INFO"]


async def test_closing_does_not_wait_for_the_next_attempt(
    client: tocsin.Client, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tocsin")
    server.script("Subscribe", Sends(end=Failure(CODES.UNAVAILABLE, "SERVER_DRAINING", retry_after=3_600.0)))
    async with client.subscribe("ada") as events:
        waiting = asyncio.ensure_future(anext(events, None))
        await until(lambda: "connecting again" in caplog.text)
    assert await waiting is None


async def test_a_cancelled_or_timed_out_iteration_loses_nothing(
    client: tocsin.Client, server: FakeServer
) -> None:
    go_on = asyncio.Event()

    async def waits(call: Call) -> None:
        await call.send(message(entry("ada", 1, "a1")))
        await go_on.wait()
        await call.send(message(entry("ada", 2, "a2")))
        await call.hang()

    server.script("Subscribe", waits)
    async with client.subscribe("ada") as events:
        assert await take(events, 1) == ["ada-1"]
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(events), 0.001)
        go_on.set()
        assert await take(events, 1) == ["ada-2"]
    assert len(server.calls["Subscribe"]) == 1


async def test_two_tasks_cannot_iterate_at_once(client: tocsin.Client, server: FakeServer) -> None:
    async with client.subscribe("ada") as events:
        first = asyncio.ensure_future(anext(events, None))
        await server.until(lambda: server.calls["Subscribe"])
        with pytest.raises(RuntimeError, match="another task"):
            await anext(events)
    assert await first is None


async def test_closing_ends_the_iteration_and_the_call(client: tocsin.Client, server: FakeServer) -> None:
    events = client.subscribe("ada")
    waiting = asyncio.ensure_future(anext(events, None))
    await server.until(lambda: server.calls["Subscribe"])
    await events.aclose()
    await events.aclose()
    assert await waiting is None
    await server.until(lambda: server.calls["Subscribe"][0].ended)


async def test_closing_the_client_closes_its_subscriptions(server: FakeServer) -> None:
    async with tocsin.connect(server.target, retry=QUICK) as client:
        waiting = asyncio.ensure_future(anext(client.subscribe("ada"), None))
        await server.until(lambda: server.calls["Subscribe"])
    assert await waiting is None


async def test_cancelling_the_one_who_iterates_closes_the_call(
    client: tocsin.Client, server: FakeServer
) -> None:
    async def follow() -> None:
        async with client.subscribe("ada") as events:
            async for _ in events:
                pass

    following = asyncio.create_task(follow())
    await server.until(lambda: server.calls["Subscribe"])
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await server.until(lambda: server.calls["Subscribe"][0].ended)


# --- acknowledgements -------------------------------------------------------------------------------------------------


@pytest.fixture
def acknowledged(server: FakeServer) -> list[AcknowledgeRequest]:
    """What the server has recorded."""
    server.answer("Acknowledge", recorded)
    return server.requests["Acknowledge"]


async def test_acknowledgements_are_gathered_and_sent_by_themselves(
    client: tocsin.Client, server: FakeServer, acknowledged: list[AcknowledgeRequest]
) -> None:
    server.script(
        "Subscribe",
        Sends(message(entry("ada", 1, "a1")), message(entry("ada", 2, "a2"), entry("bob", 1, "b1"))),
    )
    async with client.subscribe(["ada", "bob"], consumer="mail") as events:
        for _ in range(3):
            events.ack(await anext(events))
        await server.until(lambda: recorded_positions(acknowledged) == {"ada": "a2", "bob": "b1"})
    assert {request.consumer for request in acknowledged} == {"mail"}


async def test_closing_sends_what_is_left(
    client: tocsin.Client, server: FakeServer, acknowledged: list[AcknowledgeRequest]
) -> None:
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1"))))
    async with client.subscribe("ada", consumer="mail") as events:
        events.ack(await anext(events))
    assert recorded_positions(acknowledged) == {"ada": "a1"}


async def test_flush_returns_when_the_positions_are_recorded(
    client: tocsin.Client, server: FakeServer, acknowledged: list[AcknowledgeRequest]
) -> None:
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1"))))
    async with client.subscribe("ada", consumer="mail") as events:
        events.ack(await anext(events))
        await events.flush()
        assert len(acknowledged) == 1
    assert len(acknowledged) == 1


async def test_the_position_where_a_named_consumer_starts_is_recorded(
    client: tocsin.Client, server: FakeServer, acknowledged: list[AcknowledgeRequest]
) -> None:
    server.script("Subscribe", Sends(message(ada="a7")))
    async with client.subscribe("ada", consumer="mail") as events:
        waiting = asyncio.ensure_future(anext(events, None))
        await server.until(lambda: acknowledged)
    assert await waiting is None
    assert acknowledged[0].positions[0].cursor == "a7"


async def test_acknowledgements_outlast_an_unavailable_server(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Acknowledge", Failure(CODES.UNAVAILABLE), Failure(CODES.UNAVAILABLE), recorded)
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1"))))
    async with client.subscribe("ada", consumer="mail") as events:
        events.ack(await anext(events))
        await events.flush()
    assert len(server.requests["Acknowledge"]) == 3


async def test_acknowledgements_that_are_delayed_are_not_forgotten(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer("Acknowledge", Failure(CODES.UNAVAILABLE), recorded)
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1"))))
    async with (
        tocsin.connect(server.target, retry=tocsin.RetryPolicy(max_attempts=1)) as client,
        client.subscribe("ada", consumer="mail") as events,
    ):
        events.ack(await anext(events))
        await server.until(lambda: len(server.requests["Acknowledge"]) == 2)
    assert "acknowledgements of mail are delayed" in caplog.text
    assert recorded_positions(server.requests["Acknowledge"][1:]) == {"ada": "a1"}


async def test_a_refused_position_is_raised_by_flush_and_one_of_an_erased_inbox_is_not(
    client: tocsin.Client, server: FakeServer
) -> None:
    def refusal(reason: str) -> AcknowledgeResponse:
        status = Failure(CODES.OUT_OF_RANGE, reason).status
        return AcknowledgeResponse(results=[AcknowledgeResult(recipient="ada", error=status)])

    server.answer(
        "Acknowledge", refusal("INCARNATION_CHANGED"), refusal("CURSOR_MISMATCH"), AcknowledgeResponse()
    )
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1")), message(entry("ada", 2, "a2"))))
    async with client.subscribe("ada", consumer="mail") as events:
        events.ack(await anext(events))
        await events.flush()
        events.ack(await anext(events))
        with pytest.raises(tocsin.CursorError) as caught:
            await events.flush()
    assert caught.value.reason == "CURSOR_MISMATCH"


async def test_closing_does_not_fail_because_acknowledging_does(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Acknowledge", Failure(CODES.PERMISSION_DENIED, "SCOPE_MISSING"))
    server.script("Subscribe", Sends(message(entry("ada", 1, "a1"))))
    async with client.subscribe("ada", consumer="mail") as events:
        events.ack(await anext(events))


async def test_without_a_consumer_there_is_nothing_to_acknowledge(client: tocsin.Client) -> None:
    events = client.subscribe("ada")
    event = tocsin.ResetHappened(recipient="ada", reason="CURSOR_EXPIRED")
    with pytest.raises(ValueError, match="named consumer"):
        events.ack(event)
    with pytest.raises(ValueError, match="named consumer"):
        await events.flush()


async def test_any_connection_can_acknowledge(client: tocsin.Client, server: FakeServer) -> None:
    refused = AcknowledgeResult(recipient="bob", error=Failure(CODES.OUT_OF_RANGE, "CURSOR_MISMATCH").status)
    server.answer(
        "Acknowledge", AcknowledgeResponse(results=[AcknowledgeResult(recipient="ada", cursor="a9"), refused])
    )
    ada, bob = await client.ack("mail", {"ada": "a1", "bob": "b1"})
    assert ada == tocsin.AckOutcome("ada", "a9", None)
    assert (bob.recipient, bob.cursor) == ("bob", None)
    assert isinstance(bob.error, tocsin.CursorError)


async def test_many_positions_take_several_calls(
    client: tocsin.Client, acknowledged: list[AcknowledgeRequest]
) -> None:
    outcomes = await client.ack("mail", {f"r{number}": "c" for number in range(12_000)})
    assert [outcome.recipient for outcome in outcomes] == [f"r{number}" for number in range(12_000)]
    assert [len(request.positions) for request in acknowledged] == [5_000, 5_000, 2_000]


async def test_a_lasting_failure_to_acknowledge_is_raised_by_the_iteration(
    client: tocsin.Client, server: FakeServer
) -> None:
    """Nothing more comes on the stream: the failure itself has to end the wait."""
    server.answer("Acknowledge", Failure(CODES.PERMISSION_DENIED, "SCOPE_MISSING"))

    async def sends_one(call: Call) -> None:
        await call.send(message(entry("ada", 1, "a1")))
        await call.hang()

    server.script("Subscribe", sends_one)
    async with client.subscribe("ada", consumer="mail") as events:
        events.ack(await anext(events))
        with pytest.raises(tocsin.PermissionDeniedError):
            await anext(events)
