"""One rendering: what it knows, and what it may still do.

Everything that a template does is paid for from two accounts that all texts of a body share: steps, which stand for
time, and characters, which stand for memory. Both are counted and not measured, so that the same template with the
same data is refused everywhere or nowhere.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Never
from zoneinfo import ZoneInfo

from babel import Locale

from tocsin_server.domain.errors import TemplateLimitExceeded

MAX_STEPS = 60_000
"""A step takes up to about 0.5 µs."""

MAX_CHARS = 600_000
"""Of all texts that are made on the way, those that are thrown away too."""

MAX_TEXT_CHARS = 256_000
"""Of one text."""

MAX_LIST_ITEMS = 5_000
"""Of one list."""

CHARS_A_STEP = 256


class Unrenderable(Exception):
    """The data do not fit what the template does with them; the text says why."""


class Missing:
    """A variable that there is none of. It is reported where it would be printed."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Run:
    """One rendering of one body."""

    __slots__ = ("_chars", "_steps", "locale", "missing", "now", "scope", "zone")

    def __init__(self, scope: dict[str, Any], locale: Locale, zone: ZoneInfo, now: datetime) -> None:
        self.scope = scope
        """The variables by name."""
        self.locale = locale
        """How dates and numbers are written."""
        self.zone = zone
        self.now = now
        self.missing: dict[str, None] = {}
        """Names of variables that would have been printed, in the order in which they were found."""
        self._steps = MAX_STEPS
        self._chars = MAX_CHARS

    def spend(self, steps: int) -> None:
        """Pays for work. Raises TemplateLimitExceeded."""
        self._steps -= steps
        if self._steps < 0:
            exceeded("steps", MAX_STEPS)

    def reserve(self, chars: int) -> None:
        """Pays for a text before it is made. Raises TemplateLimitExceeded."""
        if chars > MAX_TEXT_CHARS:
            exceeded("text_chars", MAX_TEXT_CHARS)
        self._chars -= chars
        if self._chars < 0:
            exceeded("chars", MAX_CHARS)
        self._steps -= chars // CHARS_A_STEP
        if self._steps < 0:
            exceeded("steps", MAX_STEPS)

    def look_at(self, items: Sequence[Any] | int) -> None:
        """Pays for going through a list, or for making one. Raises TemplateLimitExceeded."""
        count = items if isinstance(items, int) else len(items)
        if count > MAX_LIST_ITEMS:
            exceeded("list_items", MAX_LIST_ITEMS)
        self.spend(1 + count)

    def lacks(self, missing: Missing) -> str:
        """Notes a variable that would be printed, and what stands in for it."""
        self.missing[missing.name] = None
        return ""


def exceeded(limit: str, max: int) -> Never:
    """Raises TemplateLimitExceeded."""
    raise TemplateLimitExceeded(
        f"The template does more than it may: {limit} are limited to {max}.", limit=limit, max=max
    )
