"""Templates: versions that never change, activation, previews."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from tests.contract.conftest import Refusal, Tocsin, reason, refused
from tocsin.v1 import notification_pb2 as notification
from tocsin.v1 import recipient_service_pb2 as recipients
from tocsin.v1 import template_service_pb2 as pb
from tocsin.v1 import tenant_service_pb2 as tenants

GREETING = {"content": {"simple": {"title": "Hello {{ data.name }}"}}}


def definition(*bodies: dict[str, Any], lenient: bool = False) -> pb.TemplateDefinition:
    return ParseDict({"bodies": list(bodies or (GREETING,)), "lenient": lenient}, pb.TemplateDefinition())


def struct(data: dict[str, Any]) -> Struct:
    result = Struct()
    result.update(data)
    return result


class Author:
    """Somebody who writes templates."""

    def __init__(self, tocsin: Tocsin) -> None:
        self.stub = tocsin.templates

    async def create(
        self, *bodies: dict[str, Any], name: str = "greeting", activate: bool = True, request_id: str = ""
    ) -> pb.CreateTemplateVersionResponse:
        request = pb.CreateTemplateVersionRequest(
            request_id=request_id, name=name, definition=definition(*bodies), activate=activate
        )
        return await self.stub.CreateTemplateVersion(request)

    async def activate(self, version: int, name: str = "greeting", **fields: Any) -> pb.Template:
        request = pb.ActivateTemplateVersionRequest(name=name, version=version, **fields)
        return (await self.stub.ActivateTemplateVersion(request)).template

    async def got(self, name: str = "greeting", version: int = 0) -> pb.GetTemplateResponse:
        return await self.stub.GetTemplate(pb.GetTemplateRequest(name=name, version=version))

    async def render(
        self, data: dict[str, Any] | None = None, name: str = "greeting", version: int = 0, **fields: Any
    ) -> pb.RenderTemplateResponse:
        ref = notification.TemplateRef(name=name, version=version, data=struct(data or {}))
        return await self.stub.RenderTemplate(pb.RenderTemplateRequest(template=ref, **fields))

    async def title(self, data: dict[str, Any] | None = None, **fields: Any) -> str:
        return (await self.render({"name": "Ada"} if data is None else data, **fields)).content.simple.title


@pytest.fixture
def author(tocsin: Tocsin) -> Author:
    return Author(tocsin)


# --- versions ---------------------------------------------------------------------------------------------------------


async def test_versions_are_numbered_and_never_change(author: Author) -> None:
    first = await author.create(activate=False)
    assert (first.version, first.template.active_version, first.template.latest_version) == (1, 0, 1)
    second = await author.create({"content": {"simple": {"title": "Good day"}}})
    assert (second.version, second.template.active_version, second.template.latest_version) == (2, 2, 2)
    found = await author.got()
    assert found.template == second.template
    assert [one.version for one in found.versions] == [2, 1]
    assert found.version.version == 2
    assert (await author.got(version=1)).version.definition == definition()


async def test_the_newest_version_is_shown_where_none_is_active(author: Author) -> None:
    await author.create(activate=False)
    await author.create({"content": {"simple": {"title": "Good day"}}}, activate=False)
    assert (await author.got()).version.version == 2


async def test_the_active_version_is_the_one_that_is_rendered(author: Author) -> None:
    await author.create()
    await author.create({"content": {"simple": {"title": "Good day"}}}, activate=False)
    assert await author.title() == "Hello Ada"
    assert await author.title(version=2) == "Good day"
    assert (await author.activate(2)).active_version == 2
    assert await author.title() == "Good day"
    assert (await author.activate(1)).active_version == 1
    assert await author.title() == "Hello Ada"


async def test_a_repeated_request_gets_its_first_answer(author: Author) -> None:
    first = await author.create(request_id="r")
    again = await author.create(request_id="r")
    assert again.replayed
    assert (again.template, again.version) == (first.template, first.version)
    assert (await author.got()).template.latest_version == 1
    other = author.create({"content": {"simple": {"title": "x"}}}, request_id="r")
    assert await reason(other) == "REQUEST_ID_REUSED"
    await author.activate(1, request_id="a")
    assert await reason(author.activate(2, request_id="a")) == "REQUEST_ID_REUSED"


async def test_templates_are_listed_by_name(author: Author) -> None:
    for name in ("b", "a", "c"):
        await author.create(name=name)
    first = await author.stub.ListTemplates(pb.ListTemplatesRequest(page_size=2))
    rest = await author.stub.ListTemplates(
        pb.ListTemplatesRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [one.name for page in (first, rest) for one in page.templates] == ["a", "b", "c"]
    assert rest.next_page_token == ""
    assert await reason(author.stub.ListTemplates(pb.ListTemplatesRequest(page_token="x"))) == (
        "PAGE_TOKEN_INVALID"
    )


async def test_what_does_not_exist_is_not_found(author: Author) -> None:
    missing = Refusal("NOT_FOUND", "TEMPLATE_NOT_FOUND", {"template": "greeting"}, [])
    for call in (author.got(), author.activate(1), author.render()):
        assert await refused(call) == missing
    await author.create(activate=False)
    # It exists, but there is nothing that would be sent.
    assert await refused(author.render()) == missing
    for call in (author.got(version=2), author.activate(2), author.render(version=2)):
        assert await refused(call) == Refusal(
            "NOT_FOUND", "TEMPLATE_VERSION_NOT_FOUND", {"template": "greeting", "version": "2"}, []
        )


async def test_tenants_have_templates_of_their_own(author: Author, tocsin: Tocsin) -> None:
    operator = await tocsin.create_key("admin", "operator")
    await tocsin.tenants.CreateTenant(tenants.CreateTenantRequest(tenant="acme"), metadata=operator.metadata)
    acme = await tocsin.create_key("admin", tenant="acme", metadata=operator.metadata)
    request = pb.CreateTemplateVersionRequest(name="greeting", definition=definition())
    await tocsin.templates.CreateTemplateVersion(request, metadata=acme.metadata)
    asked = pb.GetTemplateRequest(name="greeting")
    assert (await tocsin.templates.GetTemplate(asked, metadata=acme.metadata)).template.name == "greeting"
    assert (
        await reason(tocsin.templates.GetTemplate(asked, metadata=operator.metadata)) == "TEMPLATE_NOT_FOUND"
    )


async def test_scopes_are_asked_for(tocsin: Tocsin) -> None:
    admin = await tocsin.create_key("admin")
    sender = await tocsin.create_key("send", metadata=admin.metadata)
    create = pb.CreateTemplateVersionRequest(name="t", definition=definition())
    assert (
        await reason(tocsin.templates.CreateTemplateVersion(create, metadata=sender.metadata))
        == "SCOPE_MISSING"
    )
    activate = pb.ActivateTemplateVersionRequest(name="t", version=1)
    assert (
        await reason(tocsin.templates.ActivateTemplateVersion(activate, metadata=sender.metadata))
        == "SCOPE_MISSING"
    )
    await tocsin.templates.ListTemplates(pb.ListTemplatesRequest(), metadata=sender.metadata)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bodies", "field"),
    [
        ([], "definition.bodies"),
        # No kind of content.
        ([{}], "definition.bodies[0].content"),
        ([{"locale": "x y", **GREETING}], "definition.bodies[0].locale"),
        ([{**GREETING, "channels": [{"channel": 1}]}], "definition.bodies[0].channels[0].channel"),
        ([{**GREETING, "elements": [{"path": "items"}]}], "definition.bodies[0].elements[0].path"),
        # Numbers that an enum has no name for would be lost.
        (
            [{"content": {"card": {"title": "t", "actions": [{"id": "a", "label": "a", "style": 77}]}}}],
            "definition.bodies[0].content.card.actions[0].style",
        ),
        (
            [{"content": {"interactive": {"title": "t", "inputs": [{"name": "a"}]}}}],
            "definition.bodies[0].content.interactive.inputs[0].kind",
        ),
        ([{"content": {"simple": {"title": "x" * (600 << 10)}}}], "definition"),
    ],
)
async def test_a_definition_has_a_shape(author: Author, bodies: list[dict[str, Any]], field: str) -> None:
    request = pb.CreateTemplateVersionRequest(
        name="t", definition=ParseDict({"bodies": bodies}, pb.TemplateDefinition())
    )
    refusal = await refused(author.stub.CreateTemplateVersion(request))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "INVALID_FIELD", [field])


@pytest.mark.parametrize(
    ("bodies", "field"),
    [
        # Liquid that cannot be read.
        ([{"content": {"simple": {"title": "{{ data.a"}}}], "bodies[0].content.simple.title"),
        ([{"content": {"simple": {"title": "t", "body": "{% if %}"}}}], "bodies[0].content.simple.body"),
        (
            [GREETING, {"locale": "de", "content": {"simple": {"title": "{{ x }}"}}}],
            "bodies[1].content.simple.title",
        ),
        # What does not fit together.
        ([GREETING, GREETING], "bodies[1].locale"),
        ([GREETING, {"locale": "de", "content": {"card": {"title": "t"}}}], "bodies[1].content"),
        ([{**GREETING, "elements": [{"path": "list.items[0]", "each": "data.a"}]}], "bodies[0].content"),
        ([{**GREETING, "channels": [{"channel": 4, "html": "x"}]}], "bodies[0].channels[0].html"),
        ([{**GREETING, "channels": [{"channel": 4}, {"channel": 4}]}], "bodies[0].channels[1].channel"),
        (
            [{**GREETING, "channels": [{"channel": 2, "html": "<script>alert(1)</script>"}]}],
            "bodies[0].channels[0].html",
        ),
        ([{**GREETING, "channels": [{"channel": 2, "mjml": "<mjml"}]}], "bodies[0].channels[0].mjml"),
    ],
)
async def test_a_definition_that_cannot_be_read_is_refused(
    author: Author, bodies: list[dict[str, Any]], field: str
) -> None:
    refusal = await refused(author.create(*bodies))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "TEMPLATE_INVALID")
    assert refusal.fields == [f"definition.{field}"]
    assert await reason(author.got()) == "TEMPLATE_NOT_FOUND"


@pytest.mark.parametrize("name", ["", "-a", "a b", "a" * 129, "é"])
async def test_a_template_has_a_plain_name(author: Author, name: str) -> None:
    assert set((await refused(author.create(name=name))).fields) == {"name"}


async def test_a_template_may_do_only_so_much(author: Author) -> None:
    loops = (
        "{% for a in data.a %}{% for b in data.a %}{% for c in data.a %}x{% endfor %}{% endfor %}{% endfor %}"
    )
    await author.create({"content": {"simple": {"title": "t", "body": loops}}})
    refusal = await refused(author.render({"a": list(range(1_000))}))
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "TEMPLATE_LIMIT_EXCEEDED")
    assert refusal.metadata["limit"] == "steps"


@pytest.mark.parametrize(
    "data",
    [
        {"a": "x" * 70_000},
        {"a": [0] * 5_001},
        {"a": [[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]},
        {"a": float("inf")},
        {"a": "\0"},
        {"a": [{"\0": 1}]},
    ],
    ids=["large", "many", "deep", "infinite", "NUL", "NUL in a key"],
)
async def test_data_are_bounded(author: Author, data: dict[str, Any]) -> None:
    await author.create()
    refusal = await refused(author.render(data))
    assert (refusal.reason, refusal.fields) == ("INVALID_FIELD", ["template.data"])


# --- previews ---------------------------------------------------------------------------------------------------------


async def test_every_missing_variable_is_named(author: Author) -> None:
    await author.create(
        {
            "content": {
                "simple": {"title": "{{ data.a }} {{ data.b.c }}", "body": "{% if data.d %}{% endif %}"}
            }
        }
    )
    refusal = await refused(author.render({"b": {}}))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "TEMPLATE_DATA_INVALID")
    assert refusal.fields == ["template.data.a", "template.data.b.c"]
    assert refusal.metadata == {"violations": "2", "template": "greeting", "version": "1"}


async def test_what_comes_out_keeps_the_rules_of_content(author: Author) -> None:
    await author.create(
        {
            "content": {
                "card": {
                    "title": "{{ data.title }}",
                    "actions": [{"id": "open", "label": "Open", "url": "{{ data.url }}"}],
                }
            }
        }
    )
    good = {"title": "t", "url": "https://shop.example/1"}
    assert (await author.render(good)).content.card.actions[0].url == "https://shop.example/1"
    for bad, field in (
        ({"title": "x" * 257}, "content.card.title"),
        ({"title": ""}, "content.card.title"),
        ({"url": "javascript:alert(1)"}, "content.card.actions[0].url"),
        ({"url": "no link"}, "content.card.actions[0].url"),
    ):
        refusal = await refused(author.render(good | bad))
        assert (refusal.reason, refusal.fields) == ("TEMPLATE_DATA_INVALID", [field])


async def test_the_body_is_that_of_the_locale(author: Author) -> None:
    await author.create(
        GREETING,
        {"locale": "pt", "content": {"simple": {"title": "Olá {{ data.name }}"}}},
        {"locale": "pt-PT", "content": {"simple": {"title": "Boas {{ data.name }}"}}},
    )
    for locale, chosen, title in (
        ("pt-BR", "pt", "Olá Ada"),
        ("pt-PT", "pt-PT", "Boas Ada"),
        ("de-AT", "", "Hello Ada"),
        ("", "", "Hello Ada"),
    ):
        shown = await author.render(
            {"name": "Ada"}, recipient=recipients.Recipient(recipient="ada", locale=locale)
        )
        assert (shown.locale, shown.content.simple.title) == (chosen, title)
        assert shown.content.fallback_text == title


async def test_a_definition_is_shown_before_it_is_stored(author: Author) -> None:
    given = definition(
        {
            "content": {"simple": {"title": "Hello {{ recipient.attributes.name }}"}},
            "channels": [
                {"channel": 2, "subject": "a\nb {{ data.x }}", "html": "<p>{{ data.x }}</p>"},
                {"channel": 4, "text": "{{ data.x }}"},
            ],
        }
    )
    request = pb.RenderTemplateRequest(
        definition=given,
        data=struct({"x": "<b>\r\nBcc: all@shop.example"}),
        recipient=recipients.Recipient(recipient="ada", attributes={"name": "Ada"}),
    )
    shown = await author.stub.RenderTemplate(request)
    assert (shown.version, shown.content.simple.title, shown.personal) == (0, "Hello Ada", True)
    mail, message = shown.channels
    assert mail.subject == "a b <b> Bcc: all@shop.example"
    assert mail.html == "<p>&lt;b&gt;\r\nBcc: all@shop.example</p>"
    assert message.text == "<b>\r\nBcc: all@shop.example"
    assert await reason(author.got()) == "TEMPLATE_NOT_FOUND"
    refusal = await refused(
        author.stub.RenderTemplate(pb.RenderTemplateRequest(definition=definition(), data=struct({})))
    )
    assert refusal.fields == ["data.name"]


async def test_mjml_is_made_into_html_once(author: Author) -> None:
    mjml = (
        "<mjml><mj-body><mj-section><mj-column><mj-text>Hi {{ data.name }}</mj-text></mj-column></mj-section>"
        "</mj-body></mjml>"
    )
    await author.create({**GREETING, "channels": [{"channel": 2, "mjml": mjml}]})
    (mail,) = (await author.got()).version.definition.bodies[0].channels
    assert mail.mjml == mjml
    assert "<!doctype html>" in mail.html
    (shown,) = (await author.render({"name": "<Ada>"})).channels
    assert "Hi &lt;Ada&gt;" in shown.html


async def test_a_time_zone_that_there_is_none_of_is_refused(author: Author) -> None:
    await author.create()
    someone = recipients.Recipient(recipient="ada", time_zone="Europe/Atlantis")
    assert (await refused(author.render({"name": "a"}, recipient=someone))).fields == ["recipient.time_zone"]
