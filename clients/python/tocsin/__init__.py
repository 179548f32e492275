"""Python client of Tocsin, the notification backbone.

    import tocsin

    async with tocsin.connect("localhost:7700") as client:
        await client.send(recipient="ada", category="build", content=("Build 17 failed", "2 of 340 tests"))

        async with client.subscribe("ada", start="unread") as events:
            async for event in events:
                print(event)

Messages are those of the contract, in `tocsin.v1`; the ones that senders need most are here too.
"""

from tocsin.acknowledger import AckOutcome
from tocsin.attachment import Attachment
from tocsin.channel import ApiKeySource, Stubs, TLSConfig
from tocsin.client import Client, connect, connect_from_environ
from tocsin.errors import (
    AbortedError,
    AlreadyExistsError,
    ClosedError,
    CredentialsError,
    CursorError,
    DeadlineExceededError,
    ExhaustedError,
    FeatureNotBuiltError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    ServerError,
    TocsinError,
    UnavailableError,
    Violation,
)
from tocsin.events import Entry, Event, ResetHappened, SummaryChanged
from tocsin.ids import new_request_id
from tocsin.inbox import EntryList
from tocsin.recipients import UpsertOutcome
from tocsin.retry import RetryPolicy
from tocsin.sending import SendOutcome
from tocsin.specs import ContentLike, SpecOptions, spec
from tocsin.subscription import Subscription
from tocsin.v1.category_service_pb2 import Category, Throttle
from tocsin.v1.notification_pb2 import (
    Action,
    Actor,
    CardContent,
    CardField,
    ChannelOverride,
    Content,
    Decision,
    EscalationStep,
    Input,
    InteractiveContent,
    ListContent,
    ListItem,
    LocalDateTime,
    Media,
    Notification,
    NotificationSpec,
    RichMediaContent,
    SimpleContent,
    TemplateRef,
    TimelineContent,
    TimelineEntry,
)
from tocsin.v1.notification_service_pb2 import (
    Delivery,
    PlannedDelivery,
    PlanSendResponse,
    SendItem,
    SendResult,
)
from tocsin.v1.preference_service_pb2 import (
    PreferenceChoice,
    PreferenceKey,
    Preferences,
    QuietHours,
    QuietWindow,
)
from tocsin.v1.recipient_service_pb2 import Address, Recipient
from tocsin.v1.template_service_pb2 import (
    TemplateBody,
    TemplateChannel,
    TemplateDefinition,
    TemplateElement,
    TemplateValue,
)

__all__ = (
    "AbortedError",
    "AckOutcome",
    "Action",
    "Actor",
    "Address",
    "AlreadyExistsError",
    "ApiKeySource",
    "Attachment",
    "CardContent",
    "CardField",
    "Category",
    "ChannelOverride",
    "Client",
    "ClosedError",
    "Content",
    "ContentLike",
    "CredentialsError",
    "CursorError",
    "DeadlineExceededError",
    "Decision",
    "Delivery",
    "Entry",
    "EntryList",
    "EscalationStep",
    "Event",
    "ExhaustedError",
    "FeatureNotBuiltError",
    "Input",
    "InteractiveContent",
    "InvalidRequestError",
    "ListContent",
    "ListItem",
    "LocalDateTime",
    "Media",
    "NotFoundError",
    "Notification",
    "NotificationSpec",
    "PermissionDeniedError",
    "PlanSendResponse",
    "PlannedDelivery",
    "PreconditionError",
    "PreferenceChoice",
    "PreferenceKey",
    "Preferences",
    "QuietHours",
    "QuietWindow",
    "Recipient",
    "ResetHappened",
    "RetryPolicy",
    "RichMediaContent",
    "SendItem",
    "SendOutcome",
    "SendResult",
    "ServerError",
    "SimpleContent",
    "SpecOptions",
    "Stubs",
    "Subscription",
    "SummaryChanged",
    "TLSConfig",
    "TemplateBody",
    "TemplateChannel",
    "TemplateDefinition",
    "TemplateElement",
    "TemplateRef",
    "TemplateValue",
    "Throttle",
    "TimelineContent",
    "TimelineEntry",
    "TocsinError",
    "UnavailableError",
    "UpsertOutcome",
    "Violation",
    "connect",
    "connect_from_environ",
    "new_request_id",
    "spec",
)
