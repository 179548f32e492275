"""What being watched costs: `otel`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.bench.measuring import median
from tests.bench.payloads import Requests, recipients
from tests.bench.results import Pair, Row, row
from tests.bench.sending import SEND, WARM_UP_S, NotArrived, UnaryRun, fill, unary_load
from tests.bench.setting import Setting, connections

SAMPLED = 0.01

_TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


class Collector(grpc.GenericRpcHandler):
    """Takes what is exported, and counts it."""

    def __init__(self) -> None:
        self.spans = 0
        self.metric_exports = 0

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        handlers = {_TRACES: self._traces, _METRICS: self._metrics}
        handler = handlers.get(handler_call_details.method)
        return handler and grpc.unary_unary_rpc_method_handler(handler)

    async def _traces(self, request: bytes, _context: object) -> bytes:
        exported = ExportTraceServiceRequest.FromString(request)
        self.spans += sum(
            len(scope.spans) for resource in exported.resource_spans for scope in resource.scope_spans
        )
        return ExportTraceServiceResponse().SerializeToString()

    async def _metrics(self, _request: bytes, _context: object) -> bytes:
        self.metric_exports += 1
        return ExportMetricsServiceResponse().SerializeToString()


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[Collector, str]]:
    """A collector and where it listens."""
    counting = Collector()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((counting,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield counting, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def otel(setting: Setting) -> list[Row]:
    """Sends a second with tracing and metrics, one in a hundred sampled, beside the same without."""
    seconds = setting.by_size(3.0, 8.0)
    keys = recipients()
    requests = Requests(keys)
    watched: list[UnaryRun] = []
    plain: list[UnaryRun] = []
    async with collector() as (counting, endpoint):
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_INSECURE": "true",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(SAMPLED),
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        }
        async with setting.server() as without, setting.server(environment=environment) as watching:
            for server in (without, watching):
                async with connections(server.address, 1) as (connection,):
                    await fill(connection, [requests.item() for _ in keys])
                await unary_load(server.address, server.pid, SEND, requests.request, WARM_UP_S)
            for _ in range(setting.rounds):
                plain.append(await unary_load(without.address, without.pid, SEND, requests.request, seconds))
                watched.append(
                    await unary_load(watching.address, watching.pid, SEND, requests.request, seconds)
                )
            await asyncio.sleep(6)  # longer than the exporter's interval
    sent = sum(run.calls for run in watched)
    if not counting.metric_exports or counting.spans < sent * SAMPLED / 2:
        raise NotArrived(f"{counting.spans} spans of {sent} sends, {counting.metric_exports} metric exports")
    return [
        row(
            "otel",
            "sends/s",
            [Pair(on.rate, off.rate) for on, off in zip(watched, plain, strict=True)],
            "at least",
            0.92,
            sampled=SAMPLED,
            spans=counting.spans,
            server_us=median(run.server_us for run in watched),
            yardstick_server_us=median(run.server_us for run in plain),
        )
    ]
