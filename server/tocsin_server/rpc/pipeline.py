"""What every call goes through, in this order:

    telemetry begins → admission → authentication → scope → read and decode → shape → servicer → encode → telemetry ends

Authentication and scope are left out where the request is its own credential.
An error anywhere on the way becomes a status in one place. The stages are plain calls around the servicer's method and
not gRPC interceptors, each of which would cost every call some microseconds. Requests are read and decoded here and not
by gRPC, which answers what it cannot decode with UNKNOWN and Python's own words, and waits for a message for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, cast

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tocsin_server.domain.access import NOBODY, Principal, Scope
from tocsin_server.domain.errors import FeatureNotBuilt, MalformedRequest, MessageTooLarge, TocsinError
from tocsin_server.rpc.admission import Admission
from tocsin_server.rpc.context import Authenticator, CallContext, CallRecord, Telemetry
from tocsin_server.rpc.errors import abort, code_of, internal
from tocsin_server.rpc.gathering import Gathering
from tocsin_server.rpc.methods import ByToken, Gathered, Servicer, Streaming, Unary
from tocsin_server.rpc.streams import Context, Guard, Handler, MessageStream, Patience
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.tracing import parse_trace_parent

_log = structlog.get_logger(__name__)

_OTHER = "_OTHER"
"""What telemetry calls methods that are not known: their names are the caller's invention and without end."""

Result = TypeVar("Result")


class Pipeline:
    """Makes gRPC handlers of what servicers serve."""

    def __init__(
        self,
        admission: Admission,
        authenticator: Authenticator,
        shape: Shape,
        telemetry: Telemetry | None,
        *,
        max_message_bytes: int,
        request_timeout: float,
    ) -> None:
        self._admission = admission
        self._authenticator = authenticator
        self._shape = shape
        self._telemetry = telemetry
        self._max_message_bytes = max_message_bytes
        self._patience = Patience(request_timeout)
        self._guard = Guard(authenticator.still_valid)

    def handlers(self, servicers: Iterable[Servicer]) -> dict[str, Handler]:
        """A handler for each RPC of the servicers, by its full name."""
        handlers = {}
        for servicer in servicers:
            methods = servicer.methods()
            for rpc in servicer.service.methods:
                path = f"/{servicer.service.full_name}/{rpc.name}"
                request = GetMessageClass(rpc.input_type)
                match methods[rpc.name]:
                    case Unary() | ByToken() as method:
                        handlers[path] = self._unary(path, request, method)
                    case Gathered() as method:
                        handlers[path] = self._gathered(path, request, method)
                    case Streaming() as method:
                        handlers[path] = self._streaming(path, request, method)
        return handlers

    def unbuilt(self, path: str) -> Handler:
        """A handler for an RPC that this version does not have."""

        async def refuse(_authorization: str | None, _trace_parent: str) -> None:
            raise FeatureNotBuilt(method=path)

        async def call(_requests: object, context: Context) -> None:
            await self._run(_OTHER, context, refuse)

        return grpc.stream_stream_rpc_method_handler(call)

    def _unary(self, path: str, request: type[Message], method: Unary | ByToken) -> Handler:
        admission = self._admission

        async def call(_requests: object, context: Context) -> bytes:
            async def serve(authorization: str | None, trace_parent: str) -> bytes:
                admission.enter_call()
                try:
                    if isinstance(method, ByToken):
                        caller = _call(context, NOBODY, trace_parent)
                    else:
                        caller = self._caller(context, authorization, trace_parent, method.scope)
                    raw = await self._request(context, caller.principal)
                    response = await method.serve(self._accept(request, raw), caller)
                    return response if isinstance(response, bytes) else response.SerializeToString()
                finally:
                    admission.leave_call()

            return await self._run(path, context, serve)

        return grpc.stream_unary_rpc_method_handler(call)

    def _gathered(self, path: str, request: type[Message], method: Gathered) -> Handler:
        admission = self._admission
        gathering = Gathering(lambda raw: self._accept(request, raw), method.serve)

        async def call(_requests: object, context: Context) -> bytes:
            async def serve(authorization: str | None, trace_parent: str) -> bytes:
                admission.enter_call()
                try:
                    caller = self._caller(context, authorization, trace_parent, method.scope)
                    return await gathering.answer(await self._request(context, caller.principal), caller)
                finally:
                    admission.leave_call()

            return await self._run(path, context, serve)

        return grpc.stream_unary_rpc_method_handler(call)

    def _streaming(self, path: str, request: type[Message], method: Streaming) -> Handler:
        admission, patience, guard = self._admission, self._patience, self._guard

        def accept(raw: bytes) -> Any:
            return self._accept(request, raw)

        async def call(_requests: object, context: Context) -> None:
            async def serve(authorization: str | None, trace_parent: str) -> None:
                admission.enter_stream()
                try:
                    caller = self._caller(context, authorization, trace_parent, method.scope)
                    stream: MessageStream[Any] = MessageStream(context, accept, patience)
                    with guard.watching(stream, caller.principal):
                        await method.serve(stream, caller)
                finally:
                    admission.leave_stream()

            await self._run(path, context, serve)

        return grpc.stream_stream_rpc_method_handler(call)

    # --- stages -------------------------------------------------------------------------------------------------------

    async def _run(
        self, path: str, context: Context, serve: Callable[[str | None, str], Awaitable[Result]]
    ) -> Result:
        """The outermost stage: telemetry, and errors. `serve` gets the credentials and the trace parent."""
        record, authorization, trace_parent = self._begin(path, context)
        code = grpc.StatusCode.OK
        failure: BaseException | None = None
        try:
            return await serve(authorization, trace_parent)
        except TocsinError as error:
            code, failure = code_of(error), error
            await abort(context, error)
        except (asyncio.CancelledError, grpc.aio.BaseError) as error:
            # The caller has gone, or gRPC is being stopped. To swallow this would leak the call.
            code, failure = grpc.StatusCode.CANCELLED, error
            raise
        except Exception as error:
            answer = internal(trace_parent)
            code, failure = grpc.StatusCode.INTERNAL, error
            _log.exception("call failed", method=path, trace_id=answer.metadata["trace_id"])
            await abort(context, answer)
        finally:
            if record:
                record.end(code, failure)
            failure = None  # else it and its traceback, which holds this frame, would wait for the garbage collector

    def _begin(self, path: str, context: Context) -> tuple[CallRecord | None, str | None, str]:
        metadata: dict[str, str | bytes] = dict(context.invocation_metadata() or ())
        record = self._telemetry.begin(path, metadata) if self._telemetry else None
        authorization, trace_parent = metadata.get("authorization"), metadata.get("traceparent")
        if not isinstance(trace_parent, str) or parse_trace_parent(trace_parent) is None:
            trace_parent = ""
        return (
            record,
            authorization if isinstance(authorization, str) else None,
            (record and record.trace_parent) or trace_parent,
        )

    def _caller(
        self, context: Context, authorization: str | None, trace_parent: str, scope: Scope
    ) -> CallContext:
        principal = self._authenticator.authenticate(authorization, context.peer())
        principal.require_scope(scope)
        return _call(context, principal, trace_parent)

    async def _request(self, context: Context, principal: Principal) -> bytes:
        """The one request of a call, of a caller who is welcome when it comes: it may have been long in coming.

        Raises MalformedRequest, RequestTimeout, and what callers are refused with.
        """
        raw = await self._patience.read(context)
        if raw is None:
            raise MalformedRequest("The call has no request.")
        if principal is not NOBODY:
            error = self._authenticator.still_valid(principal)
            if error is not None:
                raise error
        return raw

    def _accept(self, request: type[Message], raw: bytes) -> Any:
        """A request whose shape is good."""
        if len(raw) > self._max_message_bytes:
            raise MessageTooLarge(limit=self._max_message_bytes, size=len(raw))
        try:
            message = request.FromString(raw)
        except DecodeError:
            raise MalformedRequest from None
        self._shape.check(message, raw)
        return message


def _call(context: Context, principal: Principal, trace_parent: str) -> CallContext:
    remaining = cast("float | None", context.time_remaining())
    deadline = None if remaining is None else time.monotonic() + remaining
    return CallContext(principal, trace_parent, deadline, context.peer())
