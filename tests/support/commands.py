"""Programs that are run to their end, and programs that are listened to."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

TIMEOUT_S = 60


async def output_of(
    *command: str | Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """What a program prints. Raises AssertionError, with what it complains of, unless it ends with 0."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()
    return out.decode()


@asynccontextmanager
async def listening_to(
    *command: str | Path, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncIterator[asyncio.StreamReader]:
    """The standard output of a program that does not end by itself; it is killed at the end of the context."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield process.stdout
    finally:
        process.kill()
        await process.wait()
