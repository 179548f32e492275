"""The store as one thing: opened, migrated, with its writer and its readers, whichever its engine is."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin_server.domain import commands
from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock, StoreFacts
from tocsin_server.store import (
    api_keys,
    broadcast_rows,
    broadcasts,
    categories,
    changes,
    class_plans,
    deliveries,
    expansion,
    marks,
    plans,
    policies,
    positions,
    preferences,
    recipients,
    requests,
    retention,
    sends,
    templates,
    tenants,
    timers,
    topics,
)
from tocsin_server.store.engine import Engine, EngineUnusable
from tocsin_server.store.groups import GroupReport, Handler, WriterLimits
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.readers import Readers
from tocsin_server.store.sqlite.engine import SqliteEngine
from tocsin_server.store.transaction import InboxKey
from tocsin_server.store.writer import GroupCommitWriter

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
    commands.UpsertCategory: categories.upsert_categories,
    commands.DeleteCategory: categories.delete_categories,
    commands.ChangePreferences: preferences.change_preferences,
    commands.ChangeDefaultPreferences: preferences.change_defaults,
    commands.FireTimer: timers.fire_timers,
    commands.ClaimDeliveries: deliveries.claim_deliveries,
    commands.RecordDelivery: deliveries.record_deliveries,
    commands.ExpireEntries: retention.expire_entries,
    commands.PruneInboxes: retention.prune_inboxes,
    commands.PruneHistory: retention.prune_history,
    commands.CreateTemplateVersion: templates.create_template_versions,
    commands.ActivateTemplateVersion: templates.activate_template_versions,
    commands.CreateTenant: tenants.create_tenants,
    commands.ChangeTenant: tenants.change_tenants,
    commands.EraseTenant: tenants.erase_tenants,
    commands.CreateBroadcast: broadcasts.create_broadcasts,
    commands.FinishBroadcast: broadcasts.finish_broadcasts,
    commands.PlanClasses: class_plans.plan_classes,
    commands.ExpandBroadcast: expansion.expand_broadcasts,
    commands.ReplanBroadcast: broadcasts.replan_broadcasts,
    commands.RestBroadcast: broadcasts.rest_broadcasts,
    commands.PruneBroadcasts: broadcasts.prune_broadcasts,
    commands.CreateTopic: topics.create_topics,
    commands.DeleteTopic: topics.delete_topics,
    commands.AddMembers: topics.add_members,
    commands.RemoveMembers: topics.remove_members,
    commands.EraseTopic: topics.erase_topics,
    commands.CreateApiKey: api_keys.create_api_keys,
    commands.RevokeApiKey: api_keys.revoke_api_keys,
    commands.Probe: positions.probe,
    commands.Recall: requests.recall,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """How the store is opened."""

    path: Path
    """The SQLite file."""
    url: str | None = None
    """Of a Postgres database, instead of the file."""
    cache_bytes: int
    reader_threads: int
    writer_threads: int = 1
    """On Postgres; an embedded database has one."""
    retention: Micros
    default_quotas: Quotas
    max_queue_bytes: Callable[[str], int]
    heard: Callable[[], Collection[InboxKey] | None] = lambda: None
    """The inboxes of whose new entries somebody hears; None: all of them."""
    on_group: Callable[[GroupReport], None] = lambda report: None
    on_storage_error: Callable[[str], None] = lambda detail: None
    """Told after every transaction what was wrong, or nothing; and what was wrong with a read. In their threads."""


@dataclass(frozen=True, slots=True)
class Store:
    """What the outside sees of it. The writer is not started: listeners come first."""

    writer: GroupCommitWriter
    readers: Readers
    plans: plans.PlanRows
    recipients: recipients.RecipientRows
    categories: categories.CategoryRows
    policies: policies.PolicyRows
    deliveries: deliveries.DeliveryRows
    templates: templates.TemplateRows
    tenants: tenants.TenantRows
    topics: topics.TopicRows
    broadcasts: broadcast_rows.BroadcastRows
    api_keys: api_keys.ApiKeyRows
    facts: StoreFacts


@asynccontextmanager
async def open_store(options: StoreOptions, clock: Clock) -> AsyncIterator[Store]:
    """Opens the store, and closes it when everything that was queued is written.

    Raises StoreLocked when another process has it, EngineUnusable, StorageUnavailable when it cannot be opened.
    """
    engine = open_engine(options, clock)
    with engine.alone():
        engine.prepare()
        pool = ReadPool(engine, options.reader_threads, options.on_storage_error)
        readers = Readers(pool, clock)
        writer = GroupCommitWriter(
            engine,
            HANDLERS,
            WriterLimits(options.max_queue_bytes, options.default_quotas, options.retention, options.heard),
            on_group=options.on_group,
            on_storage_error=options.on_storage_error,
        )
        try:
            yield Store(
                writer,
                readers,
                plans.PlanRows(pool, clock),
                recipients.RecipientRows(pool),
                categories.CategoryRows(pool),
                policies.PolicyRows(pool),
                deliveries.DeliveryRows(pool),
                templates.TemplateRows(pool),
                tenants.TenantRows(pool),
                topics.TopicRows(pool),
                broadcast_rows.BroadcastRows(pool, clock),
                api_keys.ApiKeyRows(pool, clock),
                await readers.facts(),
            )
        finally:
            await writer.close()
            pool.close()


def open_engine(options: StoreOptions, clock: Clock) -> Engine:
    """The engine that the options ask for. Raises EngineUnusable."""
    if options.url is None:
        return SqliteEngine(options.path, options.cache_bytes, clock)
    if not options.url.startswith(("postgresql://", "postgres://")):
        raise EngineUnusable("database_url is not one of Postgres: postgresql://user@host/database")
    try:
        from tocsin_server.store.postgres.engine import PostgresEngine
    except ImportError as error:
        raise EngineUnusable("Postgres needs a library: pip install 'tocsin[postgres]'") from error
    return PostgresEngine(options.url, options.writer_threads, clock)
