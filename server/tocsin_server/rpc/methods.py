"""How a servicer says what it serves: a row for each RPC, with the scope that it needs."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from tocsin_server.domain.access import Scope
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.gathering import Serve
from tocsin_server.rpc.streams import MessageStream


@dataclass(frozen=True, slots=True)
class Unary:
    """An RPC with one request and one response, which may be encoded already."""

    scope: Scope
    serve: Callable[[Any, CallContext], Awaitable[Message | bytes]]


@dataclass(frozen=True, slots=True)
class Gathered:
    """An RPC with one request and one response, of which those that come at about the same time are served together."""

    scope: Scope
    serve: Serve


@dataclass(frozen=True, slots=True)
class Streaming:
    """An RPC with a stream in either direction or both."""

    scope: Scope
    serve: Callable[[MessageStream[Any], CallContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ByToken:
    """An RPC with one request, which holds the caller's credential itself, and one response. Needs no other."""

    serve: Callable[[Any, CallContext], Awaitable[Message | bytes]]
    """The principal of its context is NOBODY: what the caller may do, the use case tells by the request."""


class Servicer(Protocol):
    """Serves one gRPC service."""

    @property
    def service(self) -> ServiceDescriptor:
        """The service in the contract."""

    def methods(self) -> Mapping[str, Unary | Gathered | Streaming | ByToken]:
        """Every RPC of the service by its name."""
