"""What the use cases need of the outside, as Protocols. A docstring here is the contract; every implementation passes
one conformance suite. One module a subject; whoever uses them imports from here.

All times are `Micros`.
"""

from tocsin_server.service.ports.bus import (
    Bus,
    BusEars,
    BusFigures,
    CachedInbox,
    Interest,
    Presence,
    SessionInfo,
    SessionQuery,
    SharedBuckets,
    SummaryCache,
)
from tocsin_server.service.ports.clock import Clock
from tocsin_server.service.ports.codec import Codec
from tocsin_server.service.ports.provider import Provider
from tocsin_server.service.ports.readers import (
    ApiKeyReader,
    BroadcastReader,
    CategoryReader,
    DeliveryBacklog,
    DeliveryReader,
    DueBroadcast,
    InboxReader,
    KeptReader,
    NotificationReader,
    PlanReader,
    PolicyReader,
    RecipientReader,
    RetentionReader,
    StoreFacts,
    TemplateReader,
    TenantReader,
    TimerReader,
    TopicReader,
)
from tocsin_server.service.ports.rendering import CompiledTemplate, Renderer
from tocsin_server.service.ports.writer import CommitListener, Committed, QueueDepth, Writer

__all__ = [
    "ApiKeyReader",
    "BroadcastReader",
    "Bus",
    "BusEars",
    "BusFigures",
    "CachedInbox",
    "CategoryReader",
    "Clock",
    "Codec",
    "CommitListener",
    "Committed",
    "CompiledTemplate",
    "DeliveryBacklog",
    "DeliveryReader",
    "DueBroadcast",
    "InboxReader",
    "Interest",
    "KeptReader",
    "NotificationReader",
    "PlanReader",
    "PolicyReader",
    "Presence",
    "Provider",
    "QueueDepth",
    "RecipientReader",
    "Renderer",
    "RetentionReader",
    "SessionInfo",
    "SessionQuery",
    "SharedBuckets",
    "StoreFacts",
    "SummaryCache",
    "TemplateReader",
    "TenantReader",
    "TimerReader",
    "TopicReader",
    "Writer",
]
