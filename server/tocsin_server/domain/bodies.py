"""Bodies: what a notification looks like on a channel that is not the inbox.

A body is rendered from a template that has one for the channel, or derived from the content, whatever its kind; what
the sender says for the channel goes before both. Until it goes out, a body says only what differs from the content, so
that the rest follows a content that is revised meanwhile.
"""

from collections.abc import Iterable

from tocsin_server.domain.content import Content, derive_fallback_text, plain_text
from tocsin_server.domain.notification import Channel, ChannelOverride
from tocsin_server.domain.value import Value, replace

SMS_MAX_CHARS = 306
"""Two joined messages of the usual alphabet; each costs as much as one."""

PUSH_MAX_CHARS = 1_000
"""Of a text: more than any device shows, and well within the 4 KB that push services take."""

_MAX_CHARS = {Channel.SMS: SMS_MAX_CHARS, Channel.PUSH: PUSH_MAX_CHARS}


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
    from_name: str = ""
    """Who an e-mail or text message is from, in words; empty: as the provider is set up."""
    sound: str = ""
    """Of a push; empty: the device's own."""

    @property
    def size(self) -> int:
        """About how many bytes that is."""
        return len(self.text) + len(self.html)


def derive_body(content: Content, channel: Channel) -> ChannelBody:
    """The body of a content for which nobody has written one, from its title and its plain text."""
    title, text = content.kind.title, _whole_text(content)
    match channel:
        case Channel.EMAIL:
            return ChannelBody(channel, subject=_one_line(title), text=_below(title, text) or text)
        case Channel.PUSH:
            return ChannelBody(channel, text=_fitting(_below(title, text), channel), title=_one_line(title))
        case Channel.SMS:
            return ChannelBody(channel, text=_fitting(text, channel))
        case _:
            return ChannelBody(channel, text=text, title=_one_line(title))


def completed(body: ChannelBody, content: Content) -> ChannelBody:
    """The body as it goes out, with what it leaves empty as it is derived from the content.

    Its HTML stands for a text: readers that show no HTML are then shown what the content says.
    """
    derived = derive_body(content, body.channel)
    return replace(
        body,
        subject=_one_line(body.subject) or derived.subject,
        text=_fitting(body.text, body.channel) or derived.text,
        title=_one_line(body.title) or derived.title,
        from_name=_one_line(body.from_name),
    )


def overridden(
    bodies: Iterable[ChannelBody], overrides: Iterable[ChannelOverride]
) -> tuple[ChannelBody, ...]:
    """The bodies, with what a sender says for single channels, each at most once, in the place of what is there."""
    by_channel = {body.channel: body for body in bodies}
    for override in overrides:
        body = by_channel.get(override.channel, ChannelBody(override.channel))
        by_channel[override.channel] = replace(
            body,
            subject=override.subject or body.subject,
            text=override.text or body.text,
            # The HTML says the text that is replaced.
            html="" if override.text else body.html,
            from_name=override.from_name or body.from_name,
            sound=override.sound or body.sound,
        )
    return tuple(by_channel.values())


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


def _fitting(text: str, channel: Channel) -> str:
    """As much of a text as the channel takes."""
    length = _MAX_CHARS.get(channel, len(text))
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
