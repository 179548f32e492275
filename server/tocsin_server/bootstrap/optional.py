"""Parts that only some servers have, imported only for those.

The SDK of OpenTelemetry, and the cryptography behind TLS and tokens, take as long to import as all the rest.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Meter, NoOpMeter

import tocsin_server
from tocsin_server.bus.fleet import Fleet
from tocsin_server.bus.memory import MemoryBus
from tocsin_server.service.tracing import Tracing
from tocsin_server.settings import Settings

if TYPE_CHECKING:
    from tocsin_server.rpc.telemetry import CallTelemetry
    from tocsin_server.service.tokens import TokenVerifier


class Refused(Exception):
    """The server cannot start as it is set up; the text says why and what to do."""


@asynccontextmanager
async def joined_fleet(
    settings: Settings, instance_id: str, on_health: Callable[[str], None]
) -> AsyncIterator[Fleet]:
    """What this server shares with others; `on_health` gets what is wrong, or nothing. Raises Refused."""
    if settings.redis_url is None:
        bus = MemoryBus()
        yield Fleet(bus, bus)
        return
    from tocsin_server.bus.redis import redis_fleet

    async with AsyncExitStack() as stack:
        try:
            fleet = await stack.enter_async_context(redis_fleet(settings.redis_url, instance_id, on_health))
        except ValueError as error:
            raise Refused(f"redis_url: {error}") from None
        yield fleet


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches the server. Without an exporter nobody does, and nothing is made for them."""

    meter: Meter
    tracing: Tracing | None = None
    calls: "CallTelemetry | None" = None


@asynccontextmanager
async def watching(settings: Settings, environ: Mapping[str, str], instance_id: str) -> AsyncIterator[Watch]:
    """Exports what the environment and the metrics port ask for. Raises Refused."""
    if settings.metrics_port is None and not any(name.startswith("OTEL_") for name in environ):
        yield Watch(NoOpMeter("tocsin"))
        return
    from tocsin_server.rpc.telemetry import CallTelemetry
    from tocsin_server.telemetry import TelemetryUnusable, telemetry

    exporting = telemetry(
        environ,
        metrics_port=settings.metrics_port,
        version=tocsin_server.__version__,
        instance_id=instance_id,
    )
    async with AsyncExitStack() as stack:
        try:
            asked = await stack.enter_async_context(exporting)
        except TelemetryUnusable as error:
            raise Refused(str(error)) from error
        except OSError as error:
            raise Refused(f"metrics_port {settings.metrics_port}: {error.strerror}") from error
        calls = CallTelemetry(asked.meter, asked.tracing) if asked.has_metrics or asked.tracing else None
        yield Watch(asked.meter, asked.tracing, calls)


def tls_credentials(settings: Settings) -> Any:
    """What gRPC serves TLS with, None without. Raises Refused."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    from tocsin_server.rpc.tls import TlsUnusable, server_credentials

    try:
        return server_credentials(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    except TlsUnusable as error:
        raise Refused(str(error)) from error


def token_verifier(settings: Settings) -> "TokenVerifier | None":
    """Who checks end users' tokens, None where there are none. Raises Refused."""
    if settings.jwt_secret_file is None and settings.jwks_file is None:
        return None
    from tocsin_server.service.tokens import TokenKeysUnusable, TokenRules, TokenVerifier

    rules = TokenRules(settings.jwt_issuer, settings.jwt_audience, settings.jwt_tenant)
    try:
        return TokenVerifier(rules, secret_file=settings.jwt_secret_file, jwks_file=settings.jwks_file)
    except TokenKeysUnusable as error:
        raise Refused(str(error)) from error
