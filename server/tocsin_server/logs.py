"""How log lines come about: structlog over the standard library's logging, so that our lines and those of libraries
look the same and go one way.

What must not be in a log is kept out three ways: nobody logs a message or a credential, values under the names of such
things are replaced, and what looks like a credential is masked wherever it stands. Tracebacks show no local variables.
"""

import logging
import re
import sys
from typing import TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

_REPLACED = "[not logged]"
_CREDENTIALS = {"authorization", "credentials", "jwt", "password", "secret", "token"}
_BODIES = {"attributes", "body", "content", "inputs", "payload", "title"}
_PRIVATE = _CREDENTIALS | _BODIES
_CREDENTIAL = re.compile(r"\b(tsk_[0-9a-z]+)_\w+|\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?i:\b(bearer) +)[^\s'\"]+")

_LIBRARIES = ("asyncio", "grpc", "opentelemetry", "peewee")
"""At debug level these show statements and frames with their values, and so what people are told."""


def configure(format: str, level: str, *, worker: int | None = None, stream: TextIO | None = None) -> None:
    """Sends everything that is logged in this process to the stream (standard error), as `console` text or `json`.

    Every line bears the number of the `worker`, where the process is one of several. Replaces whatever was set up
    before.
    """
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace_ids,
        *(() if worker is None else (_of_worker(worker),)),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        keep_private,
    ]
    renderer: Processor
    if format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.WARNING, root.level))


def _of_worker(number: int) -> Processor:
    def add_worker(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        event.setdefault("worker", number)
        return event

    return add_worker


def add_trace_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Adds the ids of the current span, where there is one."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        event.setdefault("trace_id", trace.format_trace_id(span.trace_id))
        event.setdefault("span_id", trace.format_span_id(span.span_id))
    return event


def keep_private(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replaces values that carry the name of something private, and masks credentials in text."""
    for name, value in event.items():
        if name in _PRIVATE:
            event[name] = _REPLACED
        elif isinstance(value, str):
            event[name] = _CREDENTIAL.sub(_mask, value)
        elif isinstance(value, BaseException):
            event[name] = _CREDENTIAL.sub(_mask, repr(value))
    return event


def _mask(match: re.Match[str]) -> str:
    """An API key keeps its public part, so that one can tell which it was."""
    kept = match[1] or match[2] or ""
    return f"{kept}_…" if match[1] else f"{kept} …".lstrip()
