"""What the command line does to a database itself.

With SQLite each call takes the store's lock, so that a running server is never worked around. All of them raise
Refused, StoreLocked, EngineUnusable, StorageUnavailable, OSError.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from uuid_utils import uuid4

from tocsin_server.bootstrap.optional import Refused
from tocsin_server.domain.access import DEFAULT_TENANT, Principal, Scope
from tocsin_server.domain.commands import BumpEpoch
from tocsin_server.domain.errors import StorageUnavailable, TocsinError
from tocsin_server.domain.time import SECOND
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.api_keys import ApiKeys, KeyRequest
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.submitting import answered
from tocsin_server.settings import Settings
from tocsin_server.store import migrate
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.migrate import MigrationStatus
from tocsin_server.store.store import Store, StoreOptions, open_engine, open_store

ResultT = TypeVar("ResultT")

_MAX_NAME = 128
_OPERATOR = Principal(DEFAULT_TENANT, "", frozenset(Scope))
"""Whoever may open the database's file may do everything."""


@dataclass(frozen=True, slots=True)
class LocalKey:
    """A key that was just made, and what to send, which is shown this once."""

    id: str
    tenant: str
    secret: str


async def create_local_key(
    settings: Settings,
    display_name: str,
    scopes: Sequence[str],
    *,
    recipients: Sequence[str] = (),
    categories: Sequence[str] = (),
    expire_time: datetime | None = None,
    tenant: str = "",
) -> LocalKey:
    """Makes an API key: the first one, which nobody could ask a server for. Creates the database if there is none."""
    if not 1 <= len(display_name) <= _MAX_NAME or any(
        not 1 <= len(p) <= _MAX_NAME for p in (*recipients, *categories)
    ):
        raise Refused(f"Names and patterns have 1 to {_MAX_NAME} characters.")
    wanted = KeyRequest(
        display_name,
        tuple(dict.fromkeys(map(Scope, scopes))),
        tuple(dict.fromkeys(recipients)),
        tuple(dict.fromkeys(categories)),
        None if expire_time is None else int(expire_time.timestamp() * SECOND),
        tenant,
    )
    async with _opened(settings) as store:
        keys = ApiKeys(
            store.writer,
            store.api_keys,
            WireCodec(),
            PageTokens(store.facts.cursor_key),
            SystemClock(),
            _nobody_to_tell,
        )
        made = await keys.create(_OPERATOR, str(uuid4()), wanted)
        return LocalKey(made.key.id, made.key.tenant, made.secret)


async def bump_epoch(settings: Settings) -> str:
    """Draws a new epoch, so that every stream starts anew; for a database that was set back. The epoch, in hex.

    Every cursor and acknowledged position is void from then on: revisions that are given out twice cannot be told
    apart in any other way.
    """
    _require_database(settings)
    async with _opened(settings) as store:
        answer = await answered(store.writer, BumpEpoch(tenant=""), None)
        return answer.receipt.hex()


def migrate_up(settings: Settings) -> list[str]:
    """Applies what is pending; the names of what was applied. `serve` does the same when it starts."""
    return _on_database(settings, migrate.migrate_up)


def migrate_down(settings: Settings) -> list[str]:
    """Reverts the latest migration, and with it what was stored in what it had made; its name."""
    _require_database(settings)
    return _on_database(settings, migrate.migrate_down)


def migration_status(settings: Settings) -> list[MigrationStatus]:
    """Every migration in order, and when it was applied."""
    _require_database(settings)
    return _on_database(settings, migrate.migration_status)


def _on_database(settings: Settings, work: Callable[[Any], ResultT]) -> ResultT:
    with open_engine(_options(settings), SystemClock()).administered() as database:
        return work(database)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    """The store with its writer running."""
    async with open_store(_options(settings), SystemClock()) as store:
        store.writer.start()
        try:
            yield store
        except StorageUnavailable:
            raise
        except TocsinError as error:
            raise Refused(error.message) from error


def _options(settings: Settings) -> StoreOptions:
    return StoreOptions(
        path=Path(settings.database),
        url=settings.database_url,
        cache_bytes=settings.page_cache_bytes,
        reader_threads=1,
        retention=int(settings.retention * SECOND),
        default_quotas=settings.default_quotas,
        max_queue_bytes=lambda tenant: settings.max_queue_bytes,
    )


def _require_database(settings: Settings) -> None:
    if settings.database_url is None and not Path(settings.database).exists():
        raise Refused(f"There is no database at {settings.database}; --database says where it is.")


async def _nobody_to_tell() -> None:
    """No server is running that would have to act on it."""
