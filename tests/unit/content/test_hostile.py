"""Templates that mean harm: each is refused before it takes 100 ms of processor time or 20 MB."""

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.content.source import MAX_MARKUPS
from tocsin_server.domain.content import Content, ListContent, ListItem, SimpleContent
from tocsin_server.domain.errors import TemplateDataInvalid, TemplateInvalid, TemplateLimitExceeded
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.template import RenderFacts, TemplateBody, TemplateChannel, TemplateDefinition

MAX_SECONDS = 0.1
MAX_BYTES = 20_000_000
ATTEMPTS = 3
"""The least of so many is what it takes; the rest is what else the machine does."""

REFUSALS = (TemplateInvalid, TemplateDataInvalid, TemplateLimitExceeded)

DATA: dict[str, Any] = {
    "text": "x" * 60_000,
    "list": list(range(4_900)),
    "words": ["word"] * 4_000,
    "big": 10**14,
    "deep": {"a": {"b": {"c": [1, 2, 3]}}},
    "format": "%" + "Y" * 1_000,
}

DOUBLED = "{% assign a = 'xxxxxxxxxxxxxxxx' %}" + "{% assign a = a | append: a %}" * 60 + "{{ a }}"
LOOPS = "{% for a in data.list %}" * 4 + "x" + "{% endfor %}" * 4
CASES = ("{% case 1 %}{% when " + ", ".join(["1"] * 200) + " %}") * 12 + "x" + "{% endcase %}" * 12

HOSTILE = {
    # Loops: nested, over huge ranges, with huge offsets, backwards.
    "nested loops": LOOPS,
    "loop over a huge range": "{% for i in (1..300000000) %}x{% endfor %}",
    "huge range by a variable": "{% for i in (1..data.big) %}x{% endfor %}",
    "huge offset": "{% for i in (1..300000000) offset: 299999999 %}x{% endfor %}",
    "huge range backwards": "{% for i in (1..300000000) reversed %}x{% endfor %}",
    "empty nested loops": "{% for a in data.list %}{% for b in data.list %}{% endfor %}{% endfor %}",
    "range joined": "{{ (1..300000000) | join }}",
    "range sized": "{{ (1..900000000000000) | size }}",
    # Texts that grow.
    "assign that doubles": DOUBLED,
    "append in a loop": (
        "{% assign a = data.text %}{% for i in data.list %}{% assign a = a | append: a %}{% endfor %}"
    ),
    "chained replace": "{{ 'aaaaaaaaaaaaaaaa'" + " | replace: 'a', 'aaaaaaaaaaaaaaaa'" * 12 + " }}",
    "replace of a large text": "{{ data.text | replace: 'x', data.text }}",
    "join with a large text": "{{ data.words | join: data.text }}",
    "capture that doubles": "{% capture a %}xxxxxxxx{% endcapture %}"
    + "{% capture a %}{{ a }}{{ a }}{% endcapture %}" * 40,
    "prepend in a loop": (
        "{% assign a = 'x' %}{% for i in data.list %}{% assign a = a | prepend: data.text %}{% endfor %}"
    ),
    "escape again and again": "{% assign a = '<' %}" + "{% assign a = a | append: a | escape %}" * 60,
    "percent-encoding again and again": "{% assign a = data.text %}" + "{% assign a = a | url_encode %}" * 60,
    "output in a loop": "{% for i in data.list %}{{ data.text }}{% endfor %}",
    "line breaks": "{% assign a = data.text | split: '' | join: '\n' %}{{ a | newline_to_br | newline_to_br }}",
    # Numbers.
    "products": "{% assign a = 99999999 %}" + "{% assign a = a | times: a %}" * 60 + "{{ a }}",
    "round to a billion digits": "{{ 1.5 | round: 1000000000 }}",
    "huge literal": "{{ " + "9" * 900 + " | times: 2 }}",
    "number out of a long text": "{{ data.text | replace: 'x', '9' | plus: 1 }}",
    "digits of a number": "{{ 1 | number: 1000000000 }}",
    "truncate to a huge length": "{% for i in data.list %}{{ data.text | truncate: 99999999 }}{% endfor %}",
    # Lists.
    "characters as a list": "{{ data.text | split: '' | sort | join }}",
    "lists joined again and again": "{% assign a = data.list %}" + "{% assign a = a | concat: a %}" * 60,
    "sort in a loop": "{% for i in data.list %}{% assign a = data.words | sort_natural %}{% endfor %}",
    "uniq in a loop": "{% for i in data.list %}{% assign a = data.words | uniq %}{% endfor %}",
    "where in a loop": "{% for i in data.list %}{% assign a = data.words | where: 'x' %}{% endfor %}",
    "lists compared in a loop": "{% for i in data.list %}{% if data.list == data.list %}{% endif %}{% endfor %}",
    "looked for in a loop": "{% for i in data.list %}{% if data.text contains 'y' %}{% endif %}{% endfor %}",
    # Syntax.
    "deep blocks": "{% if true %}" * 5_000 + "x" + "{% endif %}" * 5_000,
    "deep paths": "{{ data" + "[data" * 150 + "]" * 150 + " }}",
    "deep ranges": "{{ " + "(1.." * 150 + "2" + ")" * 150 + " }}",
    "long conditions": "{% if " + " and ".join(["true"] * 120) + " %}x{% endif %}",
    "many tags": "{{ data.a }}" * 5_000,
    "spaces without an end": "{{" + " " * 15_000,
    "spaces before an end": "{{" + " " * 15_000 + "}}",
    "a name without an end": "{%" + "a" * 15_000,
    "raw without an end": "{% raw %}" * 1_500,
    "doc without an end": "{% doc %}" * 1_500,
    "braces without an end": "{{ " * 5_000,
    "brackets without an end": "{{ " + '["' * 490 + " }}",
    "parentheses without an end": "{{ " + "(" * 900 + ".. }}",
    "quotes without an end": "{{ " + "\"'" * 490 + " }}",
    # Escapes from the sandbox.
    "include": "{% include 'self' %}",
    "render": "{% render 'self' %}",
    "extends": "{% extends 'self' %}",
    "class of a text": "{{ data.text.__class__.__mro__ }}",
    "globals of a method": "{{ data.deep.items.__globals__ }}",
    "attribute by a bracket": "{{ data['__class__'] }}",
    "method of an object": "{{ data.deep.keys }}",
    "variable of the library": "{{ today }}",
    "unknown filter": "{{ data.text | eval }}",
    "format of a date": "{{ 'now' | date: data.format }}",
    "date of a long text": "{{ data.text | date }}",
    "currency of a long text": "{{ 1 | currency: data.text }}",
    "object that is printed": "{{ data }}",
}


def definition(source: str, **channel: str) -> TemplateDefinition:
    channels = (TemplateChannel(Channel.EMAIL, **channel),) if channel else ()
    return TemplateDefinition((TemplateBody("", Content(SimpleContent("t", source)), channels=channels),))


def render(given: TemplateDefinition) -> None:
    renderer = LiquidRenderer()
    renderer.compiled(renderer.prepared(given)).render(DATA, RenderFacts(), 0)


def refused(given: TemplateDefinition) -> Callable[[], None]:
    def attempt() -> None:
        with pytest.raises(REFUSALS):
            render(given)

    return attempt


def check(attempt: Callable[[], None]) -> None:
    seconds = []
    for _ in range(ATTEMPTS):
        started = time.thread_time()
        attempt()
        seconds.append(time.thread_time() - started)
        if seconds[-1] <= MAX_SECONDS:
            break
    tracemalloc.start()
    try:
        attempt()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert min(seconds) <= MAX_SECONDS
    assert peak <= MAX_BYTES


# What is loaded once, Babel's locale and the library's patterns, is no template's doing.
render(definition("{{ 'now' | date }}{{ 1 | currency: 'EUR' }}"))


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_template_is_refused_in_no_time_and_without_memory(source: str) -> None:
    check(refused(definition(source)))
    check(refused(definition("", html=f"<p>{source}</p>")))


@pytest.mark.parametrize(
    "mjml",
    [
        "<mjml>" + "<mj-body>" * 100_000,
        "<mjml><mj-body>" + "<mj-raw><div>" * 5_000,
        "<mjml><mj-body><mj-include path='/etc/passwd' /></mj-body></mjml>",
        "<mjml><mj-body><mj-text>" + "{{ data.text }}" * 2_000 + "</mj-text></mj-body></mjml>",
        "<mjml",
        "",
    ],
    ids=["deep", "deep HTML", "include", "many tags", "broken", "none"],
)
def test_hostile_mjml_is_refused_too(mjml: str) -> None:
    check(refused(definition("{% unknown %}" if not mjml else "", mjml=mjml or " ")))


def test_many_texts_have_no_more_tags_than_one() -> None:
    items = tuple(ListItem("{{ data.text }}" * 60) for _ in range(100))
    check(refused(TemplateDefinition((TemplateBody("", Content(ListContent("t", items))),))))


def test_what_would_multiply_elsewhere_does_not_here() -> None:
    """In other Liquids a `when` is rendered as often as it matches."""
    renderer = LiquidRenderer()
    compiled = renderer.compiled(renderer.prepared(definition(CASES)))
    assert compiled.render(DATA, RenderFacts(), 0).content == Content(SimpleContent("t", "x"))


def test_as_many_tags_as_are_allowed_are_read_as_fast() -> None:
    check(lambda: render(definition("{{ data.big }}" * MAX_MARKUPS)))


def test_what_is_allowed_at_most_takes_no_longer() -> None:
    """The bounds themselves: as much of everything as a template may do."""
    step = "{% for a in data.list %}{% if a contains 1 or a == 2 or a == 3 %}{{ a }}{% endif %}{% endfor %}"

    def attempt() -> None:
        with pytest.raises(REFUSALS):
            render(definition(step * 100))

    check(attempt)
