"""Contents as the contract's messages, and as a Send takes them."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from tocsin.v1 import notification_pb2 as pb
from tocsin_server.domain.content import (
    Action,
    CardContent,
    Content,
    ContentKind,
    Input,
    InteractiveContent,
    ListContent,
    ListItem,
    Media,
    RichMediaContent,
    SimpleContent,
    TimelineContent,
    TimelineEntry,
)
from tocsin_server.rpc.convert.content import sent_content_from
from tocsin_server.rpc.convert.times import timestamp
from tocsin_server.service.sending import SentContent


def sent(content: Content) -> SentContent:
    """The content as it comes in."""
    return sent_content_from(content_message(content))


def simple(title: str, body: str = "") -> SentContent:
    """The simplest content."""
    return sent(Content(SimpleContent(title, body)))


def content_message(content: Content) -> pb.Content:
    """Inverse of `content_from`."""
    field, message_of = _KIND_MESSAGES[type(content.kind)]
    kind: dict[str, Any] = {field: message_of(content.kind)}
    return pb.Content(fallback_text=content.fallback_text, **kind)


def _simple_message(kind: SimpleContent) -> pb.SimpleContent:
    return pb.SimpleContent(title=kind.title, body=kind.body)


def _rich_media_message(kind: RichMediaContent) -> pb.RichMediaContent:
    return pb.RichMediaContent(
        title=kind.title,
        body=kind.body,
        media=map(_media_message, kind.media),
        actions=map(_action_message, kind.actions),
    )


def _interactive_message(kind: InteractiveContent) -> pb.InteractiveContent:
    return pb.InteractiveContent(
        title=kind.title,
        body=kind.body,
        actions=map(_action_message, kind.actions),
        inputs=map(_input_message, kind.inputs),
    )


def _card_message(kind: CardContent) -> pb.CardContent:
    return pb.CardContent(
        title=kind.title,
        subtitle=kind.subtitle,
        body=kind.body,
        image=_optional_media_message(kind.image),
        fields=(pb.CardField(label=field.label, value=field.value) for field in kind.fields),
        actions=map(_action_message, kind.actions),
    )


def _list_message(kind: ListContent) -> pb.ListContent:
    return pb.ListContent(
        title=kind.title,
        items=map(_list_item_message, kind.items),
        total_count=kind.total_count,
        actions=map(_action_message, kind.actions),
    )


def _timeline_message(kind: TimelineContent) -> pb.TimelineContent:
    return pb.TimelineContent(
        title=kind.title,
        entries=map(_timeline_entry_message, kind.entries),
        actions=map(_action_message, kind.actions),
    )


_KIND_MESSAGES: dict[type[ContentKind], tuple[str, Callable[[Any], Message]]] = {
    SimpleContent: ("simple", _simple_message),
    RichMediaContent: ("rich_media", _rich_media_message),
    InteractiveContent: ("interactive", _interactive_message),
    CardContent: ("card", _card_message),
    ListContent: ("list", _list_message),
    TimelineContent: ("timeline", _timeline_message),
}


def _action_message(action: Action) -> pb.Action:
    message = pb.Action(
        id=action.id,
        label=action.label,
        style=pb.ActionStyle.ValueType(action.style),
        confirm_text=action.confirm_text,
    )
    if action.url is not None:
        message.url = action.url
    if action.post_back is not None:
        message.post_back = action.post_back
    return message


def _input_message(field: Input) -> pb.Input:
    return pb.Input(
        name=field.name,
        label=field.label,
        kind=pb.InputKind.ValueType(field.kind),
        choices=field.choices,
        required=field.required,
    )


def _media_message(media: Media) -> pb.Media:
    return pb.Media(
        url=media.url,
        mime_type=media.mime_type,
        alt_text=media.alt_text,
        thumbnail_url=media.thumbnail_url,
        width=media.width,
        height=media.height,
    )


def _optional_media_message(media: Media | None) -> pb.Media | None:
    return None if media is None else _media_message(media)


def _list_item_message(item: ListItem) -> pb.ListItem:
    return pb.ListItem(
        title=item.title,
        body=item.body,
        image=_optional_media_message(item.image),
        url=item.url,
        value=item.value,
    )


def _timeline_entry_message(entry: TimelineEntry) -> pb.TimelineEntry:
    return pb.TimelineEntry(
        time=timestamp(entry.time),
        title=entry.title,
        body=entry.body,
        icon=entry.icon,
        state=pb.TimelineEntryState.ValueType(entry.state),
    )
