"""The plain text that stands in for any content."""

import pytest

from tocsin_server.domain.content import (
    FALLBACK_TEXT_MAX_CHARS,
    Action,
    CardContent,
    CardField,
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
    actions_of,
    derive_fallback_text,
)

OPEN = Action("open", "Open", url="https://shop.example")
DENY = Action("deny", "Deny", post_back="no")


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        (SimpleContent("Title"), ["Title"]),  # nothing for what is empty
        (SimpleContent("Title", "Body"), ["Title", "Body"]),
        (
            RichMediaContent(
                "Title",
                "",
                (Media("https://a.example", alt_text="A cat"), Media("https://b.example")),
                (OPEN,),
            ),
            ["Title", "A cat", "https://b.example", "Open: https://shop.example"],
        ),
        (
            InteractiveContent(
                "Title",
                "Body",
                (DENY,),
                (Input("size", "Size", InputKind.CHOICE, ("S", "M")), Input("why", "", InputKind.TEXT)),
            ),
            ["Title", "Body", "Size: S, M", "why", "Deny"],  # a post-back is not for people
        ),
        (
            CardContent("Title", "Sub", "Body", None, (CardField("Sum", "17 €"), CardField("Due"))),
            ["Title", "Sub", "Body", "Sum: 17 €", "Due"],
        ),
        (
            ListContent("Title", (ListItem("One", "body", value="3"), ListItem("Two", "body")), 7),
            ["Title", "One: 3", "Two: body", "… 5 more"],
        ),
        (ListContent("Title", (ListItem("One"),), 1), ["Title", "One"]),
        (
            TimelineContent("Title", (TimelineEntry("Packed", body="In Lisbon"), TimelineEntry("Sent"))),
            ["Title", "Packed: In Lisbon", "Sent"],
        ),
    ],
)
def test_each_kind_in_plain_lines(kind: ContentKind, lines: list[str]) -> None:
    assert derive_fallback_text(kind).split("\n") == lines


@pytest.mark.parametrize(
    ("chars", "cut"),
    [
        (FALLBACK_TEXT_MAX_CHARS - 1, False),
        (FALLBACK_TEXT_MAX_CHARS, False),
        (FALLBACK_TEXT_MAX_CHARS + 1, True),
    ],
)
def test_a_long_text_is_cut(chars: int, cut: bool) -> None:
    text = derive_fallback_text(SimpleContent("x" * chars))
    assert len(text) == min(chars, FALLBACK_TEXT_MAX_CHARS)
    assert text.endswith("…") is cut


def test_who_has_actions() -> None:
    assert actions_of(SimpleContent("Title")) == ()
    assert actions_of(CardContent("Title", actions=(OPEN, DENY))) == (OPEN, DENY)
