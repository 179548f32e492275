"""Ending tasks."""

import asyncio
from typing import Any

__all__ = ("stop",)


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they have ended, however they do.

    Awaiting a cancelled task would raise its CancelledError here, where it could not be told from our own.
    """
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not report it as never retrieved
