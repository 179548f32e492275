"""How traces are read, written and linked."""

from collections.abc import Sequence

import pytest
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, TraceState

from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.tracing import (
    Attributes,
    format_trace_parent,
    link_deliveries,
    parse_trace_parent,
)

SAMPLED = f"00-{0xABC:032x}-{0xDEF:016x}-01"
UNSAMPLED = f"00-{0xABC:032x}-{0xDEF:016x}-00"


class Recorder:
    """Notes what was begun."""

    def __init__(self) -> None:
        self.linked: list[SpanContext] = []
        self.attributes: Attributes = {}

    def begin(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: SpanContext | None
    ) -> Span | None:
        raise NotImplementedError

    def begin_linked(
        self, name: str, kind: SpanKind, attributes: Attributes, linked: Sequence[SpanContext]
    ) -> Span | None:
        assert (name, kind) == ("push", SpanKind.PRODUCER)
        self.linked = list(linked)
        self.attributes = attributes
        return INVALID_SPAN


@pytest.mark.parametrize("text", [SAMPLED, UNSAMPLED])
def test_a_trace_parent_is_read_and_written(text: str) -> None:
    context = parse_trace_parent(text)
    assert context is not None
    assert (context.trace_id, context.span_id, context.is_remote) == (0xABC, 0xDEF, True)
    assert context.trace_flags.sampled == (text is SAMPLED)
    assert format_trace_parent(context) == text


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = parse_trace_parent("cc" + SAMPLED[2:])
    assert context is not None
    assert context.trace_id == 0xABC


def test_the_state_goes_along() -> None:
    state = TraceState.from_header(["vendor=1"])
    context = parse_trace_parent(SAMPLED, state)
    assert context is not None
    assert context.trace_state == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        SAMPLED.upper(),
        SAMPLED[:-1],
        SAMPLED + "0",
        SAMPLED.replace("-", "_"),
        "ff" + SAMPLED[2:],  # the one version that cannot be
        f"00-{0:032x}-{0xDEF:016x}-01",
        f"00-{0xABC:032x}-{0:016x}-01",
        f"00-{'x' * 32}-{0xDEF:016x}-01",
        SAMPLED + "\n",
    ],
)
def test_what_means_nothing_is_nothing(text: str) -> None:
    assert parse_trace_parent(text) is None


def test_sampled_traces_of_a_batch_are_linked_once_each() -> None:
    recorder, codec = Recorder(), WireCodec()
    other = f"00-{0x123:032x}-{0x456:016x}-03"  # sampled, and its id is random
    traces = [codec.trace(text) for text in (SAMPLED, "", UNSAMPLED, SAMPLED, other)]
    assert link_deliveries(recorder, traces, 5) is INVALID_SPAN
    assert sorted(context.trace_id for context in recorder.linked) == [0x123, 0xABC]
    assert recorder.attributes["messaging.batch.message_count"] == 5


def test_a_batch_without_sampled_traces_has_no_span() -> None:
    recorder, codec = Recorder(), WireCodec()
    assert link_deliveries(recorder, [codec.trace(UNSAMPLED), b""], 2) is None
    assert link_deliveries(recorder, [], 0) is None
    assert link_deliveries(recorder, [b"\xff" * 60 + b"1", b"1"], 2) is None
    assert recorder.linked == []


def test_there_are_only_so_many_links() -> None:
    recorder, codec = Recorder(), WireCodec()
    traces = [codec.trace(f"00-{number:032x}-{1:016x}-01") for number in range(1, 1_000)]
    assert link_deliveries(recorder, traces, 999) is INVALID_SPAN
    assert len(recorder.linked) == 128


def test_nobody_is_asked_when_there_is_no_tracing() -> None:
    assert link_deliveries(None, [WireCodec().trace(SAMPLED)], 1) is None
