"""Sets up OpenTelemetry as the standard environment variables say, and Prometheus on a port of ours.

Nothing is set up unless it is asked for, and nothing is global: providers are handed to those who use them. Importing
this module brings the SDK and takes a tenth of a second, so that whoever starts a server imports it when a metrics port
or a variable that begins with `OTEL_` is set.

Traces and metrics are exported by OTLP over gRPC where `OTEL_EXPORTER_OTLP_ENDPOINT`, or its form for the one signal,
says where to, or where `OTEL_TRACES_EXPORTER` or `OTEL_METRICS_EXPORTER` is `otlp`; `console` and `none` are the other
exporters. With a metrics port, metrics go there alone unless `OTEL_METRICS_EXPORTER` says otherwise: each further one
costs every call some microseconds. The sampler is that of `OTEL_TRACES_SAMPLER`. These and all other variables are
those of the OpenTelemetry specification; the SDK reads them itself.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Literal

import psutil
import structlog
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    ConsoleMetricExporter,
    MetricExporter,
    MetricReader,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import Attributes

SCOPE = "tocsin"

SHUTDOWN_S = 5.0
"""What is not exported by then is given up: a collector that is away must not keep the server from stopping."""

Signal = Literal["TRACES", "METRICS"]

_ROOT = Context()
_DECIDED = create_key("sampling-decided")

_log = structlog.get_logger(__name__)


class TelemetryUnusable(Exception):
    """What is asked of telemetry cannot be done; the text says which variable asks for it."""


class SampledFirst:
    """Implements `service.tracing.Tracing`: asks the sampler once, and has a span made only when it says yes.

    For the event loop's thread.
    """

    def __init__(self, provider: TracerProvider, sampler: Sampler, ids: "_ChosenIds") -> None:
        self._tracer = provider.get_tracer(SCOPE)
        self._sampler = sampler
        self._ids = ids

    def begin(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: SpanContext | None
    ) -> Span | None:
        """A span; None if it is not sampled. Without a parent it begins a trace."""
        if parent is None:
            context, trace_id = _ROOT, self._ids.random_trace_id()
        else:
            context, trace_id = set_span_in_context(NonRecordingSpan(parent), _ROOT), parent.trace_id
        result = self._sampler.should_sample(context, trace_id, name, kind, attributes)
        if result.decision is not Decision.RECORD_AND_SAMPLE:
            return None
        self._ids.chosen = trace_id
        return self._tracer.start_span(name, set_value(_DECIDED, result, context), kind, attributes)

    def begin_linked(
        self, name: str, kind: SpanKind, attributes: Attributes, linked: Sequence[SpanContext]
    ) -> Span | None:
        """A span that begins a trace and is linked to others; sampled if a child of the first of them would be.

        Left to chance, a hundredth of the deliveries would be linked to a hundredth of the sends, and nobody would ever
        see one together with the other.
        """
        context = set_span_in_context(NonRecordingSpan(linked[0]), _ROOT)
        links = [Link(other) for other in linked]
        result = self._sampler.should_sample(context, linked[0].trace_id, name, kind, attributes, links)
        if result.decision is not Decision.RECORD_AND_SAMPLE:
            return None
        self._ids.chosen = self._ids.random_trace_id()
        decided = SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
        return self._tracer.start_span(name, set_value(_DECIDED, decided, _ROOT), kind, attributes, links)


class Telemetry:
    """Providers, and what is made from them."""

    def __init__(
        self, resource: Resource, processors: Sequence[SpanProcessor], readers: Sequence[MetricReader]
    ) -> None:
        self._meters = MeterProvider(readers, resource, shutdown_on_exit=False)
        self.meter: Meter = self._meters.get_meter(SCOPE)
        self.has_metrics = bool(readers)
        self.tracing: SampledFirst | None = None
        """None: nobody takes traces."""
        self._tracers: TracerProvider | None = None
        if processors:
            ids = _ChosenIds()
            # Made without a sampler of ours, the provider has the one that the environment asks for.
            self._tracers = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
            asked = self._tracers.sampler
            self._tracers.sampler = _Decided(asked)
            for processor in processors:
                self._tracers.add_span_processor(processor)
            self.tracing = SampledFirst(self._tracers, asked, ids)
        if readers:
            _observe_process(self.meter)

    def shut_down(self) -> None:
        """Exports what is left, and ends. Blocks."""
        if self._tracers is not None:
            self._tracers.shutdown()
        self._meters.shutdown()


@asynccontextmanager
async def telemetry(
    environ: Mapping[str, str], *, metrics_port: int | None, version: str, instance_id: str
) -> AsyncIterator[Telemetry]:
    """Everything that the environment and the port ask for. Raises TelemetryUnusable, OSError for a port in use."""
    readers: list[MetricReader] = []
    processors: list[SpanProcessor] = []
    close: Callable[[], None] | None = None
    match _exporter(environ, "TRACES"):
        case "otlp":
            processors.append(BatchSpanProcessor(_otlp_spans()))
        case "console":
            processors.append(BatchSpanProcessor(ConsoleSpanExporter()))
    match _exporter(environ, "METRICS", elsewhere=metrics_port is not None):
        case "otlp":
            readers.append(PeriodicExportingMetricReader(_otlp_metrics()))
        case "console":
            readers.append(PeriodicExportingMetricReader(ConsoleMetricExporter()))
    if metrics_port is not None:
        reader, close = _prometheus(environ.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost", metrics_port)
        readers.append(reader)
    running = Telemetry(_resource(version, instance_id), processors, readers)
    try:
        yield running
    finally:
        if close is not None:
            close()
        await _within(SHUTDOWN_S, running.shut_down)


class _Decided(Sampler):
    """Repeats a decision that was taken before the span; asks the sampler about all others."""

    def __init__(self, asked: Sampler) -> None:
        self._asked = asked

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        decided = get_value(_DECIDED, parent_context)
        if isinstance(decided, SamplingResult):
            return decided
        return self._asked.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        return self._asked.get_description()


class _ChosenIds(RandomIdGenerator):
    """Gives a trace the id that its sampling was decided with: a ratio is decided by the id."""

    chosen = 0

    def random_trace_id(self) -> int:
        return super().generate_trace_id()

    def generate_trace_id(self) -> int:
        chosen, self.chosen = self.chosen, 0
        return chosen or super().generate_trace_id()


def _exporter(environ: Mapping[str, str], signal: Signal, *, elsewhere: bool = False) -> str | None:
    """Who takes the signal; None: nobody. One that goes elsewhere is taken only by name."""
    variable = f"OTEL_{signal}_EXPORTER"
    asked = environ.get(variable, "").strip().lower()
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or asked == "none":
        return None
    endpoints = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    if not asked:
        if elsewhere or not any(environ.get(endpoint) for endpoint in endpoints):
            return None
        asked = "otlp"
    if asked not in ("otlp", "console"):
        raise TelemetryUnusable(f"{variable}: {asked!r} is not one of otlp, console and none")
    if asked == "otlp":
        for protocol in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            if environ.get(protocol, "grpc") != "grpc":
                raise TelemetryUnusable(f"{protocol}: {environ[protocol]!r} is not built in, only grpc is")
    return asked


# Exporters are imported when one is asked for: two at once double the time in which a server starts.


def _otlp_spans() -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _otlp_metrics() -> MetricExporter:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()


def _prometheus(host: str, port: int) -> tuple[MetricReader, Callable[[], None]]:
    """A reader, and what ends the server that shows what it reads."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    server, thread = start_http_server(port, host, registry)
    _log.info("metrics are served to Prometheus", address=f"http://{host}:{server.server_port}/metrics")

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return reader, close


def _resource(version: str, instance_id: str) -> Resource:
    """What the environment says of this service (`OTEL_SERVICE_NAME`, …), and our own where it says nothing."""
    ours = {"service.name": "tocsin", "service.version": version, "service.instance.id": instance_id}
    return Resource.create(ours | dict(OTELResourceDetector().detect().attributes))


def _observe_process(meter: Meter) -> None:
    process = psutil.Process()

    def cpu(options: CallbackOptions) -> Iterable[Observation]:
        times = process.cpu_times()
        return [
            Observation(times.user, {"cpu.mode": "user"}),
            Observation(times.system, {"cpu.mode": "system"}),
        ]

    def memory(options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(process.memory_info().rss)]

    meter.create_observable_counter("process.cpu.time", [cpu], "s", "Processor time.")
    meter.create_observable_up_down_counter("process.memory.usage", [memory], "By", "Resident memory.")


async def _within(seconds: float, function: Callable[[], None]) -> None:
    """Runs a blocking function in a thread that nobody waits for longer than this."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            function()
        finally:
            with suppress(RuntimeError):  # the loop has not waited
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry-shutdown", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        _log.warning("telemetry was not exported in time, the rest is given up", seconds=seconds)
