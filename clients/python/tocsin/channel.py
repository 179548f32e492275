"""The gRPC channel: where to connect, how to be trusted, which stubs there are."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc

from tocsin.v1.broadcast_service_pb2_grpc import BroadcastServiceStub
from tocsin.v1.category_service_pb2_grpc import CategoryServiceStub
from tocsin.v1.inbox_service_pb2_grpc import InboxServiceStub
from tocsin.v1.notification_service_pb2_grpc import NotificationServiceStub
from tocsin.v1.preference_service_pb2_grpc import PreferenceServiceStub
from tocsin.v1.recipient_service_pb2_grpc import RecipientServiceStub
from tocsin.v1.system_service_pb2_grpc import SystemServiceStub
from tocsin.v1.template_service_pb2_grpc import TemplateServiceStub
from tocsin.v1.tenant_service_pb2_grpc import TenantServiceStub
from tocsin.v1.topic_service_pb2_grpc import TopicServiceStub

__all__ = ("ApiKeySource", "Stubs", "TLSConfig")

ApiKeySource = str | Callable[[], str]
"""An API key or end user's token, or what returns the one to use now: it is called for every call and reconnection."""

# A page or a stream message may hold many notifications. Requests are limited by the server, which says so properly.
MAX_RECEIVE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TLSConfig:
    """How to encrypt, whom to trust, and who we are. Each is PEM: the bytes, or the path of a file with them.

    Attributes:
        ca: certificates of the authorities to trust; None: those that gRPC brings along.
        cert: our own certificate chain, where the server asks for one.
        key: its private key.
    """

    ca: bytes | Path | None = None
    cert: bytes | Path | None = None
    key: bytes | Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files and make gRPC's credentials of them.

        Raises:
            OSError: a file cannot be read.
            ValueError: of cert and key only one is there.
        """
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.ca), private_key=_pem(self.key), certificate_chain=_pem(self.cert)
        )


class Stubs:
    """The generated stubs, for what the client has no method for.

    Calls through them carry the credentials and nothing else: no deadline, no retries, gRPC's own errors.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.notifications = NotificationServiceStub(channel)
        self.inbox = InboxServiceStub(channel)
        self.recipients = RecipientServiceStub(channel)
        self.categories = CategoryServiceStub(channel)
        self.preferences = PreferenceServiceStub(channel)
        self.system = SystemServiceStub(channel)
        self.templates = TemplateServiceStub(channel)
        self.tenants = TenantServiceStub(channel)
        self.topics = TopicServiceStub(channel)
        self.broadcasts = BroadcastServiceStub(channel)


def open_channel(target: str, tls: TLSConfig | None) -> grpc.aio.Channel:
    """A channel to a gRPC target, such as host:port, in plain text without `tls`. Connects at the first call.

    Must be called in the event loop that it will be used in.
    """
    options: list[tuple[str, Any]] = [
        ("grpc.primary_user_agent", f"tocsin-python/{_version()}"),
        # Our own retries know request ids and the server's wishes; gRPC's would multiply with them.
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
        ("grpc.max_send_message_length", -1),
        # A peer that vanished without a word is noticed within 30 s, and an idle connection is kept open by whatever
        # lies between.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # By default gRPC connects again only after up to two minutes, however often we call.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if tls is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, tls.credentials(), options)


def with_api_key(channel: grpc.aio.Channel, api_key: ApiKeySource | None) -> grpc.aio.Channel:
    """The channel as the stubs are to see it: each call carries `authorization: Bearer …`.

    gRPC's own call credentials refuse to work in plain text, and its aio interceptors replace the call object by one
    that does not report a failed write.
    """
    if api_key is None:
        return channel
    # Stubs use the four methods that make callables, and nothing else of a channel.
    return cast("grpc.aio.Channel", _AuthorizedChannel(channel, api_key))


class _AuthorizedChannel:
    def __init__(self, channel: grpc.aio.Channel, api_key: ApiKeySource) -> None:
        self._channel = channel
        self._api_key = api_key

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._authorized(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._authorized(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._authorized(self._channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        return self._authorized(self._channel.stream_stream(*args, **kwargs))

    def _authorized(self, start: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, metadata: Any = (), **kwargs: Any) -> Any:
            key = self._api_key if isinstance(self._api_key, str) else self._api_key()
            return start(*args, metadata=(*(metadata or ()), ("authorization", f"Bearer {key}")), **kwargs)

        return call


def _pem(source: bytes | Path | None) -> bytes | None:
    return source.read_bytes() if isinstance(source, Path) else source


def _version() -> str:
    try:
        return importlib.metadata.version("tocsin")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
