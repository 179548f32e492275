"""What a log line holds, and what it never does."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from opentelemetry import trace

from tocsin_server import logs

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    libraries = {
        name: logging.getLogger(name).level for name in ("asyncio", "grpc", "opentelemetry", "peewee")
    }
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, level in libraries.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def lines() -> Lines:
    stream = io.StringIO()
    logs.configure("json", "info", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_of_libraries_look_like_ours(lines: Lines) -> None:
    structlog.get_logger("tocsin").info("began", port=7700)
    logging.getLogger("grpc").warning("slow by %s s", 3)
    ours, theirs = lines()
    assert (ours["event"], ours["port"], ours["level"], ours["logger"]) == ("began", 7700, "info", "tocsin")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("slow by 3 s", "warning", "grpc")
    assert ours["timestamp"].endswith("Z")
    assert ours.keys() - {"port"} == theirs.keys()


def test_what_is_below_the_level_is_left_out(lines: Lines) -> None:
    structlog.get_logger("tocsin").debug("detail")
    assert lines() == []


def test_libraries_never_log_at_debug_level() -> None:
    stream = io.StringIO()
    logs.configure("json", "debug", stream=stream)
    logging.getLogger("peewee").debug(("SELECT ?", ["private"]))
    structlog.get_logger("tocsin").debug("detail")
    assert "private" not in stream.getvalue()
    assert "detail" in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "logged"),
    [
        ("key tsk_01jd3k_0123abcd ended", "key tsk_01jd3k_… ended"),  # the id is public
        ("authorization: Bearer abc.def", "authorization: Bearer …"),
        ("authorization: bearer abc.def", "authorization: bearer …"),
        ("got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln-_ here", "got … here"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_credentials_are_masked_wherever_they_stand(lines: Lines, text: str, logged: str) -> None:
    structlog.get_logger("tocsin").info(text, detail=text, error=ValueError(text))
    (line,) = lines()
    assert line["event"] == line["detail"] == logged
    assert line["error"] == f"ValueError('{logged}')"


@pytest.mark.parametrize("name", ["authorization", "secret", "token", "content", "title", "inputs"])
def test_values_with_private_names_are_replaced(lines: Lines, name: str) -> None:
    structlog.get_logger("tocsin").info("sent", **{name: "You owe us 5 €"})
    assert lines()[0][name] == "[not logged]"


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_shows_no_values(format: str) -> None:
    stream = io.StringIO()
    logs.configure(format, "info", stream=stream)
    body = "You owe us 5 €"
    try:
        int("tsk_01jd3k_0123abcd", len(body[:10]))
    except ValueError:
        structlog.get_logger("tocsin").exception("failed")
    assert "Traceback" in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert body not in stream.getvalue()
    assert "0123abcd" not in stream.getvalue().replace('int("tsk_01jd3k_0123abcd"', "")


def test_a_line_within_a_span_carries_its_ids(lines: Lines) -> None:
    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        structlog.get_logger("tocsin").info("inside")
    structlog.get_logger("tocsin").info("outside")
    inside, outside = lines()
    assert (inside["trace_id"], inside["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert "trace_id" not in outside


def test_setting_up_again_replaces_what_was_there(lines: Lines) -> None:
    again = io.StringIO()
    logs.configure("console", "info", stream=again)
    structlog.get_logger("tocsin").info("once")
    assert lines() == []
    assert again.getvalue().count("once") == 1


def test_lines_of_one_of_several_processes_bear_its_number() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", worker=3, stream=stream)
    structlog.get_logger("tocsin_server.rpc").info("ours")
    logging.getLogger("library").warning("theirs")
    assert [json.loads(line)["worker"] for line in stream.getvalue().splitlines()] == [3, 3]
