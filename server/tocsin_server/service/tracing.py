"""Traces: how spans begin, and how what is delivered is tied to what was sent.

A notification may be delivered many times, long after it was sent, together with others; its delivery is therefore not
a part of the sender's trace but linked to it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from opentelemetry.trace import Span, SpanContext, SpanKind, TraceFlags, TraceState

Attributes = Mapping[str, str | int]

_TRACE_PARENT_LENGTH = 55
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""W3C Trace Context, section 3.2."""
_ODD_DIGITS = frozenset(b"13579bdf")
"""Of the flags, the lowest bit says sampled."""
_MAX_LINKS = 128
"""The OpenTelemetry SDK keeps no more."""


class Tracing(Protocol):
    """Begins spans. Decides first, so that what is not sampled costs about a microsecond and makes no object."""

    def begin(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: SpanContext | None
    ) -> Span | None:
        """A span; None if it is not sampled. Without a parent it begins a trace."""

    def begin_linked(
        self, name: str, kind: SpanKind, attributes: Attributes, linked: Sequence[SpanContext]
    ) -> Span | None:
        """A span that begins a trace and is linked to others; sampled if a child of the first of them would be."""


def parse_trace_parent(text: str, trace_state: TraceState | None = None) -> SpanContext | None:
    """A `traceparent` header's meaning; None for one that means nothing. Its caller is on another machine."""
    match = _TRACE_PARENT.fullmatch(text)
    if match is None:
        return None
    flags = TraceFlags(int(match[3], 16))
    context = SpanContext(int(match[1], 16), int(match[2], 16), True, flags, trace_state)
    return context if context.is_valid else None


def format_trace_parent(context: SpanContext) -> str:
    """Inverse of `parse_trace_parent`."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def link_deliveries(tracing: Tracing | None, traces: Iterable[bytes], count: int) -> Span | None:
    """A span for one write of `count` notifications to a stream, linked to those sampled traces that they came from.

    None when there are none; otherwise the caller ends it when the write is done. `traces` are encoded `trace_parent`
    fields as the store and the hub have them, so that what is not sampled is told by a look at its last byte.
    """
    if tracing is None:
        return None
    sampled = {trace for trace in traces if trace and trace[-1] in _ODD_DIGITS}
    if not sampled:
        return None
    contexts = (
        parse_trace_parent(trace[-_TRACE_PARENT_LENGTH:].decode("ascii", "replace")) for trace in sampled
    )
    linked = [context for context in contexts if context is not None][:_MAX_LINKS]
    if not linked:
        return None
    attributes: Attributes = {
        "messaging.system": "tocsin",
        "messaging.operation.name": "push",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": count,
    }
    return tracing.begin_linked("push", SpanKind.PRODUCER, attributes, linked)
