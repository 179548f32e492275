"""A server that answers as it is told, over real gRPC."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Never, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from tocsin.v1 import (
    broadcast_service_pb2,
    category_service_pb2,
    inbox_service_pb2,
    notification_service_pb2,
    preference_service_pb2,
    recipient_service_pb2,
    system_service_pb2,
    template_service_pb2,
    tenant_service_pb2,
    topic_service_pb2,
)

ItemT = TypeVar("ItemT")
RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

METHODS: Mapping[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in (
        inbox_service_pb2,
        notification_service_pb2,
        recipient_service_pb2,
        system_service_pb2,
        category_service_pb2,
        preference_service_pb2,
        template_service_pb2,
        tenant_service_pb2,
        topic_service_pb2,
        broadcast_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass(frozen=True)
class Failure:
    """How a call, or an item, fails."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "told to"
    metadata: Mapping[str, str] | None = None
    violations: Sequence[tuple[str, str]] = ()
    retry_after: float | None = None
    domain: str = "tocsin"

    @property
    def status(self) -> Status:
        details: list[Message] = []
        if self.reason:
            details.append(ErrorInfo(reason=self.reason, domain=self.domain, metadata=self.metadata))
        if self.violations:
            fields = [BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations]
            details.append(BadRequest(field_violations=fields))
        if self.retry_after is not None:
            delay = Duration()
            delay.FromNanoseconds(int(self.retry_after * 1e9))
            details.append(RetryInfo(retry_delay=delay))
        packed = [AnyMessage() for _ in details]
        for target, detail in zip(packed, details, strict=True):
            target.Pack(detail)
        return Status(code=self.code.value[0], message=self.message, details=packed)

    async def abort(self, context: grpc.aio.ServicerContext[Any, Any]) -> Never:
        trailers = (("grpc-status-details-bin", self.status.SerializeToString()),)
        await context.abort(self.code, self.message, trailers if self.status.details else ())


UNAVAILABLE = Failure(grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
DRAINING = Failure(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING", retry_after=0.0)


class Garbage:
    """Bytes that are no message."""

    def SerializeToString(self) -> bytes:
        return b"\xff"


class StreamCall(Generic[RequestT, ResponseT]):
    """A streaming call as its script sees it."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any], tell: Callable[[], None]) -> None:
        self.context = context
        self.received: list[RequestT] = []
        self.half_closed = False
        self.ended = False
        self._tell = tell

    async def read(self) -> RequestT | None:
        """The next message from the client; None after the last."""
        message = await self.context.read()
        if message is grpc.aio.EOF:
            self.half_closed = True
        else:
            self.received.append(message)
        self._tell()
        return None if self.half_closed else message

    async def send(self, response: ResponseT) -> None:
        await self.context.write(response)

    async def fail(self, failure: Failure) -> Never:
        await failure.abort(self.context)

    async def hang(self) -> Never:
        """Say nothing more, ever."""
        await asyncio.Event().wait()
        raise AssertionError


Answer = Message | Failure | Garbage | Callable[[Any], Awaitable[Message]]
Script = Callable[[StreamCall[Any, Any]], Awaitable[None]]


class FakeServer(grpc.GenericRpcHandler):
    """Every RPC of the contract, answered from what a test has laid out.

    A call takes the next answer, a stream the next script; the last one serves again and again. A stream without a
    script hangs.
    """

    def __init__(self) -> None:
        self.requests: defaultdict[str, list[Any]] = defaultdict(list)
        self.metadata: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.calls: defaultdict[str, list[StreamCall[Any, Any]]] = defaultdict(list)
        self.port = 0
        self._answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._scripts: defaultdict[str, deque[Script]] = defaultdict(deque)
        self._news = asyncio.Event()
        self._server: grpc.aio.Server | None = None

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answer(self, method: str, *answers: Answer) -> None:
        """What the next calls of a method are answered with."""
        self._answers[method].extend(answers)

    def script(self, method: str, *scripts: Script) -> None:
        """What the next streams of a method do."""
        self._scripts[method].extend(scripts)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until calls and messages that came in make the condition true."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._server = grpc.aio.server(handlers=[self], options=[("grpc.so_reuseport", 0)])
        address = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Break off everything. Can be started again, on the same port."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = METHODS.get(details.method)
        if method is None:
            return None
        deserialize = GetMessageClass(method.input_type).FromString

        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._note(method.name, request, context)
            answer = _next(self._answers[method.name])
            if isinstance(answer, Failure):
                await answer.abort(context)
            return answer if isinstance(answer, Message | Garbage) else await answer(request)

        async def unary_stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            self._note(method.name, request, context)
            await self._play(method.name, context)

        async def stream_stream(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            await self._play(method.name, context)

        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(stream_stream, deserialize, _serialize)
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(unary_stream, deserialize, _serialize)
        return grpc.unary_unary_rpc_method_handler(unary, deserialize, _serialize)

    async def _play(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        call = StreamCall[Any, Any](context, self._news.set)
        self.calls[method].append(call)
        self._news.set()
        scripts = self._scripts[method]
        try:
            await (_next(scripts)(call) if scripts else call.hang())
        finally:
            call.ended = True
            self._news.set()

    def _note(self, method: str, request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.requests[method].append(request)
        self.metadata[method].append(dict(context.invocation_metadata() or ()))
        self._news.set()


def _next(queue: deque[ItemT]) -> ItemT:
    return queue.popleft() if len(queue) > 1 else queue[0]


def _serialize(message: Message | Garbage) -> bytes:
    return message.SerializeToString()
