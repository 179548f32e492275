"""HTML bodies: MJML made into HTML, and links that lead nowhere bad."""

import re
from html import unescape

from tocsin_server.content.source import Problem

MAX_MJML_DEPTH = 100
MAX_MJML_TAGS = 4_000

# A comment, an element's end, or its beginning, whose attributes are in quotes and hold whatever they like.
_TAG = re.compile(
    r"<(?:!--(?:(?!-->).)*-->"
    r"|/(?P<close>[A-Za-z][^<>\"']*)>"
    r"|(?P<name>[A-Za-z][\w:.-]{0,63})(?P<rest>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*)>)",
    re.DOTALL,
)
_SCRIPT = re.compile(r"<\s*(?:script|iframe|object|embed|base)\b|<[^<>]*\son[a-z]{1,32}\s*=", re.IGNORECASE)
_PRINTED = re.compile(r"\{\{.*?\}\}|\{%-?\s*echo\b.*?%\}", re.DOTALL)
_UNPRINTED = re.compile(r"\{%.*?%\}", re.DOTALL)
# What is printed in a tag, but not within the quotes of an attribute, could be an attribute of its own.
_IN_TAG = re.compile(r"<(?:/?[A-Za-z](?:[^<>\"'\x00]|\"[^\"]*\"|'[^']*')*+)?+\x00")
_LINK = re.compile(
    r"\b(?:href|src|action|formaction|background|poster|cite|data)\s*=\s*"
    r"(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))",
    re.IGNORECASE,
)
_IGNORED = re.compile(r"[\x00-\x20\x7f-\x9f]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,63}):")
_SCHEMES = frozenset(("http", "https", "mailto", "tel", "sms", "cid"))


def html_of_mjml(mjml: str) -> str:
    """The HTML of an MJML document. Raises Problem, or ImportError where the extra `mjml` is not installed."""
    from mjml import mjml2html

    _check_depth(mjml)
    try:
        return mjml2html(mjml, disable_comments=False)
    except ValueError as error:
        raise Problem(f"cannot be read as MJML: {str(error)[:120]}") from None


def check_static(html: str) -> None:
    """Raises Problem where a body holds what no mail may hold: scripts, frames, handlers of events."""
    found = _SCRIPT.search(html)
    if found is not None:
        raise Problem(
            "scripts, frames and handlers of events are refused", html.count("\n", 0, found.start()) + 1
        )


def check_places(html: str) -> None:
    """Raises Problem where a body, whose markups all end, prints something in a tag without quotes around it, or holds,
    but for what stands between, what no mail may hold."""
    shape = _UNPRINTED.sub(
        _lines_of, _PRINTED.sub(lambda found: f"\0{_lines_of(found)}", html.replace("\0", " "))
    )
    check_static(shape)
    found = _IN_TAG.search(shape)
    if found is not None:
        raise Problem("a variable in an attribute stands in quotes", shape.count("\n", 0, found.end()) + 1)


def _lines_of(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def bad_link(html: str) -> str | None:
    """The first link of a rendered body that is neither relative nor of a harmless scheme."""
    for found in _LINK.finditer(html):
        link = _IGNORED.sub("", unescape(found[1] or found[2] or found[3] or ""))
        scheme = _SCHEME.match(link)
        if scheme is not None and scheme[1].lower() not in _SCHEMES:
            return link[:80]
    return None


def _check_depth(mjml: str) -> None:
    """The library goes into elements by recursion, which in its language ends the process where it is too deep."""
    outer: list[str] = []
    tags = place = 0
    while (start := mjml.find("<", place)) >= 0:
        found = _TAG.match(mjml, start)
        if found is None or (found["close"] and (not outer or outer.pop() != found["close"].rstrip())):
            raise Problem("cannot be read as MJML", mjml.count("\n", 0, start) + 1)
        place = found.end()
        if found["name"] and not found["rest"].endswith("/"):
            outer.append(found["name"])
        tags += 1
        if len(outer) > MAX_MJML_DEPTH or tags > MAX_MJML_TAGS:
            raise Problem(
                f"has more than {MAX_MJML_TAGS:,} tags, or more than {MAX_MJML_DEPTH} in one another"
            )
