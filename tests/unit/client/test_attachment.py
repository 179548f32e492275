"""Attachments: a stream whose recipients come and go."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import grpc
import pytest

import tocsin
from tests.unit.client.events import entry, progress, reset
from tests.unit.client.fake_server import DRAINING, Failure, FakeServer, StreamCall
from tocsin.v1.inbox_service_pb2 import (
    AcknowledgeRequest,
    AcknowledgeResponse,
    AttachRequest,
    AttachResponse,
    InboxEvent,
    Position,
    Start,
)

Call = StreamCall[AttachRequest, AttachResponse]


def message(*events: InboxEvent, session_id: str = "", **positions: str) -> AttachResponse:
    return AttachResponse(session_id=session_id, events=events, progress=progress(**positions))


def script(
    *messages: AttachResponse, end: Failure | None = None, after: Callable[[Call], bool] | None = None
) -> Callable[[Call], Awaitable[None]]:
    """Sends the messages, then reads; ends with a failure at once or once `after` is true of what was read."""

    async def play(call: Call) -> None:
        await call.read()
        for response in messages:
            await call.send(response)
        while end is None or (after is not None and not after(call)):
            if await call.read() is None:
                break
        if end is not None:
            await call.fail(end)

    return play


def positions(listed: list[Position]) -> dict[str, str]:
    return {position.recipient: position.cursor for position in listed}


def told(call: Call) -> list[tuple[str, object]]:
    """What a gateway has said after the start, in words."""
    words: list[tuple[str, object]] = []
    for request in call.received[1:]:
        match kind := request.WhichOneof("request"):
            case "add":
                words.append((kind, positions(list(request.add.recipients))))
            case "remove":
                words.append((kind, list(request.remove.recipients)))
            case "acknowledge":
                words.append((kind, positions(list(request.acknowledge.positions))))
            case "credit":
                words.append((kind, request.credit.max_in_flight))
            case _:
                raise AssertionError(request)
    return words


def acknowledged(call: Call) -> dict[str, str]:
    return {
        position.recipient: position.cursor
        for request in call.received
        for position in request.acknowledge.positions
    }


def followed(call: Call) -> dict[str, str]:
    """Whom the connection followed in the end."""
    followed = positions(list(call.received[0].start.recipients))
    for request in call.received[1:]:
        followed |= positions(list(request.add.recipients))
        for recipient in request.remove.recipients:
            followed.pop(recipient, None)
    return followed


async def take(events: tocsin.Attachment, count: int) -> list[str]:
    taken: list[str] = []
    for _ in range(count):
        event = await anext(events)
        assert isinstance(event, tocsin.Entry)
        taken.append(event.notification.id)
    return taken


async def test_the_first_message_starts_the_session(client: tocsin.Client, server: FakeServer) -> None:
    server.script("Attach", script(message(entry("ada", 1, "a1"), session_id="s1")))
    async with client.attach(
        {"ada": "a0"}, consumer="web", start="beginning", categories=["build"], heartbeat=5, max_in_flight=100
    ) as events:
        assert await take(events, 1) == ["ada-1"]
        assert events.session_id == "s1"
    start = server.calls["Attach"][0].received[0].start
    assert positions(list(start.recipients)) == {"ada": "a0"}
    assert (start.consumer, start.start, start.categories) == ("web", Start.START_BEGINNING, ["build"])
    assert (start.heartbeat_interval.seconds, start.max_in_flight) == (5, 100)


async def test_recipients_come_and_go(client: tocsin.Client, server: FakeServer) -> None:
    server.script("Attach", script(message(entry("ada", 1, "a1"))))
    async with client.attach("ada") as events:
        await take(events, 1)
        call = server.calls["Attach"][0]
        events.add({"bob": "b4", "eve": None})
        await server.until(lambda: len(call.received) == 2)
        events.remove("ada")
        await server.until(lambda: len(call.received) == 3)
        events.credit(50)
        await server.until(lambda: len(call.received) == 4)
    assert told(call) == [("add", {"bob": "b4", "eve": ""}), ("remove", ["ada"]), ("credit", 50)]


async def test_the_last_word_about_a_recipient_counts(client: tocsin.Client, server: FakeServer) -> None:
    server.script("Attach", script(message(entry("ada", 1, "a1"))))
    async with client.attach("ada") as events:
        await take(events, 1)
        call = server.calls["Attach"][0]
        events.add(["bob", "eve"])
        events.remove(["bob", "ada"])
        events.add({"ada": "a0"})
        await server.until(lambda: len(call.received) == 3)
    assert told(call) == [("remove", ["bob"]), ("add", {"eve": "", "ada": "a0"})]


async def test_whoever_was_removed_is_not_heard_of_again(client: tocsin.Client, server: FakeServer) -> None:
    server.script(
        "Attach",
        script(message(entry("ada", 1), entry("bob", 1), entry("ada", 2, "a2"), entry("bob", 2, "b2"))),
    )
    async with client.attach(["ada", "bob"]) as events:
        assert await take(events, 1) == ["ada-1"]
        events.remove("ada")
        assert await take(events, 2) == ["bob-1", "bob-2"]
        assert events.cursors == {"bob": "b2"}


async def test_a_new_connection_is_told_everything_that_is_so_by_then(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script(
        "Attach",
        script(
            message(entry("ada", 1, "a1"), entry("bob", 1, "b1"), entry("eve", 1, "e1")),
            end=DRAINING,
            after=lambda call: len(call.received) == 4,
        ),
        script(message(entry("bob", 1, "b1"), entry("bob", 2, "b2"))),
    )
    async with client.attach(["ada", "bob", "eve"]) as events:
        assert await take(events, 3) == ["ada-1", "bob-1", "eve-1"]
        first = server.calls["Attach"][0]
        for count, change in enumerate(
            (lambda: events.remove("ada"), lambda: events.add({"joe": "j7"}), lambda: events.credit(9)),
            start=2,
        ):
            change()
            await server.until(lambda count=count: len(first.received) == count)  # type: ignore[misc]
        assert await take(events, 1) == ["bob-2"]
    second = server.calls["Attach"][1]
    assert followed(second) == {"bob": "b1", "eve": "e1", "joe": "j7"}
    assert second.received[0].start.max_in_flight == 9


async def test_many_recipients_are_told_in_parts(client: tocsin.Client, server: FakeServer) -> None:
    many = {f"r{number}": f"c{number}" for number in range(12_000)}

    async def waits_for_all(call: Call) -> None:
        while len(call.received) < 3:
            await call.read()
        await call.send(message(entry("r11999", 1, "x")))
        while await call.read():
            pass

    server.script("Attach", waits_for_all)
    async with client.attach(many) as events:
        assert await take(events, 1) == ["r11999-1"]
        call = server.calls["Attach"][0]
        assert followed(call) == many
        assert [len(request.add.recipients) for request in call.received] == [0, 5_000, 2_000]
        events.remove(many)
        await server.until(lambda: followed(call) == {})
        events.add(many)
        await server.until(lambda: followed(call) == many)


async def test_acknowledgements_travel_on_the_stream_before_the_recipient_leaves(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script("Attach", script(message(entry("ada", 1), entry("ada", 2, "a2"), entry("bob", 1, "b1"))))
    async with client.attach(["ada", "bob"], max_in_flight=10) as events:
        for _ in range(3):
            events.ack(await anext(events))
        events.remove("ada")
        call = server.calls["Attach"][0]
        await server.until(lambda: ("remove", ["ada"]) in told(call))
    assert told(call) == [("acknowledge", {"ada": "a2", "bob": "b1"}), ("remove", ["ada"])]
    assert not server.requests["Acknowledge"]  # nobody keeps positions without a consumer


async def test_what_a_lost_connection_was_told_is_acknowledged_on_the_next_for_a_consumer(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Acknowledge", AcknowledgeResponse())
    server.script(
        "Attach",
        script(
            message(entry("ada", 1, "a1"), entry("bob", 1, "b1")),
            end=DRAINING,
            after=lambda call: acknowledged(call) == {"ada": "a1", "bob": "b1"},
        ),
        script(message(entry("bob", 2, "b2"))),
    )
    async with client.attach(["ada", "bob"], consumer="web") as events:
        for _ in range(3):
            events.ack(await anext(events))
        second = server.calls["Attach"][1]
        await server.until(lambda: acknowledged(second) == {"ada": "a1", "bob": "b2"})


async def test_only_so_many_acknowledgements_are_remembered(
    client: tocsin.Client, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin.attachment.MAX_REMEMBERED", 2)
    server.answer("Acknowledge", AcknowledgeResponse())
    everyone = ["ada", "bob", "eve", "joe"]
    server.script("Attach", script(message(*(entry(name, 1, f"{name}1") for name in everyone))))

    def has_acknowledged(name: str) -> bool:
        return name in acknowledged(server.calls["Attach"][0])

    async with client.attach(everyone, consumer="web") as events:
        for name in everyone:
            events.ack(await anext(events))
            await server.until(partial(has_acknowledged, name))
    (request,) = server.requests["Acknowledge"]
    assert positions(list(request.positions)) == {"eve": "eve1", "joe": "joe1"}


async def test_closing_has_the_acknowledgements_of_a_consumer_recorded(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.answer("Acknowledge", AcknowledgeResponse())
    server.script("Attach", script(message(entry("ada", 1, "a1"), entry("bob", 1, "b1"))))
    async with client.attach(["ada", "bob"], consumer="web") as events:
        events.ack(await anext(events))
        await server.until(lambda: acknowledged(server.calls["Attach"][0]))
        events.ack(await anext(events))
    requests: list[AcknowledgeRequest] = server.requests["Acknowledge"]
    assert {p.recipient: p.cursor for r in requests for p in r.positions} == {"ada": "a1", "bob": "b1"}


async def test_credit_is_freed_for_what_a_new_connection_repeats(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script(
        "Attach",
        script(message(entry("ada", 1, "a1")), end=DRAINING, after=lambda call: bool(acknowledged(call))),
        script(message(entry("ada", 1, "a1"))),
    )
    async with client.attach("ada", max_in_flight=1) as events:
        events.ack(await anext(events))
        waiting = asyncio.ensure_future(anext(events, None))
        await server.until(lambda: len(server.calls["Attach"]) == 2)
        second = server.calls["Attach"][1]
        await server.until(lambda: acknowledged(second) == {"ada": "a1"})
    assert await waiting is None


async def test_whoever_is_left_out_is_not_asked_for_again(client: tocsin.Client, server: FakeServer) -> None:
    server.script(
        "Attach",
        script(message(reset("bob", "LIMIT_REACHED"), entry("ada", 1, "a1")), end=DRAINING),
        script(message(entry("ada", 2, "a2"))),
    )
    async with client.attach(["ada", "bob"]) as events:
        event = await anext(events)
        assert isinstance(event, tocsin.ResetHappened)
        assert event.left_out
        assert await take(events, 2) == ["ada-1", "ada-2"]
    assert followed(server.calls["Attach"][1]) == {"ada": "a1"}


async def test_it_can_begin_with_nobody(client: tocsin.Client, server: FakeServer) -> None:
    async def on_demand(call: Call) -> None:
        await call.read()
        await call.read()
        await call.send(message(entry("ada", 1, "a1")))
        await call.hang()

    server.script("Attach", on_demand)
    async with client.attach() as events:
        first = asyncio.ensure_future(take(events, 1))
        await server.until(lambda: server.calls["Attach"] and server.calls["Attach"][0].received)
        events.add("ada")
        assert await first == ["ada-1"]


async def test_a_lasting_failure_is_raised(client: tocsin.Client, server: FakeServer) -> None:
    server.script("Attach", script(end=Failure(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")))
    with pytest.raises(tocsin.PermissionDeniedError):
        await anext(client.attach("ada"))


async def test_what_cannot_be_told_is_raised_by_the_iteration(
    client: tocsin.Client, server: FakeServer
) -> None:
    server.script("Attach", script(message(entry("ada", 1, "a1"))))
    async with client.attach("ada") as events:
        await take(events, 1)
        waiting = asyncio.ensure_future(anext(events))
        events.add([17])  # type: ignore[list-item]
        with pytest.raises(TypeError):
            await waiting


async def test_closing_ends_the_call_and_the_iteration(client: tocsin.Client, server: FakeServer) -> None:
    server.script("Attach", script())
    async with client.attach("ada") as events:
        waiting = asyncio.ensure_future(anext(events, None))
        await server.until(lambda: server.calls["Attach"] and server.calls["Attach"][0].received)
    assert await waiting is None
    await server.until(lambda: server.calls["Attach"][0].ended)
