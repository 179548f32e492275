"""What a replica knows of templates: at once what it changed itself, soon what others did."""

import pytest

from tests.support.desk import CODEC, Desk
from tests.support.stores import TurnedClock
from tocsin_server.content.renderer import LiquidRenderer
from tocsin_server.domain.commands import (
    ActivateTemplateVersion,
    ChangeTenant,
    CreateTemplateVersion,
    CreateTenant,
)
from tocsin_server.domain.content import Content, SimpleContent
from tocsin_server.domain.errors import StorageUnavailable, TemplateNotFound, TemplateVersionNotFound
from tocsin_server.domain.template import RenderFacts, Template, TemplateBody, TemplateDefinition
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.service import template_cache
from tocsin_server.service.template_cache import TemplateCache
from tocsin_server.store.store import Store


class Replica:
    """A cache, and what it would show."""

    def __init__(self, store: Store) -> None:
        self.cache = TemplateCache(store.templates, LiquidRenderer(), CODEC)

    async def shows(self, name: str = "t", version: int = 0, tenant: str = "default") -> tuple[int, str]:
        number, compiled = await self.cache.find(tenant, name, version)
        return number, compiled.render({}, RenderFacts(), 0).content.kind.title


@pytest.fixture
def replica(opened_store: Store) -> Replica:
    return Replica(opened_store)


@pytest.fixture
def author(opened_store: Store, turned_clock: TurnedClock) -> Desk:
    """Somebody who asks another replica."""
    return Desk(opened_store, turned_clock)


def creating(
    title: str, name: str = "t", *, activate: bool = True, tenant: str = "default"
) -> CreateTemplateVersion:
    definition = TemplateDefinition((TemplateBody("", Content(SimpleContent(title))),))
    return CreateTemplateVersion(
        tenant=tenant, name=name, definition=CODEC.encode_definition(definition), activate=activate
    )


def activating(version: int) -> ActivateTemplateVersion:
    return ActivateTemplateVersion(tenant="default", name="t", version=version)


async def test_what_others_activate_is_taken_up(replica: Replica, author: Desk) -> None:
    await author.submit(creating("one"))
    assert await replica.shows() == (1, "one")
    await author.submit(creating("two"))
    assert await replica.shows() == (1, "one")
    assert await replica.shows(version=2) == (2, "two")
    await replica.cache.refresh()
    assert await replica.shows() == (2, "two")
    await author.submit(activating(1))
    await replica.cache.refresh()
    assert await replica.shows() == (1, "one")


async def test_what_this_replica_changes_holds_at_once(replica: Replica, author: Desk) -> None:
    await author.submit(creating("one"))
    await replica.shows()
    second = (await author.submit(creating("two"))).template
    replica.cache.changed("default", second)
    assert await replica.shows() == (2, "two")
    # An answer that was under way is older, and does not undo it.
    first = await author.submit(activating(1))
    replica.cache.changed("default", first)
    replica.cache.changed("default", second)
    assert await replica.shows() == (1, "one")


async def test_what_this_replica_changes_while_it_is_read_holds_at_once(
    replica: Replica, author: Desk, opened_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await author.submit(creating("one"))
    before = await opened_store.templates.template("default", "t")

    async def overtaken(reader: object, tenant: str, name: str) -> Template | None:
        second = (await author.submit(creating("two"))).template
        replica.cache.changed(tenant, second)
        return before

    monkeypatch.setattr(type(opened_store.templates), "template", overtaken)
    assert await replica.shows() == (2, "two")


async def test_what_there_is_none_of_is_not_remembered(replica: Replica, author: Desk) -> None:
    with pytest.raises(TemplateNotFound):
        await replica.shows()
    await author.submit(creating("one", activate=False))
    with pytest.raises(TemplateNotFound):
        await replica.shows()
    with pytest.raises(TemplateVersionNotFound):
        await replica.shows(version=2)
    await author.submit(creating("two"))
    assert await replica.shows(version=2) == (2, "two")
    await replica.cache.refresh()
    assert await replica.shows() == (2, "two")


async def test_an_erased_tenants_templates_are_forgotten(
    replica: Replica, author: Desk, turned_clock: TurnedClock
) -> None:
    async def made(title: str) -> None:
        await author.submit(CreateTenant(tenant="default", name="acme", display_name="", quotas=Quotas()))
        await author.submit(creating(title, tenant="acme"))

    await made("old")
    assert await replica.shows(tenant="acme") == (1, "old")
    await author.submit(ChangeTenant(tenant="default", name="acme", state=TenantState.DELETING))
    await author.erase_tenant("acme")
    turned_clock.time += 1
    await made("new")
    await replica.cache.refresh()
    assert await replica.shows(tenant="acme") == (1, "new")


async def test_only_so_much_is_kept(replica: Replica, author: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_cache, "MAX_TEMPLATES", 2)
    for name in ("a", "b", "c"):
        await author.submit(creating(name, name))
        assert await replica.shows(name) == (1, name)
    # The one that was not asked for the longest has gone, and is read again.
    await author.submit(creating("a2", "a"))
    await author.submit(creating("c2", "c"))
    assert await replica.shows("c") == (1, "c")
    assert await replica.shows("a") == (2, "a2")
    monkeypatch.setattr(template_cache, "MAX_DEFINITION_BYTES", 1)
    await author.submit(creating("d", "d"))
    assert await replica.shows("d") == (1, "d")
    await author.submit(creating("d2", "d"))
    assert await replica.shows("d") == (2, "d2")


async def test_without_storage_what_is_known_stays(
    replica: Replica, author: Desk, opened_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await author.submit(creating("one"))
    await replica.shows()

    async def away(names: object) -> None:
        raise StorageUnavailable

    monkeypatch.setattr(type(opened_store.templates), "named_templates", lambda self, names: away(names))
    with pytest.raises(StorageUnavailable):
        await replica.cache.refresh()
    assert await replica.shows() == (1, "one")
