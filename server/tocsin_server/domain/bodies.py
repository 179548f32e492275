"""Bodies: what a notification looks like on a channel that is not the inbox.

A body is rendered from a template that has one for the channel, or derived from the content, whatever its kind.
"""

from tocsin_server.domain.content import Content, derive_fallback_text, plain_text
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.value import Value, replace

SMS_MAX_CHARS = 306
"""Two joined messages of the usual alphabet; each costs as much as one."""

PUSH_MAX_CHARS = 1_000
"""Of a text: more than any device shows, and well within the 4 KB that push services take."""


class ChannelBody(Value, frozen=True):
    """A notification's text on one channel; what the channel has no use for is empty."""

    channel: Channel
    subject: str = ""
    """Of an e-mail."""
    text: str = ""
    """Plain, with line breaks."""
    html: str = ""
    """The same for readers that show it; empty: there is only the text."""
    title: str = ""
    """Above the text, where a channel shows both."""


def derive_body(content: Content, channel: Channel) -> ChannelBody:
    """The body of a content for which nobody has written one, from its title and its plain text."""
    title, text = content.kind.title, _whole_text(content)
    match channel:
        case Channel.EMAIL:
            return ChannelBody(channel, subject=_one_line(title), text=_below(title, text) or text)
        case Channel.PUSH:
            shown = _cut(_below(title, text), PUSH_MAX_CHARS)
            return ChannelBody(channel, text=shown, title=_one_line(title))
        case Channel.SMS:
            return ChannelBody(channel, text=_cut(text, SMS_MAX_CHARS))
        case _:
            return ChannelBody(channel, text=text, title=_one_line(title))


def completed(body: ChannelBody, content: Content) -> ChannelBody:
    """The body, with what it leaves empty as it is derived from the content.

    Its HTML stands for a text: readers that show no HTML are then shown what the content says.
    """
    derived = derive_body(content, body.channel)
    return replace(
        body,
        subject=_one_line(body.subject) or derived.subject,
        text=body.text or derived.text,
        title=_one_line(body.title) or derived.title,
    )


def _whole_text(content: Content) -> str:
    """What the sender wrote as plain text; where that is only derived from the content, all of it."""
    given = content.fallback_text
    return given if given and given != derive_fallback_text(content.kind) else plain_text(content.kind)


def _below(title: str, text: str) -> str:
    """The text without a first line that is the title."""
    first, _, rest = text.partition("\n")
    return rest if first == title else text


def _one_line(title: str) -> str:
    """As a mail's header needs it: a line break would begin another header."""
    return " ".join(title.split())


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
