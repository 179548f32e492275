"""What is shown: six kinds of content, and the plain text that stands in for any of them."""

from collections.abc import Iterator
from enum import IntEnum

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
    """One kind of content and its plain text; an empty text is to be derived."""

    kind: ContentKind
    fallback_text: str = ""

    def with_fallback(self) -> "Content":
        """The same content with its text derived where it was empty."""
        return self if self.fallback_text else Content(self.kind, derive_fallback_text(self.kind))


def derive_fallback_text(kind: ContentKind) -> str:
    """The content in plain lines, most important first, cut to what the contract allows."""
    text = "\n".join(line for line in _lines(kind) if line)
    return text if len(text) <= FALLBACK_TEXT_MAX_CHARS else text[: FALLBACK_TEXT_MAX_CHARS - 1] + "…"


def actions_of(kind: ContentKind) -> tuple[Action, ...]:
    """The actions that the recipient can choose."""
    return () if isinstance(kind, SimpleContent) else kind.actions


def _lines(kind: ContentKind) -> Iterator[str]:
    yield kind.title
    match kind:
        case SimpleContent():
            yield kind.body
        case RichMediaContent():
            yield kind.body
            yield from (media.alt_text or media.url for media in kind.media)
        case InteractiveContent():
            yield kind.body
            yield from (
                _labelled(field.label or field.name, ", ".join(field.choices)) for field in kind.inputs
            )
        case CardContent():
            yield kind.subtitle
            yield kind.body
            yield from (_labelled(field.label, field.value) for field in kind.fields)
        case ListContent():
            yield from (_labelled(item.title, item.value or item.body) for item in kind.items)
            if kind.total_count > len(kind.items):
                yield f"… {kind.total_count - len(kind.items)} more"
        case TimelineContent():
            yield from (_labelled(entry.title, entry.body) for entry in kind.entries)
    yield from (_labelled(action.label, action.url or "") for action in actions_of(kind))


def _labelled(label: str, value: str) -> str:
    return f"{label}: {value}" if value else label
