"""Contents as a Send takes them."""

from tocsin_server.domain.content import Content, SimpleContent
from tocsin_server.rpc.convert.content import content_message, sent_content_from
from tocsin_server.service.sending import SentContent

__all__ = ("content_message", "sent", "simple")


def sent(content: Content) -> SentContent:
    """The content as it comes in."""
    return sent_content_from(content_message(content))


def simple(title: str, body: str = "") -> SentContent:
    """The simplest content."""
    return sent(Content(SimpleContent(title, body)))
