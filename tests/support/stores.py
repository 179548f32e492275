"""A real store in a temporary folder, and a clock that is turned by hand."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import DAY, Micros
from tocsin_server.service.ports import Clock, Committed
from tocsin_server.store.store import Store, StoreOptions, open_store

START: Micros = 1_800_000_000_000_000
"""Where a test's clock begins: 15 January 2027."""

QUOTAS = Quotas(1_000_000, 1_000_000, 1_000, 1_000, 64 << 20, 1_000_000)


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""A test of what only the embedded engine has."""

on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
"""A test of what only a fleet's engine has."""


class TurnedClock:
    """A clock that moves only when it is told to."""

    def __init__(self, now: Micros = START) -> None:
        self.time = now

    def now(self) -> Micros:
        return self.time


@asynccontextmanager
async def stored(
    folder: Path,
    clock: Clock,
    *,
    url: str | None = None,
    quotas: Quotas = QUOTAS,
    commits: list[Committed] | None = None,
    heard: Callable[[], Collection[tuple[str, str]] | None] = lambda: None,
    troubles: list[str] | None = None,
) -> AsyncIterator[Store]:
    """An open store that writes: in a file of the folder, or where the URL says.

    `commits` is given what every commit announces, `troubles` what is said of storage, empty where it works.
    """
    options = StoreOptions(
        path=folder / "tocsin.db",
        url=url,
        cache_bytes=1 << 20,
        reader_threads=1,
        writer_threads=2,
        retention=90 * DAY,
        default_quotas=quotas,
        heard=heard,
        on_storage_error=(troubles if troubles is not None else []).append,
        max_queue_bytes=lambda tenant: quotas.max_queue_bytes,
    )
    async with open_store(options, clock) as store:

        def note(committed: Committed) -> None:
            if commits is not None:
                commits.append(committed)

        store.writer.listen(note)
        store.writer.start()
        yield store
