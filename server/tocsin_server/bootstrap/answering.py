"""What answers calls: the use cases, and how the server says that it is."""

from collections.abc import Callable

import tocsin_server
from tocsin_server.bootstrap.ground import Ground, micros
from tocsin_server.bootstrap.parts import Parts
from tocsin_server.rpc.server import ServerOptions, Services
from tocsin_server.service.api_keys import ApiKeys
from tocsin_server.service.broadcasts import Broadcasts
from tocsin_server.service.categories import Categories
from tocsin_server.service.inboxes import Inboxes
from tocsin_server.service.notifications import Notifications
from tocsin_server.service.preferences import PreferenceCenter
from tocsin_server.service.recipients import Recipients
from tocsin_server.service.sending import Sending
from tocsin_server.service.status import QueueReport, Status, StatusSources, StreamReport
from tocsin_server.service.tenants import Tenants
from tocsin_server.service.topics import Topics
from tocsin_server.service.unsubscribing import UnsubscribeTokens
from tocsin_server.settings import Settings
from tocsin_server.store.store import Store


def make_services(ground: Ground, parts: Parts, status: Status) -> Services:
    """What the servicers call."""
    settings, store, clock = ground.settings, ground.store, ground.clock
    codec, cursors, page_tokens = ground.codec, ground.cursors, ground.page_tokens
    writer, readers = store.writer, store.readers
    facts, templates = parts.deciding.facts, parts.deciding.templates
    authenticator, max_content_bytes = parts.access.authenticator, settings.max_content_bytes
    return Services(
        sending=Sending(
            writer, store.plans, codec, cursors, clock, parts.rates, facts, templates, max_content_bytes
        ),
        notifications=Notifications(
            writer, readers, store.deliveries, codec, cursors, page_tokens, max_content_bytes
        ),
        sessions=parts.streams.sessions,
        inboxes=Inboxes(writer, readers, readers, codec, cursors, page_tokens, parts.fleet.summaries),
        recipients=Recipients(writer, store.recipients, readers, readers, codec, cursors, page_tokens),
        broadcasts=Broadcasts(
            writer, store.broadcasts, templates, codec, page_tokens, clock, max_content_bytes
        ),
        topics=Topics(writer, store.topics, codec, page_tokens),
        categories=Categories(writer, store.categories, codec, page_tokens, micros(settings.retention)),
        preferences=PreferenceCenter(
            writer,
            store.recipients,
            parts.deciding.policies,
            codec,
            UnsubscribeTokens(store.facts),
            clock,
            authenticator.still_valid,
        ),
        templates=templates,
        tenants=Tenants(writer, store.tenants, codec, page_tokens, authenticator.catch_up),
        api_keys=ApiKeys(writer, store.api_keys, codec, page_tokens, clock, authenticator.catch_up),
        status=status,
    )


def make_status(ground: Ground, parts: Parts, *, draining: Callable[[], bool]) -> Status:
    """It tells of what this server's roles have."""
    roles, store = ground.settings.role_names, ground.store
    streams, workers = parts.streams, parts.workers
    queues = (workers.deliver.queue,) if "deliver" in roles else ()
    return Status(
        tocsin_server.__version__,
        ground.instance_id,
        ground.start_time,
        store.facts.schema_version,
        StatusSources(
            components=ground.components.of_roles(roles),
            queues=(lambda: _writer_queue(store), *queues),
            streams=lambda: StreamReport(
                streams.sessions.count, streams.hub.followed_count, streams.poll.interval
            ),
            epoch=lambda: ground.cursors.epoch,
            draining=draining,
            event_loop_lag=ground.loop_lag.worst,
            timer_lag=lambda: workers.timers.lag,
        ),
    )


def _writer_queue(store: Store) -> QueueReport:
    depth = store.writer.depth()
    return QueueReport("writer", depth.commands, depth.bytes, depth.oldest_age)


def server_options(settings: Settings, *, share_port: bool) -> ServerOptions:
    """How calls are taken."""
    return ServerOptions(
        serves_callers="api" in settings.role_names,
        share_port=share_port,
        max_message_bytes=settings.max_message_bytes,
        max_in_flight=settings.max_in_flight,
        max_recipients_per_subscribe=settings.max_recipients_per_subscribe,
        max_recipients_per_attach=settings.max_recipients_per_attach,
        request_timeout=settings.request_timeout,
        keepalive_time=settings.keepalive_time,
        keepalive_timeout=settings.keepalive_timeout,
    )
