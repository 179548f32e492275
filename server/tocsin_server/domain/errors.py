"""Everything that can go wrong, as one tree.

    TocsinError                         reason, public message, metadata
    ├── Invalid                         the request breaks a rule
    │   ├── InvalidFields               … with the list of them
    │   │   ├── TemplateInvalid
    │   │   └── TemplateDataInvalid
    │   ├── MalformedRequest
    │   ├── PageTokenInvalid
    │   ├── FilterInvalid
    │   ├── CursorInvalid
    │   └── UnsubscribeTokenInvalid
    ├── CursorOutOfRange                a good cursor that cannot be resumed from
    │   ├── CursorMismatch
    │   ├── CursorExpired
    │   └── IncarnationChanged
    ├── Conflict
    │   ├── RequestIdReused
    │   └── TenantExists, TopicExists
    ├── NotFound
    │   ├── TenantNotFound, NotificationNotFound, ActionNotFound
    │   ├── RecipientNotFound, SessionNotFound, ApiKeyNotFound
    │   ├── CategoryNotFound, TopicNotFound, BroadcastNotFound
    │   └── TemplateNotFound, TemplateVersionNotFound
    ├── NotificationFinal               the notification cannot change any more
    ├── BroadcastFinal                  neither can the broadcast
    ├── CategoryMandatory               nobody can be left out of it
    ├── FeatureNotBuilt                 part of the contract, not of this version
    ├── Unauthenticated
    │   ├── CredentialsMissing, CredentialsInvalid
    │   └── CredentialsExpired, CredentialsRevoked
    ├── PermissionDenied
    │   ├── ScopeMissing, RecipientNotAllowed, CategoryNotAllowed
    │   └── TenantSuspended
    ├── Exhausted                       a limit is reached
    │   ├── MessageTooLarge, LimitReached
    │   ├── TooManyRequests, TooManyStreams, QueueFull, RateLimited
    │   ├── TemplateLimitExceeded
    │   └── QuotaExceeded
    ├── Unavailable                     try again later
    │   ├── StorageUnavailable
    │   │   └── DraftOutdated           answered to whoever drafts, who does it again
    │   ├── CredentialsUnchecked
    │   └── ServerDraining
    ├── SessionTerminated
    └── DeadlineExceeded
        ├── DeadlinePassed
        └── RequestTimeout

An error's class is its reason (`ErrorReason` in the contract); `rpc.errors` maps each branch to a status code. The
first line of a class's docstring is what a caller is told. `detail` is for the log only.
"""

from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.domain.value import Value


class TocsinError(Exception):
    """Something went wrong."""

    reason = "INTERNAL"
    retry_delay: Micros | None = None
    """How long a caller should wait before it tries again; None: it should not."""

    def __init__(self, message: str | None = None, *, detail: str = "", **metadata: object) -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.detail = detail
        self.metadata = {key: str(value) for key, value in metadata.items()}
        super().__init__(self.message)


class Violation(Value, frozen=True):
    """A rule that a field of a request breaks."""

    field: str
    """Path from the request message: `notification.content.simple.title`, `items[3].request_id`."""
    description: str
    """What the rule wants."""


class Invalid(TocsinError):
    """The request is not valid."""

    reason = "INVALID_FIELD"


class InvalidFields(Invalid):
    """Fields of the request break rules."""

    says = "The request breaks {count} rule(s): {fields}."

    def __init__(self, violations: list[Violation], **metadata: object) -> None:
        self.violations = violations
        fields = ", ".join(dict.fromkeys(violation.field for violation in violations[:5]))
        super().__init__(self.says.format(count=len(violations), fields=fields))
        self.metadata = {
            key: str(value) for key, value in {"violations": len(violations), **metadata}.items()
        }


class TemplateInvalid(InvalidFields):
    """The template cannot be read."""

    reason = "TEMPLATE_INVALID"
    says = "The template cannot be read: {fields}."


class TemplateDataInvalid(InvalidFields):
    """The template makes nothing of its data that can be shown."""

    reason = "TEMPLATE_DATA_INVALID"
    says = "The template makes nothing of its data that can be shown: {fields}."


class MalformedRequest(Invalid):
    """The bytes are not a message of this call."""

    reason = "MALFORMED_REQUEST"


class PageTokenInvalid(Invalid):
    """The page token is not one of this call with these filters. Start again without one."""

    reason = "PAGE_TOKEN_INVALID"


class FilterInvalid(Invalid):
    """The filter is not understood."""

    reason = "FILTER_INVALID"


class CursorInvalid(Invalid):
    """The cursor was not made by this server."""

    reason = "CURSOR_INVALID"


class UnsubscribeTokenInvalid(Invalid):
    """The token was not made by this server."""

    reason = "UNSUBSCRIBE_TOKEN_INVALID"


class CursorOutOfRange(TocsinError):
    """The cursor cannot be resumed from."""


class CursorMismatch(CursorOutOfRange):
    """The cursor belongs to another recipient or another filter."""

    reason = "CURSOR_MISMATCH"


class CursorExpired(CursorOutOfRange):
    """Changes after the cursor are no longer kept. List the entries and start from that cursor."""

    reason = "CURSOR_EXPIRED"


class IncarnationChanged(CursorOutOfRange):
    """The inbox was made anew since the cursor. List the entries and start from that cursor."""

    reason = "INCARNATION_CHANGED"


class Conflict(TocsinError):
    """It exists already."""


class RequestIdReused(Conflict):
    """The request id was used for a different request. Use a fresh one."""

    reason = "REQUEST_ID_REUSED"


class TenantExists(Conflict):
    """A tenant of this name exists."""

    reason = "TENANT_EXISTS"


class TopicExists(Conflict):
    """A topic of this name exists."""

    reason = "TOPIC_EXISTS"


class NotFound(TocsinError):
    """There is no such thing."""


class TenantNotFound(NotFound):
    """There is no such tenant."""

    reason = "TENANT_NOT_FOUND"


class NotificationNotFound(NotFound):
    """There is no such notification."""

    reason = "NOTIFICATION_NOT_FOUND"


class ActionNotFound(NotFound):
    """The content has no such action."""

    reason = "ACTION_NOT_FOUND"


class RecipientNotFound(NotFound):
    """There is no such recipient."""

    reason = "RECIPIENT_NOT_FOUND"


class SessionNotFound(NotFound):
    """There is no such session."""

    reason = "SESSION_NOT_FOUND"


class ApiKeyNotFound(NotFound):
    """There is no such API key."""

    reason = "API_KEY_NOT_FOUND"


class CategoryNotFound(NotFound):
    """The category is not defined."""

    reason = "CATEGORY_NOT_FOUND"


class CategoryMandatory(TocsinError):
    """The category is mandatory: it cannot be denied."""

    reason = "CATEGORY_MANDATORY"


class TemplateNotFound(NotFound):
    """There is no such template, or none of its versions is active."""

    reason = "TEMPLATE_NOT_FOUND"


class TemplateVersionNotFound(NotFound):
    """The template has no such version."""

    reason = "TEMPLATE_VERSION_NOT_FOUND"


class TopicNotFound(NotFound):
    """There is no such topic."""

    reason = "TOPIC_NOT_FOUND"


class BroadcastNotFound(NotFound):
    """There is no such broadcast."""

    reason = "BROADCAST_NOT_FOUND"


class NotificationFinal(TocsinError):
    """The notification cannot change any more."""

    reason = "NOTIFICATION_FINAL"


class BroadcastFinal(TocsinError):
    """The broadcast is over."""

    reason = "BROADCAST_FINAL"


class FeatureNotBuilt(TocsinError):
    """This version does not do that."""

    reason = "FEATURE_NOT_BUILT"


class Unauthenticated(TocsinError):
    """The caller is not known."""


class CredentialsMissing(Unauthenticated):
    """Send an API key or a token: `authorization: Bearer …`."""

    reason = "CREDENTIALS_MISSING"


class CredentialsInvalid(Unauthenticated):
    """The API key or token is not valid."""

    reason = "CREDENTIALS_INVALID"


class CredentialsExpired(Unauthenticated):
    """The API key or token has expired."""

    reason = "CREDENTIALS_EXPIRED"


class CredentialsRevoked(Unauthenticated):
    """The API key was revoked."""

    reason = "CREDENTIALS_REVOKED"


class PermissionDenied(TocsinError):
    """The caller may not do that."""


class ScopeMissing(PermissionDenied):
    """The API key or token lacks the scope for this."""

    reason = "SCOPE_MISSING"


class RecipientNotAllowed(PermissionDenied):
    """The API key or token may not act for this recipient."""

    reason = "RECIPIENT_NOT_ALLOWED"


class CategoryNotAllowed(PermissionDenied):
    """The API key may not use this category."""

    reason = "CATEGORY_NOT_ALLOWED"


class TenantSuspended(PermissionDenied):
    """The tenant is suspended."""

    reason = "TENANT_SUSPENDED"


class Exhausted(TocsinError):
    """A limit is reached."""


class MessageTooLarge(Exhausted):
    """The message is larger than allowed."""

    reason = "MESSAGE_TOO_LARGE"


class LimitReached(Exhausted):
    """The session follows as many recipients as allowed."""

    reason = "LIMIT_REACHED"


class TooManyRequests(Exhausted):
    """Too many requests are in flight. Try again a little later."""

    reason = "TOO_MANY_REQUESTS"
    retry_delay = SECOND // 5


class TooManyStreams(Exhausted):
    """Too many streams are open. Close some, or try again later."""

    reason = "TOO_MANY_STREAMS"
    retry_delay = 5 * SECOND


class QueueFull(Exhausted):
    """The queue before the writer is full. Try again a little later."""

    reason = "QUEUE_FULL"
    retry_delay = SECOND // 5


class RateLimited(Exhausted):
    """The tenant sends faster than its quota. Try again a little later."""

    reason = "RATE_LIMITED"
    retry_delay = SECOND


class QuotaExceeded(Exhausted):
    """A quota of the tenant is used up."""

    reason = "QUOTA_EXCEEDED"


class TemplateLimitExceeded(Exhausted):
    """A limit of templates is reached."""

    reason = "TEMPLATE_LIMIT_EXCEEDED"


class Unavailable(TocsinError):
    """Not now. Try again later."""

    retry_delay = SECOND


class StorageUnavailable(Unavailable):
    """Storage does not answer; nothing was written. Try again later."""

    reason = "STORAGE_UNAVAILABLE"


class DraftOutdated(StorageUnavailable):
    """The recipient's profile changed while the request was under way. Try again."""


class CredentialsUnchecked(Unavailable):
    """Credentials cannot be checked at the moment. Try again later."""

    reason = "CREDENTIALS_UNCHECKED"


class ServerDraining(Unavailable):
    """The server is about to stop. Connect again."""

    reason = "SERVER_DRAINING"


class SessionTerminated(TocsinError):
    """An operator ended the session."""

    reason = "SESSION_TERMINATED"


class DeadlineExceeded(TocsinError):
    """Too late."""


class DeadlinePassed(DeadlineExceeded):
    """The deadline passed before anything was written."""

    reason = "DEADLINE_PASSED"


class RequestTimeout(DeadlineExceeded):
    """The request did not come in time."""

    reason = "REQUEST_TIMEOUT"
