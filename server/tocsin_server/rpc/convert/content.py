"""Content: the six kinds, and what they are made of."""

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import Message

from tocsin.v1 import notification_pb2 as pb
from tocsin_server.domain.content import (
    Action,
    ActionStyle,
    CardContent,
    CardField,
    Content,
    ContentKind,
    Input,
    InputKind,
    InteractiveContent,
    ListContent,
    ListItem,
    Media,
    RichMediaContent,
    SimpleContent,
    TimelineContent,
    TimelineEntry,
    TimelineEntryState,
    derive_fallback_text,
)
from tocsin_server.rpc.convert.times import micros, timestamp
from tocsin_server.rpc.wire import delimited, tag
from tocsin_server.service.sending import SentContent

_CONTENT = tag(pb.Notification.DESCRIPTOR, "content")
_FALLBACK_TEXT = tag(pb.Content.DESCRIPTOR, "fallback_text")


def sent_content_from(message: pb.Content) -> SentContent:
    """Checked content, encoded as it came and as it is shown."""
    sent = message.SerializeToString()
    if message.fallback_text:
        return SentContent(sent, shown_content(sent))
    kind = message.WhichOneof("kind")
    assert kind is not None
    return SentContent(sent, shown_content(sent, getattr(message, kind)))


def shown_content(encoded: bytes, kind: Any = None) -> bytes:
    """A notification's field `content`, of an encoded Content; `kind`: as `derive_fallback_text` takes it, where the
    content has no plain text."""
    if kind is not None:
        # A field that follows its message is part of it.
        encoded += delimited(_FALLBACK_TEXT, derive_fallback_text(kind).encode())
    return delimited(_CONTENT, encoded)


def content_from(message: pb.Content) -> Content:
    """Content whose kind is set."""
    kind = message.WhichOneof("kind")
    assert kind is not None
    return Content(_KIND_FROM[kind](getattr(message, kind)), message.fallback_text)


def _simple(message: pb.SimpleContent) -> SimpleContent:
    return SimpleContent(message.title, message.body)


def _rich_media(message: pb.RichMediaContent) -> RichMediaContent:
    media = tuple(map(_media, message.media))
    return RichMediaContent(message.title, message.body, media, _actions(message.actions))


def _interactive(message: pb.InteractiveContent) -> InteractiveContent:
    inputs = tuple(map(_input, message.inputs))
    return InteractiveContent(message.title, message.body, _actions(message.actions), inputs)


def _card(message: pb.CardContent) -> CardContent:
    return CardContent(
        message.title,
        message.subtitle,
        message.body,
        _optional_media(message),
        tuple(CardField(field.label, field.value) for field in message.fields),
        _actions(message.actions),
    )


def _list(message: pb.ListContent) -> ListContent:
    items = tuple(map(_list_item, message.items))
    return ListContent(message.title, items, message.total_count, _actions(message.actions))


def _timeline(message: pb.TimelineContent) -> TimelineContent:
    return TimelineContent(
        message.title, tuple(map(_timeline_entry, message.entries)), _actions(message.actions)
    )


_KIND_FROM: dict[str, Callable[[Any], ContentKind]] = {
    "simple": _simple,
    "rich_media": _rich_media,
    "interactive": _interactive,
    "card": _card,
    "list": _list,
    "timeline": _timeline,
}


def _actions(messages: Iterable[pb.Action]) -> tuple[Action, ...]:
    return tuple(map(_action, messages))


def _action(message: pb.Action) -> Action:
    return Action(
        message.id,
        message.label,
        message.url if message.HasField("url") else None,
        message.post_back if message.HasField("post_back") else None,
        ActionStyle(message.style),
        message.confirm_text,
    )


def _input(message: pb.Input) -> Input:
    return Input(
        message.name, message.label, InputKind(message.kind), tuple(message.choices), message.required
    )


def _media(message: pb.Media) -> Media:
    return Media(
        message.url,
        message.mime_type,
        message.alt_text,
        message.thumbnail_url,
        message.width,
        message.height,
    )


def _optional_media(message: pb.CardContent | pb.ListItem) -> Media | None:
    return _media(message.image) if message.HasField("image") else None


def _list_item(message: pb.ListItem) -> ListItem:
    return ListItem(message.title, message.body, _optional_media(message), message.url, message.value)


def _timeline_entry(message: pb.TimelineEntry) -> TimelineEntry:
    time = micros(message.time) if message.HasField("time") else None
    return TimelineEntry(message.title, time, message.body, message.icon, TimelineEntryState(message.state))


# --- the other way ----------------------------------------------------------------------------------------------------


def content_message(content: Content) -> pb.Content:
    """Content whose kind is set; inverse of `content_from`."""
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
