"""What is recorded of a call, and that little is done for one that is not sampled."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tocsin_server.domain.errors import RecipientNotFound
from tocsin_server.rpc.telemetry import CallTelemetry
from tocsin_server.service.tracing import parse_trace_parent
from tocsin_server.telemetry import Telemetry

SEND = "/tocsin.v1.NotificationService/Send"
OK = grpc.StatusCode.OK
SAMPLED = f"00-{0xABC:032x}-{0xDEF:016x}-01"
UNSAMPLED = f"00-{0xABC:032x}-{0xDEF:016x}-00"


class World:
    """Telemetry with exporters in memory."""

    def __init__(self, *, traces: bool = True, metrics: bool = True) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        processors = [SimpleSpanProcessor(self.exporter)] if traces else []
        self.telemetry = Telemetry(Resource({}), processors, [self.reader] if metrics else [])
        self.calls = CallTelemetry(self.telemetry.meter, self.telemetry.tracing)

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def durations(self) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        return [
            point
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == "rpc.server.call.duration"
            for point in metric.data.data_points
        ]


@pytest.fixture(autouse=True)
def nothing_is_current_afterwards() -> Iterator[None]:
    yield
    assert not trace.get_current_span().get_span_context().is_valid


def identity(span: ReadableSpan) -> trace.SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def sample(monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str = "") -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)


def test_a_call_has_a_span_and_a_duration_by_the_conventions() -> None:
    world = World()
    call = world.calls.begin(SEND, {})
    current = trace.get_current_span().get_span_context()
    assert call.trace_parent == f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"
    call.end(OK, None)
    (span,), (point,) = world.spans(), world.durations()
    expected = {
        "rpc.system.name": "grpc",
        "rpc.method": "tocsin.v1.NotificationService/Send",
        "rpc.response.status_code": "OK",
    }
    assert (span.name, span.kind) == ("tocsin.v1.NotificationService/Send", SpanKind.SERVER)
    assert dict(span.attributes or {}) == dict(point.attributes) == expected
    assert span.status.status_code is StatusCode.UNSET
    assert (point.count, span.parent) == (1, None)
    assert [exemplar.span_id for exemplar in point.exemplars] == [current.span_id]


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        (grpc.StatusCode.NOT_FOUND, False),  # the caller's affair
        (grpc.StatusCode.CANCELLED, False),
        (grpc.StatusCode.UNAVAILABLE, True),
        (grpc.StatusCode.INTERNAL, True),
    ],
)
def test_only_the_servers_failures_are_errors(code: grpc.StatusCode, failed: bool) -> None:
    world = World()
    world.calls.begin(SEND, {}).end(code, RecipientNotFound(recipient="grace"))
    (span,), (point,) = world.spans(), world.durations()
    assert (span.attributes or {}).get("rpc.response.status_code") == code.name
    assert (span.attributes or {}).get("error.type") == (code.name if failed else None)
    assert point.attributes.get("error.type") == (code.name if failed else None)
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert "grace" not in span.to_json()


def test_a_span_goes_on_with_the_callers_trace() -> None:
    world = World()
    call = world.calls.begin(SEND, {"traceparent": SAMPLED, "tracestate": "vendor=1"})
    call.end(OK, None)
    (span,) = world.spans()
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id, span.parent.is_remote) == (0xABC, 0xDEF, True)
    assert identity(span).trace_state.to_header() == "vendor=1"
    own = parse_trace_parent(call.trace_parent)
    assert own is not None
    assert (own.trace_id, own.span_id) == (0xABC, identity(span).span_id)


def test_what_the_caller_does_not_sample_is_not_sampled() -> None:
    world = World()
    call = world.calls.begin(SEND, {"traceparent": UNSAMPLED})
    assert call.trace_parent == ""
    assert not trace.get_current_span().get_span_context().is_valid
    call.end(OK, None)
    assert world.spans() == ()
    assert [point.count for point in world.durations()] == [1]


def test_a_bad_trace_parent_begins_a_trace() -> None:
    world = World()
    world.calls.begin(SEND, {"traceparent": "nonsense", "tracestate": b"\xff"}).end(OK, None)
    (span,) = world.spans()
    assert span.parent is None


@pytest.mark.parametrize(
    ("sampler", "argument", "incoming", "sampled"),
    [
        ("always_off", "", SAMPLED, False),
        ("always_on", "", UNSAMPLED, True),
        ("parentbased_always_off", "", SAMPLED, True),
        ("parentbased_always_off", "", None, False),
        ("parentbased_traceidratio", "1.0", None, True),
        ("parentbased_traceidratio", "0.0", None, False),
        ("traceidratio", "0.0", SAMPLED, False),
    ],
)
def test_the_environments_sampler_decides(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, incoming: str | None, sampled: bool
) -> None:
    sample(monkeypatch, sampler, argument)
    world = World()
    call = world.calls.begin(SEND, {} if incoming is None else {"traceparent": incoming})
    call.end(OK, None)
    assert (call.trace_parent != "", len(world.spans())) == (sampled, int(sampled))


def test_a_ratio_is_kept_and_every_trace_has_the_id_it_was_sampled_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sample(monkeypatch, "parentbased_traceidratio", "0.25")
    world = World()
    for _ in range(4_000):
        world.calls.begin(SEND, {}).end(OK, None)
    spans = world.spans()
    assert 800 < len(spans) < 1_200  # 1,000 expected; this far off once in 10 ** 12 times
    lowest_bits = (1 << 64) - 1
    ids = {identity(span).trace_id for span in spans}
    assert len(ids) == len(spans)
    assert all(id & lowest_bits < round(0.25 * (1 << 64)) for id in ids)


def test_the_sampler_is_asked_once_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    decide = sampling.TraceIdRatioBased.should_sample

    def count(self: Any, *arguments: Any, **named: Any) -> sampling.SamplingResult:
        asked.append(arguments)
        return decide(self, *arguments, **named)

    monkeypatch.setattr(sampling.TraceIdRatioBased, "should_sample", count)
    sample(monkeypatch, "parentbased_traceidratio", "1.0")
    world = World()
    world.calls.begin(SEND, {}).end(OK, None)
    assert len(world.spans()) == len(asked) == 1


def test_calls_within_calls_are_told_apart() -> None:
    """Tasks of one loop: each has its own context, here shown by nesting."""
    world = World()
    outer = world.calls.begin(SEND, {})
    inner = world.calls.begin(SEND, {"traceparent": SAMPLED})
    inner.end(OK, None)
    assert trace.get_current_span().get_span_context().span_id == int(outer.trace_parent[36:52], 16)
    outer.end(OK, None)


def test_metrics_alone_make_no_spans() -> None:
    world = World(traces=False)
    call = world.calls.begin(SEND, {"traceparent": SAMPLED})
    call.end(OK, None)
    assert call.trace_parent == ""
    assert [point.count for point in world.durations()] == [1]


def test_traces_alone_record_no_durations() -> None:
    world = World(metrics=False)
    world.calls.begin(SEND, {}).end(OK, None)
    assert len(world.spans()) == 1
    assert not world.telemetry.has_metrics
