"""What to send: a `NotificationSpec` from plain Python values."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TypedDict, Unpack

from tocsin.v1.notification_pb2 import (
    Actor,
    CardContent,
    Channel,
    ChannelOverride,
    Content,
    EscalationStep,
    InteractiveContent,
    ListContent,
    LocalDateTime,
    NotificationSpec,
    Priority,
    RichMediaContent,
    SimpleContent,
    TemplateRef,
    TimelineContent,
)
from tocsin.values import ChannelName, PriorityName, duration, enum_value, timestamp

__all__ = ("ContentLike", "SpecOptions", "content_of", "spec")

ContentLike = (
    Content
    | SimpleContent
    | RichMediaContent
    | InteractiveContent
    | CardContent
    | ListContent
    | TimelineContent
    | tuple[str, str]
)
"""Ready content, one of its six kinds, or the (title, body) of a `SimpleContent`."""


class SpecOptions(TypedDict, total=False):
    """What a `NotificationSpec` may say besides recipient, category and body. Every key may be left out."""

    priority: PriorityName | Priority.ValueType
    """Default: the category's."""
    channels: Iterable[ChannelName | Channel.ValueType]
    """Where to show it; empty: the category's channels."""
    deliver_time: datetime
    """Deliver at this instant, with a time zone. At most one of the three `deliver_` keys."""
    deliver_delay: float | timedelta
    """Deliver so long after it was accepted; in seconds, if a number."""
    deliver_local_time: LocalDateTime
    """Deliver at this date and time in the recipient's own zone."""
    expire_time: datetime
    """After this instant, with a time zone, nothing is delivered any more."""
    thread: str
    """Groups entries about one subject."""
    actor: Actor
    """Who or what caused it."""
    batch_key: str
    """Overrides the batching policy's key."""
    escalation: Iterable[EscalationStep]
    """Steps taken while the recipient does not react."""
    attributes: Mapping[str, str]
    """The sender's own data, handed through."""
    channel_overrides: Iterable[ChannelOverride]
    """What differs on single channels."""
    no_batch: bool
    """Never joins a batch."""


def spec(
    recipient: str,
    category: str,
    content: ContentLike | None = None,
    *,
    template: TemplateRef | None = None,
    **options: Unpack[SpecOptions],
) -> NotificationSpec:
    """A `NotificationSpec`, from plain Python values.

        spec("ada", "build", ("Build 17 failed", "2 of 340 tests"), priority="high", thread="build-17")

    Only the shape is looked at here; the rules of the fields are the server's.

    Args:
        recipient: the recipient's key.
        category: what it is about.
        content: what to show. Either this or `template`.
        template: a stored template and its data.
        options: see `SpecOptions`.

    Raises:
        ValueError: both or neither of content and template, more than one deliver time, an instant without a zone, an
            unknown name.
    """
    if (content is None) == (template is None):
        raise ValueError("give either content or template")
    if len(options.keys() & {"deliver_time", "deliver_delay", "deliver_local_time"}) > 1:
        raise ValueError("give at most one of deliver_time, deliver_delay and deliver_local_time")

    result = NotificationSpec(
        recipient=recipient,
        category=category,
        content=None if content is None else content_of(content),
        template=template,
        priority=enum_value(Priority, options.get("priority", Priority.PRIORITY_UNSPECIFIED)),
        channels=[enum_value(Channel, channel) for channel in options.get("channels", ())],
        deliver_local_time=options.get("deliver_local_time"),
        thread=options.get("thread", ""),
        actor=options.get("actor"),
        batch_key=options.get("batch_key", ""),
        escalation=options.get("escalation", ()),
        attributes=options.get("attributes", {}),
        channel_overrides=options.get("channel_overrides", ()),
        no_batch=options.get("no_batch", False),
    )
    if "deliver_time" in options:
        result.deliver_time.CopyFrom(timestamp(options["deliver_time"]))
    if "deliver_delay" in options:
        result.deliver_delay.CopyFrom(duration(options["deliver_delay"]))
    if "expire_time" in options:
        result.expire_time.CopyFrom(timestamp(options["expire_time"]))
    return result


def one_spec(
    notification: NotificationSpec | None,
    recipient: str,
    category: str,
    content: ContentLike | None,
    template: TemplateRef | None,
    options: SpecOptions,
) -> NotificationSpec:
    """The ready spec, or what `spec` makes of the other values.

    Raises:
        ValueError: both are there; or what `spec` raises.
    """
    if notification is None:
        return spec(recipient, category, content, template=template, **options)
    if recipient or category or content is not None or template is not None or options:
        raise ValueError("give either a ready spec or what it is made of")
    return notification


def content_of(content: ContentLike) -> Content:
    """The `Content` that holds what was given; a `Content` is returned as it is.

    Raises:
        TypeError: it is none of the kinds.
    """
    match content:
        case Content():
            return content
        case (str(title), str(body)):
            return Content(simple=SimpleContent(title=title, body=body))
        case SimpleContent():
            return Content(simple=content)
        case RichMediaContent():
            return Content(rich_media=content)
        case InteractiveContent():
            return Content(interactive=content)
        case CardContent():
            return Content(card=content)
        case ListContent():
            return Content(list=content)
        case TimelineContent():
            return Content(timeline=content)
        case _:
            raise TypeError(f"{type(content).__name__} is no content")
