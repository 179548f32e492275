"""What a filter is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Filter:
    """What is applied, and what it takes."""

    apply: Callable[..., Any]
    """Takes the rendering, the value, the arguments, and options by name."""
    least: int = 0
    most: int = 0
    options: frozenset[str] = frozenset()
    takes_missing: bool = False
    zoned: bool = False
    """What it gives depends on the time zone."""
