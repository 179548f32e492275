"""Somebody else at a Postgres database, who has rows locked; and who waits for locks there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from tests.support.waiting import eventually

WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'tocsin' AND datname = current_database() AND wait_event_type = 'Lock'"""


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Somebody else at the database."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@asynccontextmanager
async def under_way(
    url: str, statement: str, *values: Any, ending: str = "ROLLBACK"
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Somebody else has done this in a transaction that ends when the block does."""
    async with connected(url) as connection:
        await connection.execute("BEGIN")
        await connection.execute(statement, values)
        yield connection
        await connection.execute(ending)


@asynccontextmanager
async def holding(url: str, recipient: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Somebody else has an inbox locked."""
    async with under_way(url, "SELECT * FROM inboxes WHERE recipient = %s FOR UPDATE", recipient) as other:
        yield other


async def waiting(url: str) -> list[int]:
    """Servers of Tocsin's connections that wait for a lock."""
    async with connected(url) as connection:
        return [pid for (pid,) in await (await connection.execute(WAITING)).fetchall()]


async def until_waiting(url: str, count: int) -> None:
    """Returns when so many of them wait."""

    async def enough() -> bool:
        return len(await waiting(url)) >= count

    await eventually(enough, f"{count} to wait for a lock")
