"""Bodies that nobody wrote: derived from the content, for each channel as it needs them."""

import pytest

from tocsin_server.domain.bodies import PUSH_MAX_CHARS, SMS_MAX_CHARS, ChannelBody, derive_body
from tocsin_server.domain.content import (
    FALLBACK_TEXT_MAX_CHARS,
    Action,
    CardContent,
    CardField,
    Content,
    SimpleContent,
    derive_fallback_text,
)
from tocsin_server.domain.notification import Channel

BUILD = SimpleContent("Build 17 failed", "2 of 340 tests")
CARD = CardContent(
    "Invoice",
    "March",
    fields=(CardField("Sum", "17 €"),),
    actions=(Action("pay", "Pay", url="https://shop.example/pay"),),
)
CARD_LINES = "March\nSum: 17 €\nPay: https://shop.example/pay"


@pytest.mark.parametrize(
    ("content", "channel", "body"),
    [
        # What stands in the subject or the title is not said again below it.
        (
            Content(BUILD),
            Channel.EMAIL,
            ChannelBody(Channel.EMAIL, subject="Build 17 failed", text="2 of 340 tests"),
        ),
        (
            Content(BUILD),
            Channel.PUSH,
            ChannelBody(Channel.PUSH, title="Build 17 failed", text="2 of 340 tests"),
        ),
        (Content(BUILD), Channel.SMS, ChannelBody(Channel.SMS, text="Build 17 failed\n2 of 340 tests")),
        (
            Content(BUILD),
            Channel.CHAT,
            ChannelBody(Channel.CHAT, title="Build 17 failed", text="Build 17 failed\n2 of 340 tests"),
        ),
        (
            Content(BUILD),
            Channel.WEBHOOK,
            ChannelBody(Channel.WEBHOOK, title="Build 17 failed", text="Build 17 failed\n2 of 340 tests"),
        ),
        # A mail without a text would look broken, a push without one does not.
        (
            Content(SimpleContent("Hello")),
            Channel.EMAIL,
            ChannelBody(Channel.EMAIL, subject="Hello", text="Hello"),
        ),
        (Content(SimpleContent("Hello")), Channel.PUSH, ChannelBody(Channel.PUSH, title="Hello")),
        # Any kind has a text.
        (Content(CARD), Channel.EMAIL, ChannelBody(Channel.EMAIL, subject="Invoice", text=CARD_LINES)),
        # As it is stored, with the derived text beside it.
        (
            Content(CARD, derive_fallback_text(CARD)),
            Channel.EMAIL,
            ChannelBody(Channel.EMAIL, subject="Invoice", text=CARD_LINES),
        ),
        # What the sender wrote as text is the text.
        (
            Content(CARD, "Pay 17 €!"),
            Channel.EMAIL,
            ChannelBody(Channel.EMAIL, subject="Invoice", text="Pay 17 €!"),
        ),
        (Content(CARD, "Pay 17 €!"), Channel.SMS, ChannelBody(Channel.SMS, text="Pay 17 €!")),
        # A line break in a subject would begin another header.
        (
            Content(SimpleContent("Hi\r\nBcc: eve@example.com", "x")),
            Channel.EMAIL,
            ChannelBody(
                Channel.EMAIL, subject="Hi Bcc: eve@example.com", text="Hi\r\nBcc: eve@example.com\nx"
            ),
        ),
    ],
)
def test_what_a_channel_shows(content: Content, channel: Channel, body: ChannelBody) -> None:
    assert derive_body(content, channel) == body


def test_a_mail_is_not_cut_where_the_fallback_text_is() -> None:
    long = SimpleContent("Report", "x" * 2 * FALLBACK_TEXT_MAX_CHARS)
    assert derive_body(Content(long, derive_fallback_text(long)), Channel.EMAIL).text == long.body


@pytest.mark.parametrize(("channel", "most"), [(Channel.SMS, SMS_MAX_CHARS), (Channel.PUSH, PUSH_MAX_CHARS)])
def test_a_short_text_ends_with_an_ellipsis(channel: Channel, most: int) -> None:
    text = derive_body(Content(SimpleContent("Hi", "x" * (most + 1))), channel).text
    assert (len(text), text[-2:]) == (most, "x…")
