"""`tocsin templates`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Cli
from tocsin_server.cli.default_templates import default_templates

pytestmark = pytest.mark.asyncio(loop_scope="module")

GREETING = {"bodies": [{"content": {"simple": {"title": "Hello {{ data.name }}"}}}]}

EXAMPLES: dict[str, dict[str, Any]] = {
    "welcome": {"name": "Ada", "trial_end": "2027-02-01", "url": "https://x.example"},
    "product-news": {
        "headline": "Charts",
        "summary": "They move.",
        "url": "https://x.example",
        "pictures": [{"url": "https://x.example/a.png"}],
    },
    "approval": {"id": "17", "subject": "a chair", "amount": 99.5, "currency": "EUR", "due": "2027-02-01"},
    "order-shipped": {
        "order": {"number": 17, "currency": "EUR", "items": [{"name": "Chair", "price": 49.5}]},
        "eta": "2027-02-01",
        "tracking_url": "https://x.example",
    },
    "weekly-summary": {"items": [{"name": "Ships", "done": 3, "share": 0.5}], "url": "https://x.example"},
    "incident-timeline": {
        "service": "api",
        "summary": "slow",
        "url": "https://x.example",
        "steps": [
            {"title": "Noticed", "time": "2027-01-15T12:00:00Z", "text": "p99 above 1 s"},
            {"title": "Mended", "time": 1_800_018_000, "state": "active"},
        ],
    },
}
"""Data for each of the default templates."""

BARE: dict[str, dict[str, Any]] = {
    "welcome": {"name": "Ada"},
    "approval": {"id": "17", "subject": "a chair"},
    "order-shipped": {"order": {"number": 17, "currency": "EUR", "items": []}},
    "weekly-summary": {"items": [{"name": "Ships", "done": 1, "share": 1}]},
    "incident-timeline": {"service": "api", "summary": "slow", "steps": [{"title": "t", "time": 0}]},
}
"""The least that they need."""


async def test_a_template_from_its_first_version_to_its_second(
    cli: Cli, tmp_path: Path, stdin: Callable[[Mapping[str, Any]], None]
) -> None:
    file = tmp_path / "greeting.json"
    file.write_text(json.dumps(GREETING))
    made = (await cli("templates", "create", "greeting", "--file", str(file), "--json")).json
    assert (made["version"], made["template"]["activeVersion"]) == (1, 0)
    assert "TEMPLATE_NOT_FOUND" in (await cli("templates", "render", "greeting", code=1)).err
    assert "version 1 is active" in (await cli("templates", "activate", "greeting", "1")).out

    shown = await cli("templates", "render", "greeting", "--data", '{"name": "Ada"}', "--json")
    assert shown.json["content"]["simple"]["title"] == "Hello Ada"
    missing = await cli("templates", "render", "greeting", code=1)
    assert "template.data.name: is missing" in missing.err

    stdin({"bodies": [{"content": {"simple": {"title": "Good day"}}}]})
    assert (
        "version 2, active" in (await cli("templates", "create", "greeting", "--file", "-", "--activate")).out
    )
    assert "Good day" in (await cli("templates", "render", "greeting")).out
    assert "Hello {{ data.name }}" in (await cli("templates", "show", "greeting", "--version", "1")).out
    assert "greeting" in (await cli("templates", "list")).out


async def test_a_definition_is_shown_without_being_stored(cli: Cli, tmp_path: Path) -> None:
    file, data = tmp_path / "draft.json", tmp_path / "data.json"
    body = {
        "content": {"simple": {"title": "{{ recipient.attributes.team }} {{ data.n | number }}"}},
        "channels": [{"channel": "CHANNEL_SMS", "text": "{{ '2027-07-15T12:00:00Z' | time }}"}],
    }
    file.write_text(json.dumps({"bodies": [body]}))
    data.write_text('{"n": 1234.5}')
    arguments = (
        "--data",
        f"@{data}",
        "--locale",
        "de",
        "--time-zone",
        "Asia/Tokyo",
        "--attribute",
        "team=red",
    )
    shown = (await cli("templates", "render", "--file", str(file), *arguments)).out
    assert "red 1.234,5" in shown
    assert "21:00" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "t"),
        ("render",),
        ("render", "t", "--data", "x"),
        ("render", "t", "--data", "[]"),
        ("activate", "t", "0"),
    ],
)
async def test_what_is_not_understood_ends_with_2(cli: Cli, arguments: tuple[str, ...]) -> None:
    await cli("templates", *arguments, code=2)


async def test_a_file_that_holds_no_definition_is_told(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    for text in ("{", '{"bodes": []}'):
        file.write_text(text)
        assert (
            "TemplateDefinition" in (await cli("templates", "create", "t", "--file", str(file), code=2)).err
        )
    file.write_text('{"bodies": [{"content": {"simple": {"title": "{{ data.a | shout }}"}}}]}')
    refused = await cli("templates", "create", "t", "--file", str(file), code=1)
    assert "definition.bodies[0].content.simple.title: line 1: unknown filter `shout`" in refused.err


async def test_the_default_templates_are_created_once_and_show_something(cli: Cli) -> None:
    created = (await cli("templates", "defaults", "--json")).json["templates"]
    assert {template["name"] for template in created} == set(default_templates()) == set(EXAMPLES)
    assert (await cli("templates", "defaults", "--json")).json["templates"] == []
    kinds = set()
    for examples, locale in ((EXAMPLES, "en"), (EXAMPLES, "de-AT"), (BARE, "")):
        for name, data in examples.items():
            arguments = ("--data", json.dumps(data), "--locale", locale, "--json")
            shown = (await cli("templates", "render", name, *arguments)).json
            assert shown["locale"] == ("de" if locale == "de-AT" else "")
            assert shown["content"]["fallbackText"]
            kinds |= shown["content"].keys() - {"fallbackText"}
    assert kinds == {"simple", "richMedia", "interactive", "card", "list", "timeline"}
