"""HTML bodies: MJML made into HTML, and links that lead nowhere bad."""

import re
from html import unescape

from tocsin_server.content.source import Problem

MAX_MJML_DEPTH = 64

_TAG = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:-]{0,63})([^<>]*)>")
_SCRIPT = re.compile(r"<\s*(?:script|iframe|object|embed|base)\b|<[^<>]*\son[a-z]{1,32}\s*=", re.IGNORECASE)
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


def bad_link(html: str) -> str | None:
    """The first link of a rendered body that is neither relative nor of a harmless scheme."""
    for found in _LINK.finditer(html):
        link = _IGNORED.sub("", unescape(found[1] or found[2] or found[3] or ""))
        scheme = _SCHEME.match(link)
        if scheme is not None and scheme[1].lower() not in _SCHEMES:
            return link[:80]
    return None


def _check_depth(mjml: str) -> None:
    """The library goes into elements by recursion, which in its language ends the process when it is too deep."""
    depth = 0
    for closing, _, rest in _TAG.findall(mjml):
        if closing:
            depth -= 1
        elif not rest.endswith("/"):
            depth += 1
        if depth > MAX_MJML_DEPTH:
            raise Problem(f"elements stand more than {MAX_MJML_DEPTH} deep in one another")
