"""What the environment asks for is set up, and nothing else."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.request import urlopen

import grpc
import grpc.aio
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from tocsin_server.telemetry import Telemetry, TelemetryUnusable, telemetry

ATTRIBUTES = {"messaging.system": "tocsin"}


class Collector:
    """What was exported."""

    def __init__(self) -> None:
        self.spans: list[str] = []
        self.metrics: set[str] = set()
        self.resource: dict[str, str] = {}

    async def take_spans(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> bytes:
        for resource in request.resource_spans:
            self.resource = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [span.name for span in scope.spans]
        return b""

    async def take_metrics(
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: object
    ) -> bytes:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics |= {metric.name for metric in scope.metrics}
        return b""

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        spans: grpc.RpcMethodHandler[Any, bytes] = grpc.unary_unary_rpc_method_handler(
            self.take_spans, trace_service_pb2.ExportTraceServiceRequest.FromString
        )
        metrics: grpc.RpcMethodHandler[Any, bytes] = grpc.unary_unary_rpc_method_handler(
            self.take_metrics, metrics_service_pb2.ExportMetricsServiceRequest.FromString
        )
        package = "opentelemetry.proto.collector"
        return (
            grpc.method_handlers_generic_handler(f"{package}.trace.v1.TraceService", {"Export": spans}),
            grpc.method_handlers_generic_handler(f"{package}.metrics.v1.MetricsService", {"Export": metrics}),
        )


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector at the address that the environment gives."""
    collector = Collector()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(collector.handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collector
    await server.stop(None)


def running(
    environ: Mapping[str, str], metrics_port: int | None = None
) -> AbstractAsyncContextManager[Telemetry]:
    return telemetry(environ, metrics_port=metrics_port, version="1.2.3", instance_id="here")


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SERVICE_NAME": "tocsin"},  # says nothing of where to
    ],
)
async def test_nothing_is_set_up_that_is_not_asked_for(environ: dict[str, str]) -> None:
    threads = set(threading.enumerate())
    async with running(environ) as telemetry:
        assert telemetry.tracing is None
        assert not telemetry.has_metrics
        assert set(threading.enumerate()) <= threads


async def test_an_endpoint_takes_traces_and_metrics(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=bell,deployment.environment.name=test")
    async with running({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) as telemetry:
        telemetry.meter.create_counter("rings").add(1)
        assert telemetry.tracing is not None
        span = telemetry.tracing.begin("ring", SpanKind.INTERNAL, ATTRIBUTES, None)
        assert span is not None
        span.end()
    assert collector.spans == ["ring"]
    assert {"rings", "process.cpu.time", "process.memory.usage"} <= collector.metrics
    said = {
        name: collector.resource[name] for name in ("service.name", "service.version", "service.instance.id")
    }
    assert said == {"service.name": "bell", "service.version": "1.2.3", "service.instance.id": "here"}
    assert collector.resource["deployment.environment.name"] == "test"


async def test_a_signal_can_be_left_out(collector: Collector) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "none"}
    async with running(environ) as telemetry:
        assert telemetry.tracing is not None
        assert not telemetry.has_metrics


async def test_prometheus_reads_from_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with running({}, port) as telemetry:
        telemetry.meter.create_counter("tocsin.rings").add(3)
        page = await asyncio.to_thread(lambda: urlopen(f"http://localhost:{port}/metrics").read().decode())
    assert "tocsin_rings_total 3.0" in page.splitlines()
    assert "process_memory_usage_bytes" in page
    assert 'service_instance_id="here"' in page
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(urlopen, f"http://localhost:{port}/metrics")


async def test_metrics_go_to_prometheus_alone_unless_the_exporter_is_named(collector: Collector) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with running(environ, 0) as telemetry:
        assert telemetry.tracing is not None
    assert collector.metrics == set()
    async with running(environ | {"OTEL_METRICS_EXPORTER": "otlp"}, 0):
        pass
    assert "process.cpu.time" in collector.metrics


async def test_a_port_in_use_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        async with running({}, taken.getsockname()[1]):
            pass


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: 'zipkin'"),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, "OTEL_METRICS_EXPORTER"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ),
    ],
)
async def test_what_is_not_built_in_is_refused_by_name(environ: dict[str, str], why: str) -> None:
    with pytest.raises(TelemetryUnusable, match=why):
        async with running(environ):
            pass


async def test_a_collector_that_hangs_does_not_keep_the_server_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr("tocsin_server.telemetry.SHUTDOWN_S", 0.01)
    monkeypatch.setattr(Telemetry, "shut_down", lambda telemetry: let_go.wait())
    async with running({}):
        pass
    let_go.set()


def linked_span(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, linked: SpanContext
) -> InMemorySpanExporter:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    exporter = InMemorySpanExporter()
    telemetry = Telemetry(Resource({}), [SimpleSpanProcessor(exporter)], [])
    assert telemetry.tracing is not None
    span = telemetry.tracing.begin_linked("push", SpanKind.PRODUCER, ATTRIBUTES, [linked])
    if span is not None:
        span.end()
    return exporter


def test_a_delivery_begins_a_trace_that_is_linked_to_the_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though at this ratio nothing that begins by itself is sampled."""
    sent = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))
    exporter = linked_span(monkeypatch, "parentbased_traceidratio", "0.0", sent)
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert span.context is not None
    assert span.context.trace_id != 0xABC
    assert [link.context for link in span.links] == [sent]
    assert dict(span.attributes or {}) == ATTRIBUTES


def test_who_samples_nothing_sees_no_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = SpanContext(0xABC, 0xDEF, True, TraceFlags(1))
    assert linked_span(monkeypatch, "always_off", "", sent).get_finished_spans() == ()
