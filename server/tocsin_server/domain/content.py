"""What is shown: six kinds of content, and the plain text that stands in for any of them."""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any

from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value

FALLBACK_TEXT_MAX_CHARS = 4_000


class ActionStyle(IntEnum):
    """How an action is drawn; numbered as in the contract."""

    UNSPECIFIED = 0
    PRIMARY = 1
    SECONDARY = 2
    DANGER = 3
    LINK = 4


class InputKind(IntEnum):
    """What an input field takes; numbered as in the contract."""

    TEXT = 1
    CHOICE = 2
    RATING = 3
    DATE = 4


class TimelineEntryState(IntEnum):
    """Where a step of a timeline stands; numbered as in the contract."""

    UNSPECIFIED = 0
    PENDING = 1
    ACTIVE = 2
    DONE = 3
    FAILED = 4


class Action(Value, frozen=True):
    """Something the recipient can do with one touch: open `url`, or send `post_back` home. Exactly one is set."""

    id: str
    label: str
    url: str | None = None
    post_back: str | None = None
    style: ActionStyle = ActionStyle.UNSPECIFIED
    confirm_text: str = ""


class Input(Value, frozen=True):
    """A field for the recipient to fill in."""

    name: str
    label: str
    kind: InputKind
    choices: tuple[str, ...] = ()
    required: bool = False


class Media(Value, frozen=True):
    """A picture, sound or film; width and height in pixels, 0 where unknown."""

    url: str
    mime_type: str = ""
    alt_text: str = ""
    thumbnail_url: str = ""
    width: int = 0
    height: int = 0


class CardField(Value, frozen=True):
    """A labelled value."""

    label: str
    value: str = ""


class ListItem(Value, frozen=True):
    """One item of a list."""

    title: str
    body: str = ""
    image: Media | None = None
    url: str = ""
    value: str = ""


class TimelineEntry(Value, frozen=True):
    """One step of a timeline."""

    title: str
    time: Micros | None = None
    body: str = ""
    icon: str = ""
    state: TimelineEntryState = TimelineEntryState.UNSPECIFIED


class SimpleContent(Value, frozen=True):
    """A title and a text."""

    title: str
    body: str = ""


class RichMediaContent(Value, frozen=True):
    """Pictures, sound or film with a text."""

    title: str
    body: str = ""
    media: tuple[Media, ...] = ()
    actions: tuple[Action, ...] = ()


class InteractiveContent(Value, frozen=True):
    """Asks the recipient for something."""

    title: str
    body: str = ""
    actions: tuple[Action, ...] = ()
    inputs: tuple[Input, ...] = ()


class CardContent(Value, frozen=True):
    """A card with labelled values."""

    title: str
    subtitle: str = ""
    body: str = ""
    image: Media | None = None
    fields: tuple[CardField, ...] = ()
    actions: tuple[Action, ...] = ()


class ListContent(Value, frozen=True):
    """A list of items, perhaps the first of many; `total_count` 0 means as many as `items`."""

    title: str
    items: tuple[ListItem, ...] = ()
    total_count: int = 0
    actions: tuple[Action, ...] = ()


class TimelineContent(Value, frozen=True):
    """Steps in time."""

    title: str
    entries: tuple[TimelineEntry, ...] = ()
    actions: tuple[Action, ...] = ()


ContentKind = (
    SimpleContent | RichMediaContent | InteractiveContent | CardContent | ListContent | TimelineContent
)


class Content(Value, frozen=True):
    """One kind of content and its plain text."""

    kind: ContentKind
    fallback_text: str = ""


def derive_fallback_text(kind: Any) -> str:
    """The content in plain lines, most important first, cut to what the contract allows.

    `kind` is one of ContentKind, or the contract's message of the same name, whose fields are the same: what is sent is
    not made a value only to be read here.
    """
    text = plain_text(kind)
    return text if len(text) <= FALLBACK_TEXT_MAX_CHARS else text[: FALLBACK_TEXT_MAX_CHARS - 1] + "…"


def plain_text(kind: Any) -> str:
    """The same, whole."""
    return "\n".join([line for line in _LINES[type(kind).__name__](kind) if line])


def actions_of(kind: ContentKind) -> tuple[Action, ...]:
    """The actions that the recipient can choose."""
    return () if isinstance(kind, SimpleContent) else kind.actions


def _simple(kind: SimpleContent) -> list[str]:
    return [kind.title, kind.body]


def _rich_media(kind: RichMediaContent) -> list[str]:
    media = (one.alt_text or one.url for one in kind.media)
    return [kind.title, kind.body, *media, *_actions(kind.actions)]


def _interactive(kind: InteractiveContent) -> list[str]:
    inputs = (_labelled(field.label or field.name, ", ".join(field.choices)) for field in kind.inputs)
    return [kind.title, kind.body, *inputs, *_actions(kind.actions)]


def _card(kind: CardContent) -> list[str]:
    fields = (_labelled(field.label, field.value) for field in kind.fields)
    return [kind.title, kind.subtitle, kind.body, *fields, *_actions(kind.actions)]


def _list(kind: ListContent) -> list[str]:
    items = [_labelled(item.title, item.value or item.body) for item in kind.items]
    if kind.total_count > len(items):
        items.append(f"… {kind.total_count - len(items)} more")
    return [kind.title, *items, *_actions(kind.actions)]


def _timeline(kind: TimelineContent) -> list[str]:
    entries = (_labelled(entry.title, entry.body) for entry in kind.entries)
    return [kind.title, *entries, *_actions(kind.actions)]


_LINES: dict[str, Callable[[Any], list[str]]] = {
    "SimpleContent": _simple,
    "RichMediaContent": _rich_media,
    "InteractiveContent": _interactive,
    "CardContent": _card,
    "ListContent": _list,
    "TimelineContent": _timeline,
}


def _actions(actions: Iterable[Action]) -> Iterator[str]:
    return (_labelled(action.label, action.url or "") for action in actions)


def _labelled(label: str, value: str) -> str:
    return f"{label}: {value}" if value else label
