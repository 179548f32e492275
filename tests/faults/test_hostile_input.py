"""Fault 18: what is sent is not what the contract says. The answer is a clear status, and nothing is left behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from tests.support.calls import DETAILS, channel_to, reason_of
from tests.support.processes import ServerProcess, Servers, is_serving
from tests.support.waiting import eventually
from tocsin.v1 import (
    category_service_pb2,
    inbox_service_pb2,
    notification_service_pb2,
    preference_service_pb2,
    recipient_service_pb2,
    system_service_pb2,
    tenant_service_pb2,
)
from tocsin.v1.inbox_service_pb2 import MarkEntriesRequest, Position, SubscribeRequest
from tocsin.v1.notification_service_pb2 import SendRequest
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub

FILES: tuple[FileDescriptor, ...] = (
    inbox_service_pb2.DESCRIPTOR,
    notification_service_pb2.DESCRIPTOR,
    recipient_service_pb2.DESCRIPTOR,
    system_service_pb2.DESCRIPTOR,
    category_service_pb2.DESCRIPTOR,
    preference_service_pb2.DESCRIPTOR,
    tenant_service_pb2.DESCRIPTOR,
)
METHODS = [
    method for file in FILES for service in file.services_by_name.values() for method in service.methods
]
# What a caller can be told that sends nonsense.
CLEAR = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
CALL_TIMEOUT_S = 10
REQUEST_TIMEOUT_S = 1
RANDOM_PAYLOADS = 10
# What a server opens when it first needs it: a database connection a reader.
SPARE_DESCRIPTORS = 8
MESSAGE_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Outcome:
    """How a call ended: OK also stands for a stream that began."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = ""

    @property
    def clear(self) -> bool:
        """Whether it says what was wrong, and nothing of how the server is made."""
        return self.code in CLEAR and self.reason != "INTERNAL" and "Error" not in self.message


@pytest.fixture
async def server(servers: Servers) -> AsyncIterator[ServerProcess]:
    """A server that at the end must be as it was at the beginning: alive, healthy, and holding on to nothing."""
    server = await servers.start({"TOCSIN_REQUEST_TIMEOUT": f"{REQUEST_TIMEOUT_S}s"})
    pid = server.pid
    async with channel_to(server.address) as channel:
        assert await is_serving(channel)
        descriptors = server.usage().num_fds() + SPARE_DESCRIPTORS

    yield server

    await eventually(lambda: server.usage().num_fds() <= descriptors, "the server to close what was opened")
    async with channel_to(server.address) as channel:
        assert await is_serving(channel)
        sessions = await SystemServiceStub(channel).ListSessions(system_service_pb2.ListSessionsRequest())
        assert not sessions.sessions
    assert server.pid == pid
    assert "Traceback" not in server.log()


@pytest.fixture
async def channel(server: ServerProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with channel_to(server.address) as channel:
        yield channel


def field(number: int, content: bytes) -> bytes:
    """A field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return encoded + bytes((number,))


def nested(number: int, depth: int) -> bytes:
    """A message in a message in a message: each in the same field of the one around it."""
    content = b""
    for _ in range(depth):
        content = field(number, content)
    return content


def deep_struct(depth: int) -> bytes:
    """A Send whose template data are lists in lists, far deeper than protobuf decodes."""
    value = b""
    for _ in range(depth):
        value = field(6, field(1, value))  # Value.list_value, ListValue.values
    data = field(1, field(1, b"key") + field(2, value))  # Struct.fields
    return field(2, field(1, b"ada") + field(2, b"faults") + field(4, field(1, b"template") + field(3, data)))


def malformed(rng: random.Random) -> Iterator[bytes]:
    """Bytes that are no message, or one that means nothing."""
    yield b"\x0a\x02\xff\xfe"  # a string that is not UTF-8
    yield b"\x0a\xff\xff\xff\xff\x0f"  # longer than the message
    yield b"\x0a\x05abc"  # truncated
    yield b"\x0b\x0b\x0b"  # groups that do not end
    yield b"\x00\x00"  # field number 0
    yield b"\xff" * 11  # a number that does not end
    yield b"\x08\x01"  # a number where the field is none
    yield b"\xfa\xff\xff\xff\x0f\x03abc"  # a field that nobody knows
    yield nested(3, depth=1_000)  # deeper than anyone reads
    yield b""
    for _ in range(RANDOM_PAYLOADS):
        yield rng.randbytes(rng.randint(1, 200))
    yield rng.randbytes(100_000)


async def test_nonsense_gets_a_clear_status(channel: grpc.aio.Channel, rng: random.Random) -> None:
    unclear = []
    for method in METHODS:
        for payload in malformed(rng):
            outcome = await call(channel, path_of(method), payload)
            if not outcome.clear:
                unclear.append((method.full_name, payload[:100], outcome))

    assert unclear == []


# One row a case: a request, and why it is refused.
@pytest.mark.parametrize(
    ("method", "payload", "reason"),
    [
        # A value that the enum does not have: 99 in the field `mark`, and in the field `start`.
        ("MarkEntries", MarkEntriesRequest(recipient="ada", thread="t").SerializeToString() + b"\x18\x63",
         "INVALID_FIELD"),
        ("Subscribe", SubscribeRequest(recipients=[Position(recipient="ada")]).SerializeToString() + b"\x18\x63",
         "INVALID_FIELD"),
        # A million items, each of them two bytes.
        ("SendBatch", b"\x0a\x00" * 1_000_000, "INVALID_FIELD"),
        # More than a message may have.
        ("Send", SendRequest(request_id="x" * (MESSAGE_MAX_BYTES + 1)).SerializeToString(), "MESSAGE_TOO_LARGE"),
        # Template data a thousand deep.
        ("Send", deep_struct(1_000), "MALFORMED_REQUEST"),
    ],
)  # fmt: skip
async def test_it_says_what_is_wrong(
    channel: grpc.aio.Channel, method: str, payload: bytes, reason: str
) -> None:
    outcome = await call(channel, path_of(method_named(method)), payload)

    assert outcome.reason == reason, outcome


async def test_a_request_without_its_message_times_out(channel: grpc.aio.Channel) -> None:
    never = asyncio.Event()

    async def silence() -> AsyncIterator[bytes]:
        await never.wait()
        yield b""

    send = channel.stream_stream(
        path_of(method_named("Send")), request_serializer=unchanged, response_deserializer=unchanged
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(send(silence(), timeout=CALL_TIMEOUT_S)))
    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(refused.value) == "REQUEST_TIMEOUT"


async def test_a_method_that_is_not_there(channel: grpc.aio.Channel) -> None:
    outcome = await call(channel, "/tocsin.v1.NotificationService/Sned", b"")
    assert outcome.code == grpc.StatusCode.UNIMPLEMENTED


async def test_metadata_that_is_too_large(channel: grpc.aio.Channel) -> None:
    outcome = await call(channel, path_of(method_named("Send")), b"", padding="x" * 1_000_000)
    assert outcome.code == grpc.StatusCode.RESOURCE_EXHAUSTED


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


OPENINGS = [
    b"",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    PREFACE[:10],
    PREFACE,
    PREFACE + SETTINGS_FRAME + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",  # a frame of 16 MiB
    PREFACE + SETTINGS_FRAME + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",  # a window of 0
    PREFACE
    + SETTINGS_FRAME
    + b"\x00\x00\x04\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff",  # headers that are none
    PREFACE + SETTINGS_FRAME + b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678" * 5_000,  # pings without end
]


async def test_connections_that_do_not_speak_grpc(
    server: ServerProcess, channel: grpc.aio.Channel, rng: random.Random
) -> None:
    writers = []
    for opening in OPENINGS * 5:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writers.append(writer)
        with suppress(ConnectionError):
            writer.write(opening + rng.randbytes(rng.randint(0, 1_000)))
            await writer.drain()

    # Others are served while these are open.
    assert await is_serving(channel)

    for writer in writers:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def call(channel: grpc.aio.Channel, path: str, payload: bytes, *, padding: str = "") -> Outcome:
    """Send bytes to a method, and wait for the first answer or the end. On the wire every method is a stream."""
    method = channel.unary_stream(path, request_serializer=unchanged, response_deserializer=unchanged)
    answers = method(payload, metadata=(("x-padding", padding),), timeout=CALL_TIMEOUT_S)
    try:
        await anext(aiter(answers), None)
    except grpc.aio.AioRpcError as error:
        return Outcome(error.code(), said_reason(error), error.details() or "")
    answers.cancel()
    return Outcome(grpc.StatusCode.OK)


def said_reason(error: grpc.aio.AioRpcError) -> str:
    """The reason, or nothing where gRPC refused before any method of ours was reached."""
    reached = error.code() not in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    return reason_of(error) if reached or DETAILS in dict(error.trailing_metadata()) else ""


def unchanged(message: bytes) -> bytes:
    return message


def method_named(name: str) -> MethodDescriptor:
    return next(method for method in METHODS if method.name == name)


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"
