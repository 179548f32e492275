"""What templates make of data."""

import zoneinfo
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.content import (
    Action,
    ActionStyle,
    CardContent,
    CardField,
    Content,
    ContentKind,
    ListContent,
    ListItem,
    Media,
    SimpleContent,
    TimelineContent,
    TimelineEntry,
    TimelineEntryState,
)
from tocsin_server.domain.errors import TemplateDataInvalid, TemplateInvalid
from tocsin_server.domain.notification import Actor, Channel
from tocsin_server.domain.template import (
    RecipientView,
    Rendered,
    RenderFacts,
    TemplateBody,
    TemplateChannel,
    TemplateDefinition,
    TemplateElement,
    TemplateValue,
    locale_chain,
)
from tocsin_server.domain.time import HOUR, SECOND, Micros

NOON: Micros = 1_800_014_400_000_000
"""15 January 2027, 12:00 UTC."""

DATA: dict[str, Any] = {
    "name": "Ada",
    "nothing": "",
    "limit": "l",
    "none": None,
    "html": "<b>&",
    "price": 12.5,
    "count": 3,
    "yes": True,
    "no": False,
    "items": [{"name": "b", "n": 2}, {"name": "a", "n": 1.5}, {"name": "C"}],
    "words": ["b", "a", "C", "b"],
    "order": {"number": 17, "lines": {"size": "own"}},
    "key": "number",
}

ADA = RecipientView("ada", "en", "Europe/Lisbon", {"team": "red"})


def define(kind: ContentKind, lenient: bool = False, **parts: Any) -> TemplateDefinition:
    return TemplateDefinition((TemplateBody("", Content(kind), **parts),), lenient)


def render(
    definition: TemplateDefinition, data: dict[str, Any] | None = None, facts: RenderFacts | None = None
) -> Rendered:
    renderer = LiquidRenderer()
    compiled = renderer.compiled(renderer.prepared(definition))
    return compiled.render(DATA if data is None else data, facts or RenderFacts(ADA), NOON)


def text(source: str, locale: str = "en", *, lenient: bool = False, zone: str = "Europe/Lisbon") -> str:
    facts = RenderFacts(RecipientView("ada", locale, zone, {"team": "red"}), "news", Actor("u1", "Bob"))
    kind = render(define(SimpleContent("t", source), lenient), facts=facts).content.kind
    assert isinstance(kind, SimpleContent)
    return kind.body


# --- the language -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        # What is no Liquid stays as it is, spaces and single braces too.
        (" { a } ", " { a } "),
        # Around what is rendered, spaces go.
        (" {{ data.name }} ", "Ada"),
        # Numbers: whole ones without a fraction, others without what binary fractions add.
        ("{{ data.count }}", "3"),
        ("{{ 3.0 }}", "3"),
        ("{{ 0.1 | plus: 0.2 }}", "0.3"),
        ("{{ 0.0000001 }}", "0.0000001"),
        ("{{ data.price | times: 2 }}", "25"),
        # Flags and nothing.
        ("{{ data.yes }}/{{ data.no }}/{{ data.none }}.", "true/false/."),
        # Lists are their items, one after the other.
        ("{{ data.words }}", "baCb"),
        # Paths: by name, by index, by variable; first, last and size.
        ("{{ data.items[0].name }}{{ data['order'][data.key] }}", "b17"),
        ("{{ data.items.first.name }}{{ data.items.last.name }}{{ data.items.size }}", "bC3"),
        ("{{ data.items[-1].name }}{{ data.name.size }}", "C3"),
        # Names that are words of the language stand in brackets.
        ("{{ data['limit'] }}", "l"),
        # An own key goes before size.
        ("{{ data.order.lines.size }}", "own"),
        # What else there is.
        ("{{ recipient.key }} {{ recipient.attributes.team }} {{ actor.name }} {{ category }}", "ada red Bob news"),
        ("{{ now }}", "2027-01-15T12:00:00+00:00"),
        # Conditions: only false and nothing are false.
        ("{% if data.nothing %}y{% else %}n{% endif %}", "y"),
        ("{% if data.none %}y{% elsif data.count > 2 %}e{% else %}n{% endif %}", "e"),
        ("{% unless data.no %}y{% endunless %}", "y"),
        ("{% if data.nothing == empty and data.name != blank %}y{% endif %}", "y"),
        ("{% if data.words contains 'C' or data.x %}y{% endif %}", "y"),
        ("{% if data.name contains 'd' %}y{% endif %}{% if data.order contains 'number' %}y{% endif %}", "yy"),
        ("{% if data.none == nil and data.yes == true and data.count != true %}y{% endif %}", "y"),
        ("{% if data.none > 1 or data.count <= 3 and data.name < 'B' %}y{% endif %}", "y"),
        ("{% case data.count %}{% when 1, 2 %}a{% when 3 or 4 %}b{% else %}c{% endcase %}", "b"),
        ("{% case data.name %}{% when 'x' %}a{% else %}c{% endcase %}", "c"),
        # Loops.
        ("{% for i in data.items %}{{ forloop.index }}{{ i.name }}{% endfor %}", "1b2a3C"),
        ("{% for i in data.words %}{{ i }}{% unless forloop.last %},{% endunless %}{% endfor %}", "b,a,C,b"),
        ("{% for i in (1..5) limit: 2 offset: 1 %}{{ i }}{% endfor %}", "23"),
        ("{% for i in data.words reversed %}{{ i }}{% endfor %}", "bCab"),
        ("{% for i in (1..3) %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "13"),
        ("{% for i in (1..9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "12"),
        ("{% for i in data.none %}{{ i }}{% else %}none{% endfor %}", "none"),
        ("{% for i in data.x %}{{ i }}{% else %}none{% endfor %}", "none"),
        ("{% for i in (1..2) %}{% for i in (3..4) %}{{ i }}{% endfor %}{{ i }}{% endfor %}", "341342"),
        # Assignments hold for their own text.
        ("{% assign a = data.name | upcase %}{{ a }}", "ADA"),
        ("{% capture a %}<{{ data.name }}>{% endcapture %}{{ a }}", "<Ada>"),
        # Comments, raw, echo, and spaces that are eaten.
        ("a{% comment %}{{ x }}{% endcomment %}{% # no %}b", "ab"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{% echo data.name %}", "Ada"),
        ("a {{- data.name -}} b", "aAdab"),
    ],
)  # fmt: skip
def test_the_language(source: str, shown: str) -> None:
    assert text(source) == shown


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ data.name | append: '!' | prepend: '>' }}", ">Ada!"),
        ("{{ 'aBC' | capitalize }}{{ 'aBC' | downcase }}{{ 'ß' | upcase }}", "AbcabcSS"),
        (
            "{{ ' a  b ' | squish }}|{{ ' a ' | lstrip }}|{{ ' a ' | rstrip }}|{{ ' a ' | strip }}",
            "a b|a | a|a",
        ),
        (
            "{{ 'aba' | replace: 'a', 'x' }}{{ 'aba' | replace_first: 'a' }}{{ 'aba' | remove: 'a' }}",
            "xbxbab",
        ),
        ("{{ 'aba' | remove_first: 'a' }}{{ 'aba' | replace: '', 'x' }}", "baaba"),
        (
            "{{ 'abcdef' | truncate: 4 }}{{ 'abcd' | truncate: 4 }}{{ 'abcd' | truncate: 3, '' }}",
            "abc…abcdabc",
        ),
        ("{{ 'a b c' | truncatewords: 2 }}{{ 'a b' | truncatewords: 2, '!' }}", "a b…a b"),
        (
            "{{ 'a,b' | split: ',' | join: '-' }}{{ 'ab' | split: '' | size }}{{ '' | split: ',' | size }}",
            "a-b20",
        ),
        ("{{ 'abcd' | slice: 1, 2 }}{{ 'abcd' | slice: -2 }}{{ data.words | slice: 0, 2 }}", "bccba"),
        ("{{ 'abcd' | slice: -9, 2 }}.", "."),
        ("{{ data.html | escape }}{{ 'a&b/c' | url_encode }}", "&lt;b&gt;&amp;a%26b%2Fc"),
        ("{{ 'a\nb' | newline_to_br }}{{ 'a\nb' | strip_newlines }}", "a<br />\nbab"),
        ("{{ data.x | default: 'd' }}{{ data.nothing | default: 'e' }}{{ 0 | default: 'f' }}", "de0"),
        ("{{ data.no | default: data.name }}", "Ada"),
        ("{{ 7 | divided_by: 2 }}{{ 7 | divided_by: 2.0 }}{{ 7 | modulo: 4 }}{{ 1 | minus: 3 }}", "33.53-2"),
        (
            "{{ 2.5 | round }}{{ 2.345 | round: 2 }}{{ 1.2 | ceil }}{{ 1.8 | floor }}{{ -1 | abs }}",
            "32.35211",
        ),
        ("{{ 1 | at_least: 2 }}{{ 5 | at_most: 2 }}{{ '4' | plus: 1 }}", "225"),
        ("{{ data.items | map: 'name' | join }}{{ data.items | sum: 'n' }}", "b a C3.5"),
        ("{{ data.items | where: 'name', 'a' | map: 'n' }}{{ data.items | where: 'n' | size }}", "1.52"),
        ("{{ data.items | reject: 'n' | map: 'name' }}{{ data.words | uniq | join: '' }}", "CbaC"),
        ("{{ data.words | sort }}{{ data.words | sort_natural }}{{ data.words | reverse }}", "CabbabbCbCab"),
        ("{{ data.items | sort: 'n' | map: 'name' }}{{ data.items | uniq: 'n' | size }}", "abC3"),
        (
            "{{ data.words | first }}{{ data.words | last }}{{ data.words | concat: data.words | size }}",
            "bb8",
        ),
        ("{{ data.items | map: 'n' | compact | size }}", "2"),
    ],
)
def test_filters(source: str, shown: str) -> None:
    assert text(source) == shown


@pytest.mark.parametrize(
    ("source", "locale", "shown"),
    [
        ("{{ '2027-01-15' | date }}", "en", "Jan 15, 2027"),
        ("{{ '2027-01-15' | date: 'long' }}", "pt-BR", "15 de janeiro de 2027"),
        ("{{ '2027-01-15' | date: 'MMMd' }}", "de", "15. Jan."),
        # In the recipient's zone: Lisbon is one hour ahead in summer.
        ("{{ '2027-07-15T12:00:00Z' | time }}", "de", "13:00"),
        ("{{ 1800014400 | datetime: 'short' }}", "de", "15.01.27, 12:00"),
        ("{{ '2027-07-15T23:30:00Z' | date }}", "de", "16.07.2027"),
        # A time without an offset is the recipient's own.
        ("{{ '2027-07-15T12:00' | time }}", "de", "12:00"),
        ("{{ 'now' | date: 'short' }}", "de", "15.01.27"),
        ("{{ now | time }}", "de", "12:00"),
        ("{{ 1234567.891 | number }}", "de", "1.234.567,891"),
        ("{{ 1234567 | number: 2 }}", "hi", "12,34,567.00"),
        ("{{ 0.256 | percent }}/{{ 0.256 | percent: 1 }}", "en", "26%/25.6%"),
        ("{{ 12.5 | currency: 'EUR' }}", "de", "12,50\xa0€"),
        ("{{ 12.5 | currency: 'JPY' }}", "en", "¥12"),
        # What was written is kept by locale, currency and digits: nothing takes another's place.
        (
            "{{ 12.5 | currency: 'EUR' }} {{ 12.5 | currency: 'USD' }} {{ 12.5 | number }}",
            "en",
            "€12.50 $12.50 12.5",
        ),
        (
            "{{ 0.5 | number }} {{ 0.5 | percent }} {{ 0.5 | percent: 1 }} {{ 0.5 | number: 1 }}",
            "de",
            "0,5 50\xa0% 50,0\xa0% 0,5",
        ),
        ("{{ 0.0 | number }} {{ '-0.0' | number }} {{ 0 | number }}", "en", "0 0 0"),
        ("{{ 1 | plural: one: '# item', other: '# items' }}", "en", "1 item"),
        ("{{ 1200 | plural: one: '# item', other: '# items' }}", "en", "1,200 items"),
        ("{{ 3 | plural: one: 'a', few: 'b', many: 'c', other: 'd' }}", "pl", "b"),
        # A locale that nobody knows is shortened, then English.
        ("{{ 1.5 | number }}", "de-XX-private", "1,5"),
        ("{{ 1.5 | number }}", "xx", "1.5"),
    ],
)
def test_locales(source: str, locale: str, shown: str) -> None:
    assert text(source, locale) == shown


def test_a_zone_is_what_it_is_everywhere_whatever_the_machine_takes_it_for(tmp_path: Path) -> None:
    """As for quiet hours: two replicas write the same time."""
    (tmp_path / "Pacific").mkdir()
    utc = resources.files("tzdata.zoneinfo").joinpath("UTC").read_bytes()
    (tmp_path / "Pacific" / "Kiritimati").write_bytes(utc)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath((str(tmp_path),))
    try:
        assert text("{{ '2027-07-15T01:00:00Z' | time }}", "de", zone="Pacific/Kiritimati") == "15:00"
    finally:
        zoneinfo.reset_tzpath(before)


@pytest.mark.parametrize(
    ("source", "zone", "shown"),
    [
        # Clocks go from 1:59 to 3:00.
        ("{{ '2027-03-28T02:30' | time }}", "Europe/Berlin", "03:00"),
        # They show it twice.
        ("{{ '2027-10-31T02:30' | time }}", "Europe/Berlin", "02:30"),
        # They are put forward at midnight, so that the day begins an hour later.
        ("{{ '2018-11-04' | datetime: 'short' }}", "America/Sao_Paulo", "04.11.18, 01:00"),
    ],
)
def test_a_time_that_clocks_skip_is_the_first_after_the_gap(source: str, zone: str, shown: str) -> None:
    assert text(source, "de", zone=zone) == shown


@pytest.mark.parametrize("zone", ["", "Nowhere/At-All", "../etc/passwd"])
def test_a_zone_that_there_is_none_of_is_utc(zone: str) -> None:
    assert text("{{ '2027-07-15T12:00:00Z' | time }}", "de", zone=zone) == "12:00"


# --- what is missing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("{{ data.x }}", ["data.x"]),
        # All of them, each once, in their order.
        ("{{ data.x.y }}{{ data.z }}{{ data.x.y }}{{ attributes.age }}", ["data.x.y", "data.z", "attributes.age"]),
        # Through filters and assignments, as arguments too.
        ("{{ data.x | upcase | append: data.y | number }}", ["data.x", "data.y"]),
        ("{% assign a = data.x %}{{ a }}", ["data.x"]),
        ("{{ data.name | append: data.y }}", ["data.y"]),
        # Below what is nothing, or no object.
        ("{{ data.none.x }}{{ data.name.x }}", ["data.none.x", "data.name.x"]),
        ("{{ data.items[7].name }}", ["data.items[7].name"]),
        # Items are called by their list.
        ("{% for i in data.items %}{{ i.n }}{% endfor %}", ["data.items[].n"]),
        # What is gone through would have been printed.
        ("{% for i in data.x %}{{ i }}{% endfor %}", ["data.x"]),
        # Without an `else`.
        ("{% if data.x %}{% endif %}{% if data.x == nil %}{{ data.y }}{% endif %}", ["data.y"]),
    ],
)  # fmt: skip
def test_what_would_be_printed_is_named(source: str, missing: list[str]) -> None:
    with pytest.raises(TemplateDataInvalid) as refused:
        text(source)
    assert [violation.field for violation in refused.value.violations] == missing
    # The same template, lenient.
    assert text(source, lenient=True) in ("", "Ada", "21.5")


def test_a_default_stands_in_for_what_is_missing() -> None:
    assert text("{{ data.x.y | default: 'none' | upcase }}") == "NONE"


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("a\n{{ name }}", "line 2: unknown variable `name`; what a sender gives is in `data`: `data.name`"),
        ("{{ data.a | shout }}", "line 1: unknown filter `shout`"),
        ("{{ data.a | append }}", "line 1: filter `append` takes 1 arguments, not 0"),
        ("{{ data.a | truncate: 1, 2, 3 }}", "line 1: filter `truncate` takes 0 to 2 arguments, not 3"),
        ("{{ data.a | plural: dozen: 'x' }}", "line 1: filter `plural` has no `dozen`"),
        ("{% assign data = 1 %}", "line 1: `data` cannot be assigned"),
        ("{% for data in data.a %}{% endfor %}", "line 1: `data` cannot be a loop's variable"),
        ("{% break %}", "line 1: `break` and `continue` stand in a `for`"),
        ("{{ data.a", "line 1: `{{` is not closed within 1000 characters"),
        ("{% tablerow a in b %}{% endtablerow %}", "line 1: unexpected tag 'tablerow'"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(source: str, said: str) -> None:
    with pytest.raises(TemplateInvalid) as refused:
        text(source)
    (violation,) = refused.value.violations
    assert (violation.field, violation.description) == ("bodies[0].content.simple.body", said)


@pytest.mark.parametrize(
    "source",
    [
        "{{ data }}",
        "{{ data.items }}",
        "{{ data.name | plus: 1 }}",
        "{{ 1 | divided_by: 0 }}{{ 1 | modulo: 0 }}",
        "{{ data.name | join }}",
        "{% if data.name < 1 %}{% endif %}",
        "{% for i in data.name %}{% endfor %}",
        "{{ data.items | sort }}",
        "{{ data.items | uniq }}",
        "{{ 'soon' | date }}",
        "{{ '2027-01-15' | date: 'yesterday' }}",
        "{{ 1 | currency: 'euro' }}",
        "{{ 1 | plural: one: 'x' | append: data.count }}{{ 2 | plural: one: 'x' }}",
        "{{ 999999999999999 | times: 10 }}",
        "{{ 1 | round: 11 }}",
        "{{ 99999999999999 | date }}",
    ],
)
def test_what_data_do_not_fit_is_said_with_its_field(source: str) -> None:
    with pytest.raises(TemplateDataInvalid) as refused:
        text(source)
    assert [violation.field for violation in refused.value.violations] == ["content.simple.body"]


# --- contents ---------------------------------------------------------------------------------------------------------


def test_an_element_appears_once_for_each_item() -> None:
    kind = ListContent(
        "{{ data.items.size }} items",
        (
            ListItem("First"),
            ListItem("{{ forloop.index }}. {{ item.name }}", image=Media("https://x.example/{{ item.name }}.png")),
            ListItem("{{ one.name }}", url="{{ data.x }}"),
        ),
    )  # fmt: skip
    elements = (
        TemplateElement("list.items[1]", "data.items | where: 'n'"),
        TemplateElement("list.items[2]", "data.items", "one", when="one.n > 9"),
    )
    values = (TemplateValue("list.total_count", "{{ data.items.size | plus: 1 }}"),)
    shown = render(define(kind, elements=elements, values=values)).content.kind
    assert shown == ListContent(
        "3 items",
        (
            ListItem("First"),
            ListItem("1. b", image=Media("https://x.example/b.png")),
            ListItem("2. a", image=Media("https://x.example/a.png")),
        ),
        4,
    )


def test_elements_are_limited_and_left_out() -> None:
    kind = CardContent(
        "t",
        fields=(CardField("{{ item }}"),),
        actions=(Action("a{{ item }}", "Open", "{{ data.url }}"), Action("b", "b", post_back="x")),
    )
    elements = (
        TemplateElement("card.fields[0]", "(1..99)", limit=2),
        TemplateElement("card.actions[0]", "(1..99)"),
        TemplateElement("card.actions[1]", when="data.name == 'Bob'"),
    )
    shown = render(define(kind, elements=elements), DATA | {"url": "app:x"}).content.kind
    assert isinstance(shown, CardContent)
    assert [field.label for field in shown.fields] == ["1", "2"]
    assert [action.id for action in shown.actions] == [f"a{number}" for number in range(1, 11)]


def test_fields_that_are_no_text_are_told_as_text() -> None:
    kind = TimelineContent(
        "t",
        (TimelineEntry("{{ item.t }}", time=NOON, state=TimelineEntryState.DONE),),
        (Action("a", "A", "app:x"),),
    )
    definition = define(
        kind,
        elements=(TemplateElement("timeline.entries[0]", "data.steps"),),
        values=(
            TemplateValue("timeline.entries[0].time", "{{ item.at }}"),
            TemplateValue("timeline.entries[0].state", "{{ item.state }}"),
            TemplateValue("timeline.actions[0].style", "danger"),
        ),
    )
    steps = [
        {"t": "a", "at": "2027-01-15T12:00:01Z", "state": "active"},
        {"t": "b", "at": 1_800_014_401, "state": "FAILED"},
        {"t": "c", "at": "2027-07-15", "state": ""},
        # Nothing: what the content says.
        {"t": "d", "at": None, "state": None},
    ]
    shown = render(definition, {"steps": steps}).content.kind
    assert shown == TimelineContent(
        "t",
        (
            TimelineEntry("a", NOON + SECOND, state=TimelineEntryState.ACTIVE),
            TimelineEntry("b", NOON + SECOND, state=TimelineEntryState.FAILED),
            # Midnight of the recipient's zone, which is summer time in July.
            TimelineEntry("c", NOON + 181 * 24 * HOUR - 13 * HOUR, state=TimelineEntryState.DONE),
            TimelineEntry("d", NOON, state=TimelineEntryState.DONE),
        ),
        (Action("a", "A", "app:x", style=ActionStyle.DANGER),),
    )
    for wrong in ({"at": "soon"}, {"state": "over"}):
        with pytest.raises(TemplateDataInvalid) as refused:
            render(definition, {"steps": [{"t": "a", "at": 0, "state": "", **wrong}]})
        field = "time" if "at" in wrong else "state"
        assert refused.value.violations[0].field == f"content.timeline.entries[0].{field}"


@pytest.mark.parametrize(
    "parts",
    [
        {"elements": (TemplateElement("list.items[1]", "data.a"),)},
        {"elements": (TemplateElement("card.fields[0]", "data.a"),)},
        {"elements": (TemplateElement("list.items[0]", "data.a }}{{ data.b"),)},
        {"elements": (TemplateElement("list.items[0]", when="true %}{% endif %}{% if true"),)},
        {"elements": (TemplateElement("list.items[0]", "data.a", "data"),)},
        {"elements": (TemplateElement("list.items[0]", "x"),)},
        {"values": (TemplateValue("list.items[0].title", "x"),)},
        {"values": (TemplateValue("list.count", "1"),)},
    ],
)
def test_rules_that_fit_nothing_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(TemplateInvalid):
        LiquidRenderer().prepared(define(ListContent("t", (ListItem("i"),)), **parts))


def test_texts_do_not_see_each_others_assignments() -> None:
    with pytest.raises(TemplateInvalid):
        render(define(SimpleContent("{% assign a = 1 %}t", "{{ a }}")))


# --- channels ---------------------------------------------------------------------------------------------------------


def channel(channel: Channel = Channel.EMAIL, **parts: str) -> ChannelBody:
    body = TemplateChannel(channel, **parts)
    (shown,) = render(define(SimpleContent("t"), channels=(body,))).bodies
    return shown


def test_what_is_printed_is_escaped_for_where_it_goes() -> None:
    assert channel(html="<p title='{{ data.html }}'>{{ data.html }}</p>").html == (
        "<p title='&lt;b&gt;&amp;'>&lt;b&gt;&amp;</p>"
    )
    # Once is enough.
    assert channel(html="{{ data.html | escape }}").html == "&lt;b&gt;&amp;"
    assert channel(html="{% capture a %}<i>{{ data.html }}</i>{% endcapture %}{{ a }}").html == (
        "<i>&lt;b&gt;&amp;</i>"
    )
    assert channel(html="{{ '<\n>' | newline_to_br }}").html == "&lt;<br />\n&gt;"
    assert channel(Channel.SMS, text="{{ data.html }}").text == "<b>&"


def test_headers_are_one_line() -> None:
    assert channel(subject="Hi\r\nBcc: {{ 'a\nb\u2028c' }}").subject == "Hi Bcc: a b c"
    assert channel(Channel.PUSH, title="a\n{{ data.name }}").title == "a Ada"
    with pytest.raises(TemplateDataInvalid):
        channel(subject="{% for i in (1..300) %}x{% endfor %}")


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JaVa\tScript:alert(1)",
        " \x01javascript:alert(1)",
        "&#106;avascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
    ],
)
def test_links_that_run_something_are_refused(link: str) -> None:
    for html in (f'<a href="{link}">x</a>', f"<img src='{link}'>", f'<a HREF = "{link}">x</a>'):
        with pytest.raises(TemplateDataInvalid) as refused:
            channel(html=html)
        assert refused.value.violations[0].field == "channels[0].html"
    body = TemplateChannel(Channel.EMAIL, html='<a href="{{ data.link }}">x</a>')
    definition = define(SimpleContent("t"), channels=(body,))
    assert render(definition, {"link": "https://x.example/?a=1&b=2"}).bodies
    if not link.startswith("&"):
        with pytest.raises(TemplateDataInvalid):
            render(definition, {"link": link})


@pytest.mark.parametrize(
    "html",
    [
        "<script>x</script>",
        "<p onclick='x'>",
        "<iframe src='https://x'></iframe>",
        "<a href={{ data.name }}>x</a>",
        "<a href=x{{ data.name }}>x</a>",
        "<a href={% if data.yes %}{{ data.name }}{% endif %}>x</a>",
        "<a href={% echo data.name %}>x</a>",
        "<a title='x'\n{{ data.name }}>x</a>",
        "<{{ data.name }}>",
        "<scr{% if data.yes %}ipt{% endif %}>x</script>",
    ],
)
def test_html_that_no_mail_may_hold_is_refused(html: str) -> None:
    with pytest.raises(TemplateInvalid):
        channel(html=html)


@pytest.mark.parametrize(
    "html",
    [
        "<!-- {{ data.name }} --><p {% if data.yes %}class='{{ data.name }}'{% endif %}>{{ data.name }}</p>",
        "1 < {{ data.count }}, <b title=\"it's {{ data.name }}\">and '{{ data.name }}</b>",
    ],
)
def test_what_stands_in_text_or_in_quotes_may_be_printed(html: str) -> None:
    assert "Ada" in channel(html=html).html


# --- locales and what a template depends on ---------------------------------------------------------------------------


def test_a_locale_is_shortened() -> None:
    assert list(locale_chain("zh-Hant-TW")) == ["zh-hant-tw", "zh-hant", "zh", ""]
    assert list(locale_chain("")) == [""]


def test_without_a_body_for_everyone_some_are_refused() -> None:
    definition = TemplateDefinition((TemplateBody("de", Content(SimpleContent("t"))),))
    with pytest.raises(TemplateDataInvalid):
        render(definition)
    assert render(definition, facts=RenderFacts(RecipientView("ada", "de-AT"))).locale == "de"


@pytest.mark.parametrize(
    ("source", "personal", "zoned"),
    [
        ("{{ data.name }}", False, False),
        ("{{ recipient.key }}", True, False),
        ("{% if recipient.attributes.team == 'red' %}x{% endif %}", True, False),
        ("{% assign a = recipient %}{{ a.key }}", True, False),
        ("{{ data.name | append: recipient.key }}", True, False),
        ("{{ data.at | date }}", False, True),
        ("{{ data.n | number }}", False, False),
    ],
)
def test_it_is_known_on_what_a_template_depends(source: str, personal: bool, zoned: bool) -> None:
    renderer = LiquidRenderer()
    plain = TemplateBody("de", Content(SimpleContent("t")))
    definition = TemplateDefinition((*define(SimpleContent("t", source)).bodies, plain))
    compiled = renderer.compiled(renderer.prepared(definition))
    assert (compiled.personal("en"), compiled.zoned("en")) == (personal, zoned)
    assert (compiled.personal("de"), compiled.zoned("de-AT")) == (False, False)
