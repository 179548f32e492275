"""Calls to a server that may be away: how they are made, made again, and what a failed one says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tests.support.waiting import INTERVAL_S

Request = TypeVar("Request")
Reply = TypeVar("Reply")

CALL_TIMEOUT_S = 20
# How long a server may be away before a caller gives up.
PATIENCE_S = 60

# The server is away: to be asked again, with the same request id. DEADLINE_EXCEEDED is among them because a server that
# stands still or is stopped with a request in hand does not answer, CANCELLED because gRPC itself ends calls so that
# reach a server between its shutdown and the client's notice of it.
ASKED_AGAIN = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}
)
# What grpc.aio makes of a connection that broke while it was writing to a stream: INTERNAL, with this text.
BROKEN_WHILE_WRITING = "Internal error from Core"

DETAILS = "grpc-status-details-bin"


def channel_to(address: str) -> grpc.aio.Channel:
    """A channel that soon notices that a server is back, and leaves every retry to the caller."""
    options = [
        ("grpc.enable_retries", 0),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 200),
        # Channels to one address would share a connection, and what stalls or cuts one of them would the others.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(address, options=options)


async def answered(call: Callable[[], Awaitable[Reply]]) -> Reply:
    """The answer to a call, asked again as long as the server is away or has no room. Raises TimeoutError."""
    last: grpc.aio.AioRpcError | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await call()
                except grpc.aio.AioRpcError as error:
                    if not asks_again(error):
                        raise
                    last = error
                await asyncio.sleep(INTERVAL_S)
    except TimeoutError:
        raise TimeoutError(f"no answer within {PATIENCE_S} s") from last


def asks_again(error: grpc.aio.AioRpcError) -> bool:
    """Whether a call that failed so is to be made again."""
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        # Said by the server: it has no room now. Said by gRPC: the message is too large, and remains so.
        return DETAILS in dict(error.trailing_metadata())
    return error.code() in ASKED_AGAIN or error.details() == BROKEN_WHILE_WRITING


async def ask(method: grpc.aio.UnaryUnaryMultiCallable[Request, Reply], request: Request) -> Reply:
    """The answer of a method, asked again as long as the server is away."""
    return await answered(lambda: method(request, timeout=CALL_TIMEOUT_S))


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The ErrorReason of a failed call, without its prefix. Fails if the call does not keep the contract's form."""
    status = Status.FromString(dict(error.trailing_metadata())[DETAILS])
    assert status.code == error.code().value[0], f"{status} beside {error.code()}"
    infos = [info for detail in status.details if detail.Unpack(info := ErrorInfo())]
    assert [info.domain for info in infos] == ["tocsin"], f"not exactly one ErrorInfo of ours: {status}"
    return infos[0].reason
