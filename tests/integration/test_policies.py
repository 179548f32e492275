"""Policies in the memory of several replicas of one store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import receipt_of
from tests.support.stores import TurnedClock, stored
from tests.support.waiting import eventually
from tocsin_server.domain.category import CATEGORY_FIELDS, Category
from tocsin_server.domain.commands import ChangeDefaultPreferences, Command, DeleteCategory, UpsertCategory
from tocsin_server.domain.policy import TenantPolicy
from tocsin_server.domain.preferences import Choice, PreferencesChange
from tocsin_server.service.policies import Policies
from tocsin_server.service.status import Component
from tocsin_server.service.tenant_cache import PolicyWatch
from tocsin_server.store.store import Store

WITHIN_S = 1.0
"""What is promised to callers."""


@pytest.fixture
async def store(tmp_path: Path, database_url: str | None) -> AsyncIterator[Store]:
    async with stored(tmp_path, TurnedClock(), url=database_url) as opened:
        yield opened


@pytest.fixture
async def elsewhere(store: Store) -> AsyncIterator[Policies]:
    """Of a replica that hears of no commit."""
    policies, watch = (
        Policies(store.policies),
        PolicyWatch(store.policies, Component("policies", TurnedClock())),
    )
    watch.watch(policies)
    running = asyncio.create_task(watch.run())
    yield policies
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


CHANGES: list[Command[Any]] = [
    UpsertCategory(tenant="default", category=Category("orders", "Anew"), fields=CATEGORY_FIELDS),
    DeleteCategory(tenant="default", name="orders"),
    ChangeDefaultPreferences(tenant="default", change=PreferencesChange(made=(Choice(False),))),
]


@pytest.mark.parametrize("command", CHANGES, ids=lambda command: type(command).__name__)
async def test_another_replica_acts_on_a_change_within_a_second(
    store: Store, elsewhere: Policies, command: Command[Any]
) -> None:
    define = UpsertCategory(tenant="default", category=Category("orders"), fields=CATEGORY_FIELDS)
    await store.writer.submit((define,))
    before = await elsewhere.known("default")
    untouched = await elsewhere.known("other")
    (answer,) = await store.writer.submit((command,))
    receipt_of(answer)

    async def changed() -> TenantPolicy | None:
        policy = elsewhere.of("default") or await elsewhere.known("default")
        return policy if policy != before else None

    after = await eventually(changed, "the other replica to see the change", WITHIN_S)
    assert after == (await store.policies.policies(("default",)))["default"]
    assert elsewhere.of("other") is untouched
