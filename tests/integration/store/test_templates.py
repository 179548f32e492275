"""Templates: numbers without gaps, one active version, and limits."""

import asyncio

import pytest

from tests.integration.store.conftest import MakeDesk
from tests.support.desk import Desk, key, receipt_of
from tests.support.stores import START, TurnedClock
from tocsin_server.domain.commands import (
    ActivateTemplateVersion,
    CreateTemplateVersion,
    RequestKey,
    RequestSpace,
    TemplateReceipt,
)
from tocsin_server.domain.errors import (
    RequestIdReused,
    TemplateLimitExceeded,
    TemplateNotFound,
    TemplateVersionNotFound,
)
from tocsin_server.domain.template import StoredVersion, Template
from tocsin_server.domain.time import SECOND
from tocsin_server.store import templates
from tocsin_server.store.store import Store


def creating(
    name: str = "greeting",
    definition: bytes = b"d",
    *,
    activate: bool = False,
    tenant: str = "default",
    request: RequestKey | None = None,
) -> CreateTemplateVersion:
    return CreateTemplateVersion(
        tenant=tenant, name=name, definition=definition, activate=activate, request=request
    )


def activating(version: int, name: str = "greeting", tenant: str = "default") -> ActivateTemplateVersion:
    return ActivateTemplateVersion(tenant=tenant, name=name, version=version)


async def test_versions_are_numbered_from_one(desk: Desk, store: Store, clock: TurnedClock) -> None:
    first = await desk.submit(creating(definition=b"one"))
    assert first == TemplateReceipt(Template("greeting", 0, 1, 0, START, START), 1)
    clock.time += SECOND
    second = await desk.submit(creating(definition=b"two", activate=True))
    assert second == TemplateReceipt(Template("greeting", 2, 2, 1, START, START + SECOND), 2)
    assert await store.templates.template("default", "greeting") == second.template
    assert await store.templates.template_version("default", "greeting", 1) == StoredVersion(1, b"one", START)
    assert await store.templates.template_versions("default", "greeting") == [(2, START + SECOND), (1, START)]
    for name, number in (("greeting", 3), ("greeting", 0), ("other", 1)):
        assert await store.templates.template_version("default", name, number) is None
    assert await store.templates.template("default", "other") is None


async def test_one_version_is_active(desk: Desk) -> None:
    await desk.submit(creating(activate=True))
    await desk.submit(creating())
    activated = await desk.submit(activating(2))
    assert (activated.active_version, activated.activation) == (2, 2)
    # Again says the same, and is no other activation.
    assert await desk.submit(activating(2)) == activated
    assert (await desk.submit(activating(1))).activation == 3


async def test_what_does_not_exist_is_not_activated(desk: Desk) -> None:
    with pytest.raises(TemplateNotFound):
        await desk.submit(activating(1))
    await desk.submit(creating())
    for number in (0, 2):
        with pytest.raises(TemplateVersionNotFound):
            await desk.submit(activating(number))


async def test_versions_created_at_once_each_get_a_number(store: Store) -> None:
    answers = await asyncio.gather(*(store.writer.submit([creating(f"t{n % 3}")]) for n in range(30)))
    for name in ("t0", "t1", "t2"):
        numbers = [
            receipt_of(answer).version for (answer,) in answers if receipt_of(answer).template.name == name
        ]
        assert sorted(numbers) == list(range(1, 11))


async def test_a_repeated_request_creates_nothing(desk: Desk, store: Store) -> None:
    request = key(RequestSpace.CREATE_TEMPLATE_VERSION, "r")
    first = await desk.submit(creating(request=request))
    assert await desk.submit(creating(request=request)) == first
    assert len(await store.templates.template_versions("default", "greeting")) == 1
    with pytest.raises(RequestIdReused):
        await desk.submit(creating(request=key(RequestSpace.CREATE_TEMPLATE_VERSION, "r", "another")))


async def test_there_are_only_so_many(
    desk: Desk, make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MAX_TEMPLATES", 2)
    monkeypatch.setattr(templates, "MAX_VERSIONS", 3)
    for name in ("a", "b", "b", "b"):
        await desk.submit(creating(name))
    with pytest.raises(TemplateLimitExceeded) as refused:
        await desk.submit(creating("c"))
    assert refused.value.metadata == {"limit": "templates", "max": "2"}
    with pytest.raises(TemplateLimitExceeded) as refused:
        await desk.submit(creating("b"))
    assert refused.value.metadata == {"limit": "versions", "max": "3"}
    assert (await desk.submit(creating("a"))).version == 2
    # Others have room of their own.
    assert (await make_desk("acme").submit(creating("c", tenant="acme"))).version == 1


async def test_templates_are_read_by_name(desk: Desk, make_desk: MakeDesk, store: Store) -> None:
    for name in ("b", "a", "c"):
        await desk.submit(creating(name, activate=name == "b"))
    await make_desk("acme").submit(creating("a", tenant="acme"))
    page = await store.templates.templates("default", "", 2)
    assert [template.name for template in page] == ["a", "b"]
    assert [template.name for template in await store.templates.templates("default", "b", 2)] == ["c"]
    wanted = {"default": ["b", "x"], "acme": ["a", "b"], "nobody": ["a"]}
    found = await store.templates.named_templates(wanted)
    assert {key: template.active_version for key, template in found.items()} == {
        ("default", "b"): 1,
        ("acme", "a"): 0,
    }
