"""Bodies: derived from the content for each channel as it needs them, and what a template or a sender says instead."""

import pytest

from tocsin_server.domain.bodies import (
    PUSH_MAX_CHARS,
    SMS_MAX_CHARS,
    ChannelBody,
    completed,
    derive_body,
    overridden,
)
from tocsin_server.domain.content import (
    FALLBACK_TEXT_MAX_CHARS,
    Action,
    CardContent,
    CardField,
    Content,
    SimpleContent,
    derive_fallback_text,
)
from tocsin_server.domain.notification import Channel, ChannelOverride

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


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        # What is empty is what the content says.
        (
            ChannelBody(Channel.EMAIL, from_name="CI"),
            ChannelBody(Channel.EMAIL, "Build 17 failed", "2 of 340 tests", from_name="CI"),
        ),
        (
            ChannelBody(Channel.EMAIL, "Build 17"),
            ChannelBody(Channel.EMAIL, "Build 17", "2 of 340 tests"),
        ),
        (
            ChannelBody(Channel.PUSH, sound="siren"),
            ChannelBody(Channel.PUSH, title="Build 17 failed", text="2 of 340 tests", sound="siren"),
        ),
        # HTML is not the text of readers that show none.
        (
            ChannelBody(Channel.EMAIL, "Build", html="<p>17</p>"),
            ChannelBody(Channel.EMAIL, "Build", "2 of 340 tests", "<p>17</p>"),
        ),
        # A line break in a header would begin another one.
        (
            ChannelBody(
                Channel.EMAIL, "Hi\r\nBcc: eve@example.com", "x", from_name="CI\nBcc: eve@example.com"
            ),
            ChannelBody(Channel.EMAIL, "Hi Bcc: eve@example.com", "x", from_name="CI Bcc: eve@example.com"),
        ),
        # What the channel does not take is cut, whoever wrote it.
        (
            ChannelBody(Channel.SMS, text="x" * (SMS_MAX_CHARS + 1)),
            ChannelBody(Channel.SMS, text="x" * (SMS_MAX_CHARS - 1) + "…"),
        ),
        (
            ChannelBody(Channel.PUSH, text="x" * (PUSH_MAX_CHARS + 1)),
            ChannelBody(Channel.PUSH, title="Build 17 failed", text="x" * (PUSH_MAX_CHARS - 1) + "…"),
        ),
        (
            ChannelBody(Channel.EMAIL, text="x" * 16_000),
            ChannelBody(Channel.EMAIL, "Build 17 failed", "x" * 16_000),
        ),
    ],
)
def test_a_body_as_it_goes_out(body: ChannelBody, shown: ChannelBody) -> None:
    assert completed(body, Content(BUILD)) == shown


RENDERED = ChannelBody(Channel.EMAIL, "Subject", "Text", "<p>Text</p>")


@pytest.mark.parametrize(
    ("bodies", "overrides", "after"),
    [
        # Nothing is said, or of another channel.
        ((), (), ()),
        ((RENDERED,), (), (RENDERED,)),
        (
            (RENDERED,),
            (ChannelOverride(Channel.PUSH, sound="siren"),),
            (RENDERED, ChannelBody(Channel.PUSH, sound="siren")),
        ),
        # Without a template it says only what differs: the content may still be revised.
        (
            (),
            (ChannelOverride(Channel.EMAIL, subject="Now", from_name="CI"),),
            (ChannelBody(Channel.EMAIL, "Now", from_name="CI"),),
        ),
        # It goes before the template, field by field.
        (
            (RENDERED,),
            (ChannelOverride(Channel.EMAIL, subject="Now"),),
            (ChannelBody(Channel.EMAIL, "Now", "Text", "<p>Text</p>"),),
        ),
        # Another text is another text for all readers.
        (
            (RENDERED,),
            (ChannelOverride(Channel.EMAIL, text="Else"),),
            (ChannelBody(Channel.EMAIL, "Subject", "Else"),),
        ),
        # Empty fields say nothing.
        ((RENDERED,), (ChannelOverride(Channel.EMAIL),), (RENDERED,)),
    ],
)
def test_what_a_sender_says_for_a_channel(
    bodies: tuple[ChannelBody, ...],
    overrides: tuple[ChannelOverride, ...],
    after: tuple[ChannelBody, ...],
) -> None:
    assert overridden(bodies, overrides) == after
