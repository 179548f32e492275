"""The embedded store as one thing: opened under its lock, migrated, with its writer and its readers."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tocsin_server.domain import commands
from tocsin_server.domain.access import DEFAULT_TENANT
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock, StoreFacts
from tocsin_server.store import (
    api_keys,
    changes,
    marks,
    positions,
    recipients,
    requests,
    retention,
    sends,
    tenants,
    timers,
)
from tocsin_server.store.database import connection_of, open_database, storage_errors
from tocsin_server.store.facts import CommitCountFile, ensure_facts, read_commit_count
from tocsin_server.store.lock import exclusive
from tocsin_server.store.migrate import migrate_up
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.readers import Readers
from tocsin_server.store.writer import GroupCommitWriter, GroupReport, Handler, WriterLimits

log = structlog.get_logger(__name__)

HANDLERS: Mapping[type[commands.Command[Any]], Handler] = {
    commands.StoreNotification: sends.store_notifications,
    commands.CancelNotifications: changes.cancel_notifications,
    commands.ReviseNotification: changes.revise_notifications,
    commands.MarkEntries: marks.mark_entries,
    commands.RecordInteraction: marks.record_interactions,
    commands.AcknowledgePositions: positions.acknowledge_positions,
    commands.RenewIncarnation: positions.renew_incarnations,
    commands.BumpEpoch: positions.bump_epoch,
    commands.UpsertRecipient: recipients.upsert_recipients,
    commands.EraseRecipient: recipients.erase_recipients,
    commands.FireTimer: timers.fire_timers,
    commands.ExpireEntries: retention.expire_entries,
    commands.PruneInboxes: retention.prune_inboxes,
    commands.PruneHistory: retention.prune_history,
    commands.CreateTenant: tenants.create_tenants,
    commands.ChangeTenant: tenants.change_tenants,
    commands.EraseTenant: tenants.erase_tenants,
    commands.CreateApiKey: api_keys.create_api_keys,
    commands.RevokeApiKey: api_keys.revoke_api_keys,
    commands.Probe: positions.probe,
    commands.Recall: requests.recall,
}

_DEFAULT_TENANT = """
    INSERT INTO tenants (name, display_name, state, quotas, create_time) VALUES (?, 'Default', 1, X'80', ?)
    ON CONFLICT DO NOTHING"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How the store is opened."""

    path: Path
    cache_bytes: int
    reader_threads: int
    retention: Micros
    default_quotas: Quotas
    max_queue_bytes: Callable[[str], int]
    on_group: Callable[[GroupReport], None] = lambda report: None
    on_storage_error: Callable[[str], None] = lambda detail: None
    """Told after every transaction: what was wrong, or nothing."""


@dataclass(frozen=True, slots=True)
class Store:
    """What the outside sees of it. The writer is not started: listeners come first."""

    writer: GroupCommitWriter
    readers: Readers
    recipients: recipients.RecipientRows
    tenants: tenants.TenantRows
    api_keys: api_keys.ApiKeyRows
    facts: StoreFacts


@asynccontextmanager
async def open_store(options: StoreOptions, clock: Clock) -> AsyncIterator[Store]:
    """Opens the store, and closes it when everything that was queued is written.

    Raises StoreLocked when another process has it, StorageUnavailable when it cannot be opened.
    """
    with exclusive(options.path):
        side_file = CommitCountFile(options.path)
        _prepare(options, side_file, clock)
        pool = ReadPool(
            open_database(options.path, cache_bytes=options.cache_bytes, read_only=True),
            options.reader_threads,
        )
        readers = Readers(pool, clock)
        writer = GroupCommitWriter(
            open_database(options.path, cache_bytes=options.cache_bytes),
            HANDLERS,
            clock,
            WriterLimits(options.max_queue_bytes, options.default_quotas, options.retention),
            side_file,
            on_group=options.on_group,
            on_storage_error=options.on_storage_error,
        )
        try:
            yield Store(
                writer,
                readers,
                recipients.RecipientRows(pool),
                tenants.TenantRows(pool),
                api_keys.ApiKeyRows(pool, clock),
                await readers.facts(),
            )
        finally:
            await writer.close()
            pool.close()


def _prepare(options: StoreOptions, side_file: CommitCountFile, clock: Clock) -> None:
    """Migrates, and writes what every store has."""
    database = open_database(options.path, cache_bytes=options.cache_bytes)
    with storage_errors(), database.connection_context():
        for name in migrate_up(database):
            log.info("migrated", migration=name)
        with database.atomic("IMMEDIATE"):
            connection = connection_of(database)
            connection.execute(_DEFAULT_TENANT, (DEFAULT_TENANT, clock.now()))
            rewound = ensure_facts(connection, side_file)
        if rewound:
            log.warning("the database was set back; a new epoch begins and every stream starts anew")
            side_file.write(read_commit_count(connection))
