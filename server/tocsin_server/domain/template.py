"""Templates: what is shown, written once with gaps for what differs."""

from collections.abc import Iterator
from typing import Any

from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.content import Content
from tocsin_server.domain.notification import Actor, Channel
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, field

MAX_TEMPLATES = 10_000
"""Of a tenant."""

MAX_VERSIONS = 1_000
"""Of a template."""

MAX_DEFINITION_BYTES = 512 << 10

DEFAULT_ELEMENT_VARIABLE = "item"

Data = dict[str, Any]
"""A JSON object: texts, numbers, flags, None, lists and objects. Whole numbers are ints."""


class TemplateElement(Value, frozen=True):
    """How often an element of a list in the content appears; `each` and `when` are Liquid, empty where not said."""

    path: str
    each: str = ""
    variable: str = DEFAULT_ELEMENT_VARIABLE
    when: str = ""
    limit: int = 0
    """0: as many as the content may have."""


class TemplateValue(Value, frozen=True):
    """The Liquid of a field that is not text."""

    path: str
    value: str


class TemplateChannel(Value, frozen=True):
    """The Liquid of what one channel shows; an empty field is derived from the content."""

    channel: Channel
    subject: str = ""
    title: str = ""
    text: str = ""
    html: str = ""
    """Where there is MJML, what was made of it."""
    mjml: str = ""


class TemplateBody(Value, frozen=True):
    """What is shown in one locale; the texts of the content are Liquid. An empty locale is everyone's."""

    locale: str
    content: Content
    elements: tuple[TemplateElement, ...] = ()
    values: tuple[TemplateValue, ...] = ()
    channels: tuple[TemplateChannel, ...] = ()


class TemplateDefinition(Value, frozen=True):
    """What a version says."""

    bodies: tuple[TemplateBody, ...]
    lenient: bool = False
    """Variables that are missing print nothing."""


class Template(Value, frozen=True):
    """A template: a name, and which of its versions is sent."""

    name: str
    active_version: int
    """0: none."""
    latest_version: int
    activation: int
    """How often a version was activated: what tells two answers about the active version apart."""
    create_time: Micros
    update_time: Micros


class StoredVersion(Value, frozen=True):
    """A version as it is kept: its definition encoded."""

    number: int
    definition: bytes
    create_time: Micros


class RecipientView(Value, frozen=True):
    """What a template may know of a recipient; empty where nothing is known."""

    key: str = ""
    locale: str = ""
    time_zone: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class RenderFacts(Value, frozen=True):
    """What a template may know besides its data."""

    recipient: RecipientView = RecipientView()
    category: str = ""
    actor: Actor | None = None
    attributes: dict[str, str] = field(default_factory=dict)


class Rendered(Value, frozen=True):
    """What became of a template."""

    locale: str
    """Of the body that was chosen."""
    content: Content
    bodies: tuple[ChannelBody, ...] = ()
    """Of channels that it says something of its own for; what is empty there is derived from the content."""


def locale_chain(locale: str) -> Iterator[str]:
    """The locale, lower-case, shortened by its last part again and again; at last the empty one, everyone's."""
    wanted = locale.lower()
    while wanted:
        yield wanted
        wanted = wanted.rpartition("-")[0]
    yield ""
