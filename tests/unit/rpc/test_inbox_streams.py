"""Subscribe and Attach: what crosses the wire goes to the session and back, and nothing stays behind."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.support.calls import reason_of
from tests.support.waiting import eventually
from tests.unit.rpc.conftest import Served, serving
from tocsin.v1 import inbox_service_pb2 as pb
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin_server.domain.errors import ServerDraining, StorageUnavailable, TocsinError, TooManyStreams
from tocsin_server.domain.time import SECOND
from tocsin_server.service.placing import Start
from tocsin_server.service.session import SessionKind, SessionOptions

ADA, BOB = pb.Position(recipient="ada", cursor="c1"), pb.Position(recipient="bob")


class FakeSession:
    """Sends what is put into it, until an error is."""

    def __init__(self) -> None:
        self.done: list[tuple[str, Any]] = []
        self.closed = 0
        self.out: asyncio.Queue[bytes | TocsinError] = asyncio.Queue()

    def add(self, positions: Sequence[tuple[str, str]]) -> None:
        self.done.append(("add", list(positions)))

    async def told(self) -> None:
        self.done.append(("told", None))

    def remove(self, recipients: Sequence[str]) -> None:
        self.done.append(("remove", list(recipients)))

    async def acknowledge(self, positions: Sequence[tuple[str, str]]) -> None:
        self.done.append(("acknowledge", list(positions)))

    def grant(self, max_in_flight: int) -> None:
        self.done.append(("grant", max_in_flight))

    async def messages(self) -> AsyncIterator[bytes]:
        yield pb.SubscribeResponse(session_id="s1").SerializeToString()
        while True:
            message = await self.out.get()
            if isinstance(message, TocsinError):
                raise message
            yield message

    def close(self) -> None:
        self.closed += 1


class FakeSessions:
    def __init__(self) -> None:
        self.session = FakeSession()
        self.opened: list[tuple[SessionKind, SessionOptions]] = []
        self.refusal: TocsinError | None = None

    def open(self, principal: object, kind: SessionKind, peer: str, options: SessionOptions) -> FakeSession:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append((kind, options))
        return self.session


@pytest.fixture
def sessions() -> FakeSessions:
    return FakeSessions()


@pytest.fixture
async def streaming(sessions: FakeSessions) -> AsyncIterator[Served]:
    async with serving(sessions=sessions) as served:
        yield served


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def reason_at_end(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await read_to_the_end(call)
    return reason_of(error.value)


async def test_subscribe_says_what_is_wanted(streaming: Served, sessions: FakeSessions) -> None:
    request = pb.SubscribeRequest(
        recipients=[ADA, BOB],
        consumer="phone",
        start=pb.START_UNREAD,
        categories=["orders"],
        heartbeat_interval=Duration(seconds=5),
    )
    call = InboxServiceStub(streaming.channel).Subscribe(request)
    assert await call.read() == pb.SubscribeResponse(session_id="s1")
    assert sessions.opened == [
        (SessionKind.SUBSCRIBE, SessionOptions("phone", Start.UNREAD, ("orders",), 5 * SECOND, 0, 1_000))
    ]
    assert sessions.session.done == [("add", [("ada", "c1"), ("bob", "")])]
    call.cancel()


async def test_what_is_not_said_has_a_default(streaming: Served, sessions: FakeSessions) -> None:
    call = InboxServiceStub(streaming.channel).Subscribe(pb.SubscribeRequest(recipients=[BOB]))
    await call.read()
    assert sessions.opened == [
        (SessionKind.SUBSCRIBE, SessionOptions("", Start.NOW, (), 30 * SECOND, 0, 1_000))
    ]
    call.cancel()


async def test_messages_go_out_as_they_are(streaming: Served, sessions: FakeSessions) -> None:
    subscribe: Any = streaming.channel.unary_stream("/tocsin.v1.InboxService/Subscribe")
    call = subscribe(pb.SubscribeRequest(recipients=[BOB]).SerializeToString())
    await call.read()
    sessions.session.out.put_nowait(b"any bytes")
    assert await call.read() == b"any bytes"
    call.cancel()


async def test_the_error_that_ends_a_session_ends_the_call(streaming: Served, sessions: FakeSessions) -> None:
    call = InboxServiceStub(streaming.channel).Subscribe(pb.SubscribeRequest(recipients=[BOB]))
    await call.read()
    sessions.session.out.put_nowait(ServerDraining())
    assert await reason_at_end(call) == "SERVER_DRAINING"
    assert sessions.session.closed == 1
    await eventually(lambda: streaming.rpc.admission.streams == 0, "the way out")


async def test_who_leaves_closes_the_session(streaming: Served, sessions: FakeSessions) -> None:
    call = InboxServiceStub(streaming.channel).Subscribe(pb.SubscribeRequest(recipients=[BOB]))
    await call.read()
    call.cancel()
    await eventually(lambda: sessions.session.closed == 1, "the session's end")


async def test_a_refusal_to_open_is_told(streaming: Served, sessions: FakeSessions) -> None:
    sessions.refusal = TooManyStreams(limit=1)
    call = InboxServiceStub(streaming.channel).Subscribe(pb.SubscribeRequest(recipients=[BOB]))
    assert await reason_at_end(call) == "TOO_MANY_STREAMS"


async def test_a_gateway_is_obeyed_in_order(streaming: Served, sessions: FakeSessions) -> None:
    call = InboxServiceStub(streaming.channel).Attach()
    await call.write(pb.AttachRequest(start=pb.AttachStart(recipients=[ADA], max_in_flight=5)))
    assert await call.read() == pb.AttachResponse(session_id="s1")
    await call.write(pb.AttachRequest(add=pb.AttachAdd(recipients=[BOB])))
    await call.write(pb.AttachRequest(acknowledge=pb.AttachAcknowledge(positions=[ADA])))
    await call.write(pb.AttachRequest(remove=pb.AttachRemove(recipients=["ada"])))
    await call.write(pb.AttachRequest(credit=pb.AttachCredit(max_in_flight=9)))
    await eventually(lambda: len(sessions.session.done) == 6, "all that was asked for")
    assert sessions.session.done == [
        ("add", [("ada", "c1")]),
        ("add", [("bob", "")]),
        ("told", None),
        ("acknowledge", [("ada", "c1")]),
        ("remove", ["ada"]),
        ("grant", 9),
    ]
    assert sessions.opened[0][1].max_in_flight == 5
    assert sessions.opened[0][1].max_recipients == 100_000
    call.cancel()
    await eventually(lambda: sessions.session.closed == 1, "the session's end")


async def test_a_gateway_that_asks_for_nothing_more_still_receives(
    streaming: Served, sessions: FakeSessions
) -> None:
    call = InboxServiceStub(streaming.channel).Attach()
    await call.write(pb.AttachRequest(start=pb.AttachStart()))
    await call.done_writing()
    await call.read()
    sessions.session.out.put_nowait(pb.AttachResponse(progress=pb.Progress()).SerializeToString())
    assert await call.read() == pb.AttachResponse(progress=pb.Progress())
    sessions.session.out.put_nowait(StorageUnavailable())
    assert await reason_at_end(call) == "STORAGE_UNAVAILABLE"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([pb.AttachRequest(credit=pb.AttachCredit())], "INVALID_FIELD"),
        ([pb.AttachRequest(start=pb.AttachStart())] * 2, "INVALID_FIELD"),
        ([pb.AttachRequest(start=pb.AttachStart()), pb.AttachRequest()], "INVALID_FIELD"),
        ([], "MALFORMED_REQUEST"),
    ],
)
async def test_what_a_gateway_must_not_do_ends_the_stream(
    streaming: Served, sessions: FakeSessions, messages: list[pb.AttachRequest], reason: str
) -> None:
    call = InboxServiceStub(streaming.channel).Attach()
    for message in messages:
        await call.write(message)
    if not messages:
        await call.done_writing()
    assert await reason_at_end(call) == reason
    assert sessions.session.closed == len(sessions.opened)
    await eventually(lambda: streaming.rpc.admission.streams == 0, "the way out")
