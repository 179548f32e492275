"""What a Send is given for a template."""

from typing import Any

import pytest

from tests.support.desk import CODEC
from tests.support.stores import START, TurnedClock
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.content import Content, ContentKind, ListContent, ListItem, SimpleContent
from tocsin_server.domain.errors import TemplateDataInvalid, TemplateNotFound, Violation
from tocsin_server.domain.notification import TemplateRef
from tocsin_server.domain.template import (
    RecipientView,
    RenderFacts,
    TemplateBody,
    TemplateDefinition,
    TemplateElement,
)
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.template_cache import TemplateCache
from tocsin_server.service.templates import RenderedTemplate, Templates
from tocsin_server.store.store import Store

AUTHOR = Principal("default", "key", frozenset(Scope))


@pytest.fixture
def templates(opened_store: Store, turned_clock: TurnedClock) -> Templates:
    renderer = LiquidRenderer()
    cache = TemplateCache(opened_store.templates, renderer, CODEC)
    return Templates(
        opened_store.writer,
        opened_store.templates,
        renderer,
        CODEC,
        PageTokens(b"key"),
        turned_clock,
        cache,
    )


def define(kind: ContentKind, **parts: Any) -> TemplateDefinition:
    return TemplateDefinition((TemplateBody("", Content(kind), **parts),))


async def create(templates: Templates, definition: TemplateDefinition, name: str = "t") -> None:
    await templates.create_version(AUTHOR, "", name, definition, activate=True)


def facts(locale: str = "") -> RenderFacts:
    return RenderFacts(RecipientView("ada", locale))


async def test_a_send_is_given_encoded_content(templates: Templates) -> None:
    await create(templates, define(SimpleContent("{{ data.a }}", "{{ recipient.key }}")))
    shown = await templates.rendered("default", TemplateRef("t", data={"a": "x"}), facts(), START)
    content = Content(SimpleContent("x", "ada"), "x\nada")
    assert shown == RenderedTemplate(1, "", CODEC.encode_content(content), (), personal=True, zoned=False)
    assert CODEC.content(shown.content) == content


async def test_a_preview_is_what_would_be_sent(templates: Templates) -> None:
    await create(templates, define(SimpleContent("{{ data.a }} {{ now }}")))
    ref = TemplateRef("t", 1, {"a": "x"})
    assert await templates.preview(AUTHOR, ref, {}, facts()) == await templates.rendered(
        "default", ref, facts(), START
    )


async def test_what_is_missing_is_named_by_its_place_in_the_request(templates: Templates) -> None:
    await create(templates, define(SimpleContent("{{ data.a }}{{ recipient.attributes.b }}")))
    with pytest.raises(TemplateDataInvalid) as refused:
        await templates.rendered(
            "default", TemplateRef("t"), facts(), START, "items[3].notification.template."
        )
    assert refused.value.violations == [
        Violation("items[3].notification.template.data.a", "is missing"),
        Violation("recipient.attributes.b", "is missing"),
    ]
    assert refused.value.metadata == {"violations": "2", "template": "t", "version": "1"}


async def test_what_comes_out_keeps_the_rules_of_content(templates: Templates) -> None:
    items = ListContent("t", (ListItem("{{ item }}"),))
    await create(templates, define(items, elements=(TemplateElement("list.items[0]", "data.a"),)))
    for given, field in (([], "content.list.items"), (["x" * 300], "content.list.items[0].title")):
        with pytest.raises(TemplateDataInvalid) as refused:
            await templates.rendered("default", TemplateRef("t", data={"a": given}), facts(), START)
        assert [violation.field for violation in refused.value.violations] == [field]


async def test_it_is_told_on_what_a_template_depends(templates: Templates) -> None:
    personal = TemplateBody("de", Content(SimpleContent("{{ recipient.key }}{{ now | date }}")))
    plain = TemplateBody("", Content(SimpleContent("t")))
    await create(templates, TemplateDefinition((plain, personal)))
    assert await templates.depends("default", TemplateRef("t"), "en") == (False, False)
    assert await templates.depends("default", TemplateRef("t"), "de-AT") == (True, True)
    with pytest.raises(TemplateNotFound):
        await templates.depends("acme", TemplateRef("t"), "en")
