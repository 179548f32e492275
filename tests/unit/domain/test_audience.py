"""Filters: what they say, how they are understood, and how they are not."""

import pytest

from tocsin_server.domain.audience import (
    MAX_DEPTH,
    MAX_FILTER_CHARS,
    And,
    Comparator,
    Comparison,
    Field,
    FieldName,
    Filter,
    Not,
    Or,
    Presence,
    matches,
    parse_filter,
)
from tocsin_server.domain.errors import FilterInvalid
from tocsin_server.domain.recipient import Profile


def attribute(name: str) -> Field:
    return Field(FieldName.ATTRIBUTES, name)


def plan(value: str | float, comparator: str = "=") -> Comparison:
    return Comparison(attribute("plan"), Comparator(comparator), value)


LOCALE = Field(FieldName.LOCALE)
PT = Comparison(LOCALE, Comparator.EQUAL, "pt")
DE = Comparison(LOCALE, Comparator.EQUAL, "de")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A text in either quotes, or a word.
        ('attributes.plan = "pro"', plan("pro")),
        ("attributes.plan='pro'", plan("pro")),
        ("attributes.plan=pro", plan("pro")),
        # Escapes, and quotes of the other kind.
        (r'attributes.plan = "a\"b\\c' + "'" + '"', plan("a\"b\\c'")),
        # A number, unless it is in quotes.
        ("attributes.plan > 5", plan(5.0, ">")),
        ("attributes.plan <= -1.50", plan(-1.5, "<=")),
        ('attributes.plan = "5"', plan("5")),
        ("attributes.plan = 05", plan("05")),
        # Every comparator; the colon with a value is equality.
        ("attributes.plan != 1", plan(1.0, "!=")),
        ("attributes.plan < b", plan("b", "<")),
        ("attributes.plan >= b", plan("b", ">=")),
        ("attributes.plan:pro", plan("pro")),
        # Names of attributes that are no words.
        ('attributes."a b.c" = x', Comparison(attribute("a b.c"), Comparator.EQUAL, "x")),
        ("attributes.sign-up = x", Comparison(attribute("sign-up"), Comparator.EQUAL, "x")),
        # Whether there is one.
        ("attributes:plan", Presence(attribute("plan"))),
        ("attributes.plan:*", Presence(attribute("plan"))),
        ('attributes: "a b"', Presence(attribute("a b"))),
        ("locale:*", Presence(LOCALE)),
        # The other fields.
        ("locale = pt-BR", Comparison(LOCALE, Comparator.EQUAL, "pt-BR")),
        (
            "time_zone = Europe/Lisbon",
            Comparison(Field(FieldName.TIME_ZONE), Comparator.EQUAL, "Europe/Lisbon"),
        ),
        ("recipient < m", Comparison(Field(FieldName.RECIPIENT), Comparator.LESS, "m")),
        # OR binds tighter than AND, and NOT tightest.
        ("locale=pt AND locale=de OR attributes.plan=1", And((PT, Or((DE, plan(1.0)))))),
        ("locale=pt OR locale=de AND attributes.plan=1", And((Or((PT, DE)), plan(1.0)))),
        ("(locale=pt AND locale=de) OR attributes.plan=1", Or((And((PT, DE)), plan(1.0)))),
        ("NOT locale=pt OR locale=de", Or((Not(PT), DE))),
        ("-locale=pt AND -(locale=de)", And((Not(PT), Not(DE)))),
        ("NOT NOT locale=pt", Not(Not(PT))),
        # As many of one kind as there are.
        ("locale=pt AND locale=de AND locale=pt", And((PT, DE, PT))),
        # Spaces anywhere, and lines.
        (" ( locale\n=\tpt ) ", PT),
    ],
)
def test_a_filter_is_understood(text: str, expected: Filter) -> None:
    assert parse_filter(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 0, "a field"),
        ("   ", 3, "a field"),
        # Not a field; a bare text, which other filters search for; a keyword in small letters.
        ("plan = pro", 0, "a field"),
        ('"pro"', 0, "a field"),
        ("locale=pt and locale=de", 10, "AND, OR or the end"),
        ("locale=pt locale=de", 10, "AND, OR or the end"),
        # Fields without the rest.
        ("locale", 6, "one of ="),
        ("attributes = 1", 11, "a point or colon"),
        ("attributes. = 1", 11, "the name of an attribute"),
        ('attributes."" = 1', 13, "the name of an attribute"),
        ("locale.x = 1", 6, "one of ="),
        # No value.
        ("locale =", 8, "a text or a number"),
        ("locale = AND locale=pt", 9, "a text or a number"),
        ("locale == pt", 8, "a text or a number"),
        ("locale = (pt)", 9, "a text or a number"),
        ('locale = "pt', 9, "a closing quote"),
        (r'locale = "pt\"', 9, "a closing quote"),
        ("attributes.n = 1234567890123456", 15, "a number of up to 15 characters"),
        # Nothing to join.
        ("locale=pt AND", 13, "a field"),
        ("OR locale=pt", 0, "a field"),
        ("NOT", 3, "a field"),
        # Parentheses.
        ("(locale=pt", 10, "AND, OR or a closing parenthesis"),
        ("locale=pt)", 9, "AND, OR or the end"),
        ("()", 1, "a field"),
        # What would be SQL elsewhere.
        ("locale=pt; DROP TABLE recipients", 11, "AND, OR or the end"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, position: int, expected: str) -> None:
    with pytest.raises(FilterInvalid) as refused:
        parse_filter(text)
    assert refused.value.metadata["position"] == str(position)
    assert refused.value.metadata["expected"].startswith(expected)
    assert f"position {position}" in refused.value.message


def test_a_filter_is_bounded() -> None:
    parse_filter("(" * (MAX_DEPTH - 1) + "locale=pt" + ")" * (MAX_DEPTH - 1))
    for text in ("(" * MAX_DEPTH + "locale=pt" + ")" * MAX_DEPTH, "-" * 2_000 + "locale=pt"):
        with pytest.raises(FilterInvalid, match=f"at most {MAX_DEPTH}"):
            parse_filter(text)
    longest = "locale=" + "x" * (MAX_FILTER_CHARS - 7)
    parse_filter(longest)
    with pytest.raises(FilterInvalid, match="its end"):
        parse_filter(longest + "x")
    # Many of one kind are not deep.
    parse_filter(" OR ".join(["locale=pt"] * 150))


ADA = Profile("pt-BR", "Europe/Lisbon", {"plan": "pro", "seats": "12", "empty": "", "version": "01"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("attributes.plan = pro", True),
        ("attributes.plan != pro", False),
        ("attributes.plan > pri AND attributes.plan < prp", True),
        # By numbers, where both are: as texts, 12 is less than 5.
        ("attributes.seats > 5", True),
        ('attributes.seats > "5"', False),
        ("attributes.seats = 12.0", True),
        ("attributes.plan < 5 OR attributes.plan >= 5", False),
        ("attributes.version = 1", False),
        # What is not there equals nothing, and is not there.
        ("attributes.city = x OR attributes.city < x OR attributes.city >= x", False),
        ("attributes.city != x", True),
        ("attributes.city != 1 AND attributes.plan != 1", True),
        ("NOT attributes.city = x", True),
        ("attributes:city", False),
        # What is empty is there.
        ("attributes:empty AND attributes.empty = ''", True),
        ("locale = pt-BR AND time_zone = 'Europe/Lisbon' AND recipient = ada", True),
        ("locale:* AND NOT recipient = bob", True),
    ],
)
def test_a_filter_names_recipients(text: str, expected: bool) -> None:
    assert matches(parse_filter(text), "ada", ADA) is expected


def test_an_empty_locale_is_not_there() -> None:
    assert not matches(parse_filter("locale:* OR time_zone:* OR locale = ''"), "ada", Profile())
