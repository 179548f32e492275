"""Keeps loops running: one that fails is logged and started again after a while."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

_RESTART_SECONDS = 1.0

log = structlog.get_logger(__name__)


async def supervised(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Runs a loop for ever, until cancelled."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("a loop failed and is started again", loop=name)
        await asyncio.sleep(_RESTART_SECONDS)
