"""A real server on a real port, with use cases that do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from tests.support.calls import channel_to
from tests.support.stores import TurnedClock
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.commands import SendReceipt
from tocsin_server.domain.errors import TocsinError
from tocsin_server.domain.notification import Disposition
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.context import Telemetry
from tocsin_server.rpc.server import RpcServer, ServerOptions, Services
from tocsin_server.service.sending import SendRequest, SendResult

ANYONE = Principal("default", "key", frozenset(Scope))


class FakeAuthenticator:
    """Lets everyone in as `principal`, or nobody with `error`."""

    def __init__(self) -> None:
        self.principal = ANYONE
        self.error: TocsinError | None = None
        self.asked: list[tuple[str | None, str]] = []

    def authenticate(self, authorization: str | None, peer: str) -> Principal:
        self.asked.append((authorization, peer))
        if self.error is not None:
            raise self.error
        return self.principal

    def still_valid(self, principal: Principal) -> TocsinError | None:
        assert principal == self.principal
        return self.error


class FakeSending:
    """Stores whatever comes, when `gate` is open."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answer: Callable[[SendRequest], SendResult | TocsinError] = stored
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0

    async def send(
        self,
        principal: Principal,
        requests: Sequence[SendRequest],
        *,
        on_queued: Callable[[], object] = lambda: None,
        **rest: Any,
    ) -> list[SendResult | TocsinError]:
        on_queued()
        self.calls.append({"principal": principal, "requests": list(requests), **rest})
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return [self.answer(request) for request in requests]


def stored(request: SendRequest) -> SendResult:
    receipt = SendReceipt(bytes(16), Disposition.STORED, bytes(8), 1)
    return SendResult(receipt, f"cursor of {request.request_id}", replayed=False)


@dataclass
class Served:
    """A running server and what it was made of."""

    rpc: RpcServer
    channel: grpc.aio.Channel
    authenticator: FakeAuthenticator
    sending: FakeSending
    port: int

    async def raw(self, method: str, body: bytes, **options: Any) -> bytes:
        """Calls a method, of NotificationService unless it has a full name, with bytes."""
        path = method if method.startswith("/") else f"/tocsin.v1.NotificationService/{method}"
        call: Any = self.channel.unary_unary(path)
        return cast(bytes, await call(body, **options))


OPTIONS = ServerOptions(max_message_bytes=100_000, request_timeout=30)


@asynccontextmanager
async def serving(
    *,
    telemetry: Telemetry | None = None,
    options: ServerOptions = OPTIONS,
    listen: str = "127.0.0.1:0",
    **services: Any,
) -> AsyncIterator[Served]:
    authenticator, sending = FakeAuthenticator(), FakeSending()
    names = (field.name for field in fields(Services))
    parts: dict[str, Any] = dict.fromkeys(names) | {"sending": sending} | services
    rpc = RpcServer(
        Services(**parts), WireCodec(), TurnedClock(), authenticator, options, telemetry=telemetry
    )
    port = await rpc.start(listen)
    await rpc.set_serving(True)
    try:
        async with channel_to(f"127.0.0.1:{port}") as channel:
            yield Served(rpc, channel, authenticator, sending, port)
    finally:
        await rpc.stop(0)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as server:
        yield server
