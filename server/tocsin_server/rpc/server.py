"""The gRPC server: what it serves, where it listens, and how it ends."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
import grpc.aio

from tocsin_server.rpc.admission import Admission
from tocsin_server.rpc.context import Authenticator, Telemetry
from tocsin_server.rpc.methods import Servicer
from tocsin_server.rpc.pipeline import Pipeline
from tocsin_server.rpc.rules import Rules
from tocsin_server.rpc.servicers.broadcasts import BroadcastServicer
from tocsin_server.rpc.servicers.categories import CategoryServicer
from tocsin_server.rpc.servicers.inbox import InboxServicer
from tocsin_server.rpc.servicers.notifications import NotificationServicer
from tocsin_server.rpc.servicers.preferences import PreferenceServicer
from tocsin_server.rpc.servicers.recipients import RecipientServicer
from tocsin_server.rpc.servicers.system import SystemServicer
from tocsin_server.rpc.servicers.templates import TemplateServicer
from tocsin_server.rpc.servicers.tenants import TenantServicer
from tocsin_server.rpc.servicers.topics import TopicServicer
from tocsin_server.rpc.standard import StandardServices
from tocsin_server.rpc.streams import Handler
from tocsin_server.rpc.validation import Shape
from tocsin_server.service.api_keys import ApiKeys
from tocsin_server.service.broadcasts import Broadcasts
from tocsin_server.service.categories import Categories
from tocsin_server.service.inboxes import Inboxes
from tocsin_server.service.notifications import Notifications
from tocsin_server.service.ports import Clock, Codec
from tocsin_server.service.preferences import PreferenceCenter
from tocsin_server.service.recipients import Recipients
from tocsin_server.service.sending import Sending
from tocsin_server.service.sessions import Sessions
from tocsin_server.service.status import Status
from tocsin_server.service.templates import Templates
from tocsin_server.service.tenants import Tenants
from tocsin_server.service.topics import Topics

_PACKAGE = "/tocsin.v1."

_UNTIL_STOPPED_SECONDS = 86_400.0
"""Longer than any drain."""

_RECEIVE_FACTOR = 4
"""gRPC itself refuses only what is this much above the limit: it can say no more than that, and we say how much."""


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases that are served."""

    sending: Sending
    notifications: Notifications
    sessions: Sessions
    inboxes: Inboxes
    recipients: Recipients
    topics: Topics
    broadcasts: Broadcasts
    categories: Categories
    preferences: PreferenceCenter
    templates: Templates
    tenants: Tenants
    api_keys: ApiKeys
    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Limits and times, in seconds and bytes."""

    serves_callers: bool = True
    """If not, there are SystemService, health and reflection, and nothing else."""
    share_port: bool = False
    """Other processes may listen on the same port, with the same option and as the same user."""
    max_message_bytes: int = 4 << 20
    max_in_flight: int = 2_048
    """Calls at once; streams are not among them."""
    max_streams: int = 100_000
    """Streams at once, of all kinds."""
    max_streams_per_connection: int = 10_000
    max_recipients_per_subscribe: int = 1_000
    max_recipients_per_attach: int = 100_000
    request_timeout: float = 30.0
    keepalive_time: float = 30.0
    keepalive_timeout: float = 10.0
    max_connection_age: float = 6 * 3_600.0
    """After this time a connection is asked to make way for a new one, so that load spreads to replicas added since."""
    max_connection_age_grace: float = 600.0
    """So long its calls and streams may go on."""


class RpcServer:
    """Serves the contract, health and reflection.

    Use as: construct, `start`, `set_serving(True)`; to stop `set_serving(False)`, `drain`, `stop`.
    """

    def __init__(
        self,
        services: Services,
        codec: Codec,
        clock: Clock,
        authenticator: Authenticator,
        options: ServerOptions,
        *,
        telemetry: Telemetry | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.admission = Admission(options.max_in_flight, options.max_streams)
        self._options = options
        self._credentials = credentials
        self._server: grpc.aio.Server | None = None
        self._handing_over: asyncio.Task[None] | None = None
        shape = Shape(Rules(clock))
        servicers = _servicers(services, codec, shape, self.admission, options)
        self._pipeline = Pipeline(
            self.admission,
            authenticator,
            shape,
            telemetry,
            max_message_bytes=options.max_message_bytes,
            request_timeout=options.request_timeout,
        )
        names = [servicer.service.full_name for servicer in servicers]
        self._standard = StandardServices(names, self.admission.closed)
        self._handlers = self._pipeline.handlers(servicers) | self._standard.handlers()

    async def start(self, listen: str) -> int:
        """Listens on `host:port`, `[IPv6]:port` or `unix:path` and answers from now on. Returns the port.

        Raises OSError where it cannot listen.
        """
        server = grpc.aio.server(options=_channel_options(self._options))
        server.add_generic_rpc_handlers((_Handlers(self._handlers, self._pipeline.unbuilt),))
        try:
            if self._credentials is None:
                port = server.add_insecure_port(listen)
            else:
                port = server.add_secure_port(listen, self._credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}: {error}") from error
        await server.start()
        self._server = server
        return port

    async def set_serving(self, serving: bool) -> None:
        """What health says from now on; nothing is served before the first time."""
        await self._standard.set_serving(serving)

    def drain(self) -> None:
        """Turns new streams away and ends those that only take. Calls are still served."""
        self.admission.drain()

    def hand_over(self) -> None:
        """Listens no longer, and asks clients to connect anew; what is being served goes on, until `stop`.

        For a shared port, where somebody else answers them. Otherwise they would come back to this process, over the
        connection that they have, until it ends.
        """
        if self._server is not None:
            self._handing_over = asyncio.create_task(self._server.stop(_UNTIL_STOPPED_SECONDS))

    async def stop(self, grace: float) -> None:
        """Turns everything away, lets what is being served come to its end for `grace` seconds, and cuts the rest."""
        self.admission.close()
        if self._server is not None:
            await self._server.stop(grace)
        if self._handing_over is not None:
            await self._handing_over


def _servicers(
    services: Services, codec: Codec, shape: Shape, admission: Admission, options: ServerOptions
) -> tuple[Servicer, ...]:
    """All that is served."""
    system = SystemServicer(services.status, services.sessions, services.api_keys)
    if not options.serves_callers:
        return (system,)
    return (
        NotificationServicer(services.sending, services.notifications, codec, shape, admission),
        InboxServicer(
            services.sessions,
            services.inboxes,
            codec,
            max_recipients_per_subscribe=options.max_recipients_per_subscribe,
            max_recipients_per_attach=options.max_recipients_per_attach,
        ),
        RecipientServicer(services.recipients, codec, shape),
        TopicServicer(services.topics, admission),
        BroadcastServicer(services.broadcasts, shape),
        CategoryServicer(services.categories),
        PreferenceServicer(services.preferences),
        TemplateServicer(services.templates),
        TenantServicer(services.tenants),
        system,
    )


class _Handlers(grpc.GenericRpcHandler):
    """One look-up for all methods."""

    def __init__(self, handlers: Mapping[str, Handler], unbuilt: Callable[[str], Handler]) -> None:
        self._handlers = handlers
        self._unbuilt = unbuilt

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        method = handler_call_details.method
        handler = self._handlers.get(method)
        if handler is None and method.startswith(_PACKAGE):
            return self._unbuilt(method)
        return handler


def _channel_options(options: ServerOptions) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.so_reuseport", int(options.share_port)),
        ("grpc.max_receive_message_length", options.max_message_bytes * _RECEIVE_FACTOR),
        ("grpc.max_concurrent_streams", options.max_streams_per_connection),
        ("grpc.keepalive_time_ms", _millis(options.keepalive_time)),
        ("grpc.keepalive_timeout_ms", _millis(options.keepalive_timeout)),
        # Without this one too, grpcio 1.85 leaves a connection open whose ping nobody answers.
        ("grpc.http2.ping_timeout_ms", _millis(options.keepalive_timeout)),
        # Quiet connections are pinged too: a client that vanished must not hold its streams for two hours.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Clients may ping every 10 s; who does so more often is cut off.
        ("grpc.http2.min_ping_interval_without_data_ms", _millis(_MIN_PING_INTERVAL_SECONDS)),
        ("grpc.max_connection_age_ms", _millis(options.max_connection_age)),
        ("grpc.max_connection_age_grace_ms", _millis(options.max_connection_age_grace)),
    )


_MIN_PING_INTERVAL_SECONDS = 10.0


def _millis(seconds: float) -> int:
    return round(seconds * 1_000)
