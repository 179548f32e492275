"""Waiting for a condition instead of for a time."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

# Between two looks at a condition that nothing announces.
INTERVAL_S = 0.02


@overload
async def eventually(look: Callable[[], Awaitable[T]], what: str, within_s: float = 30) -> T: ...
@overload
async def eventually(look: Callable[[], T], what: str, within_s: float = 30) -> T: ...
async def eventually(look: Callable[[], Any], what: str, within_s: float = 30) -> Any:
    """Look again and again until something true is seen, and return it. Raises TimeoutError, which says `what`."""
    seen = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                seen = look()
                if inspect.isawaitable(seen):
                    seen = await seen
                if seen:
                    return seen
                await asyncio.sleep(INTERVAL_S)
    except TimeoutError:
        raise TimeoutError(f"waited {within_s:g} s for {what}; last seen: {seen!r}") from None
