"""Filters of texts, and of whatever has one."""

import html
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tocsin_server.content.filters.filter import Filter
from tocsin_server.content.run import Run
from tocsin_server.content.values import Markup, text, to_whole, truthy

_SPACES = re.compile(r"\s+")
_LINE_BREAK = re.compile(r"\r?\n")
_LARGEST_EXPANSION = 6
"""Of a character by escaping: `&quot;`; by percent-encoding up to 12, which is asked for apart."""


def _made(run: Run, value: Any) -> str:
    """The text of a value, paid for once more: what comes out is at most as long."""
    found = text(run, value)
    run.reserve(len(found))
    return found


def _append(run: Run, value: Any, end: Any) -> str:
    first, second = text(run, value), text(run, end)
    run.reserve(len(first) + len(second))
    return first + second


def _prepend(run: Run, value: Any, start: Any) -> str:
    return _append(run, start, value)


def _cased(change: Callable[[str], str]) -> Callable[[Run, Any], str]:
    def cased(run: Run, value: Any) -> str:
        found = text(run, value)
        # Some letters become up to three.
        run.reserve(3 * len(found))
        return change(found)

    return cased


def _shortened(change: Callable[[str], str]) -> Callable[[Run, Any], str]:
    return lambda run, value: change(_made(run, value))


def _replace(run: Run, value: Any, old: Any, new: Any = "", count: int = -1) -> str:
    found, wanted, put = text(run, value), text(run, old), text(run, new)
    if not wanted:
        return found
    run.reserve(len(found))
    times = found.count(wanted)
    times = times if count < 0 else min(times, count)
    run.reserve(len(found) + times * max(len(put) - len(wanted), 0))
    return found.replace(wanted, put, count)


def _replace_first(run: Run, value: Any, old: Any, new: Any = "") -> str:
    return _replace(run, value, old, new, 1)


def _remove(run: Run, value: Any, old: Any) -> str:
    return _replace(run, value, old)


def _remove_first(run: Run, value: Any, old: Any) -> str:
    return _replace(run, value, old, "", 1)


def _truncate(run: Run, value: Any, length: Any = 50, end: Any = "…") -> str:
    found, most, tail = text(run, value), max(to_whole(length), 0), text(run, end)
    if len(found) <= most:
        return found
    run.reserve(most + len(tail))
    return found[: max(most - len(tail), 0)] + tail


def _truncate_words(run: Run, value: Any, count: Any = 15, end: Any = "…") -> str:
    words, most, tail = _made(run, value).split(), max(to_whole(count), 1), text(run, end)
    run.look_at(words)
    shown = " ".join(words[:most])
    run.reserve(len(shown) + len(tail))
    return shown if len(words) <= most else shown + tail


def _split(run: Run, value: Any, by: Any) -> list[str]:
    found, separator = text(run, value), text(run, by)
    if not found:
        return []
    parts = found.count(separator) + 1 if separator else len(found)
    run.look_at(parts)
    run.reserve(len(found))
    return found.split(separator) if separator else list(found)


def _slice(run: Run, value: Any, start: Any, length: Any = 1) -> Any:
    first, count = to_whole(start), max(to_whole(length), 0)
    found = value if isinstance(value, list) else _made(run, value)
    if first < 0:
        first += len(found)
        if first < 0:
            return found[:0]
    part = found[first : first + count]
    run.look_at(part if isinstance(part, list) else 0)
    return part


def _escape(run: Run, value: Any) -> Markup:
    found = text(run, value)
    run.reserve(_LARGEST_EXPANSION * len(found))
    return Markup(html.escape(found))


def _newline_to_br(run: Run, value: Any) -> Markup:
    found = value if isinstance(value, Markup) else _escape(run, value)
    run.reserve(7 * len(found))
    return Markup(_LINE_BREAK.sub("<br />\n", found))


def _url_encode(run: Run, value: Any) -> str:
    found = text(run, value)
    run.reserve(12 * len(found))
    return quote(found, safe="")


def _default(run: Run, value: Any, other: Any = "") -> Any:
    return other if not truthy(value) or value in ("", [], {}) else value


TEXT_FILTERS = {
    "append": Filter(_append, 1, 1),
    "capitalize": Filter(_cased(str.capitalize)),
    "default": Filter(_default, 0, 1, takes_missing=True),
    "downcase": Filter(_cased(str.lower)),
    "escape": Filter(_escape),
    "lstrip": Filter(_shortened(str.lstrip)),
    "newline_to_br": Filter(_newline_to_br),
    "prepend": Filter(_prepend, 1, 1),
    "remove": Filter(_remove, 1, 1),
    "remove_first": Filter(_remove_first, 1, 1),
    "replace": Filter(_replace, 1, 2),
    "replace_first": Filter(_replace_first, 1, 2),
    "rstrip": Filter(_shortened(str.rstrip)),
    "slice": Filter(_slice, 1, 2),
    "split": Filter(_split, 1, 1),
    "squish": Filter(_shortened(lambda found: _SPACES.sub(" ", found).strip())),
    "strip": Filter(_shortened(str.strip)),
    "strip_newlines": Filter(_shortened(lambda found: _LINE_BREAK.sub("", found))),
    "truncate": Filter(_truncate, 0, 2),
    "truncatewords": Filter(_truncate_words, 0, 2),
    "upcase": Filter(_cased(str.upper)),
    "url_encode": Filter(_url_encode),
}
