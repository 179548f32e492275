"""What docs/templates.md says of the language is so."""

import re
from pathlib import Path

import pytest

from tocsin_server.content import run, source
from tocsin_server.content.filters import FILTERS
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain import template
from tocsin_server.domain.content import Content, SimpleContent
from tocsin_server.domain.template import RecipientView, RenderFacts, TemplateBody, TemplateDefinition

PAGE = (Path(__file__).parents[3] / "docs" / "templates.md").read_text(encoding="utf-8")

EXAMPLES = [
    (written.replace("\\|", "|"), shown.replace("\\|", "|"))
    for line in re.findall(r"^\| (`\{\{.*) \|$", PAGE, re.MULTILINE)
    for written, shown in [re.split(r" \| ", line)]
]


@pytest.mark.parametrize(("written", "shown"), EXAMPLES)
def test_examples_show_what_is_said(written: str, shown: str) -> None:
    sources = " and ".join(re.findall(r"`([^`]+)`", written))
    renderer = LiquidRenderer()
    definition = TemplateDefinition((TemplateBody("", Content(SimpleContent(sources))),))
    facts = RenderFacts(RecipientView("ada", "de", "Europe/Berlin"))
    rendered = renderer.compiled(renderer.prepared(definition)).render({}, facts, 0)
    assert rendered.content.kind == SimpleContent(shown.replace(" %", "\xa0%").replace(" €", "\xa0€"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5


def test_every_filter_is_listed() -> None:
    section = PAGE.partition("| filters | |")[2].partition("| example |")[0]
    assert sorted(re.findall(r"`(\w+)`", section)) == sorted(FILTERS)


def test_the_limits_are_those_that_hold() -> None:
    limits = PAGE.partition("## Limits")[2]
    for number in (
        source.MAX_MARKUPS,
        source.MAX_MARKUP_CHARS,
        source.MAX_NESTING,
        run.MAX_STEPS,
        run.MAX_CHARS,
        run.MAX_TEXT_CHARS,
        run.MAX_LIST_ITEMS,
        template.MAX_TEMPLATES,
        template.MAX_VERSIONS,
        template.MAX_DEFINITION_BYTES >> 10,
    ):
        assert f"{number:,} " in limits
