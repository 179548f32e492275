"""What administrators do with keys, on a real store, as the authenticator sees it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stores import QUOTAS, START, TurnedClock, stored
from tocsin_server.domain.access import ApiKey, Principal, Scope, matches
from tocsin_server.domain.commands import ChangeTenant, CreateTenant
from tocsin_server.domain.errors import (
    ApiKeyNotFound,
    CategoryNotAllowed,
    CredentialsRevoked,
    InvalidFields,
    PageTokenInvalid,
    QuotaExceeded,
    RecipientNotAllowed,
    RequestIdReused,
    ScopeMissing,
    TenantNotFound,
)
from tocsin_server.domain.tenant import Quotas, TenantState
from tocsin_server.domain.time import DAY, HOUR, SECOND
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.access import ANYONE, Authenticator
from tocsin_server.service.api_keys import ApiKeys, CreatedKey, KeyRequest, covers
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.status import Component
from tocsin_server.service.tenants import TenantDirectory
from tocsin_server.store.store import Store

ADMIN = Principal("acme", "admin", frozenset({Scope.ADMIN}))
PEER = "ipv4:10.0.0.7:50000"


class World:
    def __init__(self, store: Store, clock: TurnedClock) -> None:
        self.store = store
        self.clock = clock
        self.directory = TenantDirectory(store.tenants, QUOTAS)
        self.access = Authenticator(store.api_keys, self.directory, clock, Component("credentials", clock))
        self.keys = ApiKeys(
            store.writer,
            store.api_keys,
            WireCodec(),
            PageTokens(store.facts.cursor_key),
            clock,
            self.access.catch_up,
        )

    async def create(self, wanted: KeyRequest, by: Principal = ADMIN, request_id: str = "") -> CreatedKey:
        return await self.keys.create(by, request_id, wanted)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = TurnedClock()
    async with stored(tmp_path, clock) as store:
        for name in ("acme", "zeta"):
            await store.writer.submit(
                [CreateTenant(tenant="default", name=name, display_name="", quotas=Quotas(max_api_keys=5))]
            )
        made = World(store, clock)
        await made.access.refresh()
        yield made


def stored_under(folder: Path, content: bytes) -> bool:
    return any(content in file.read_bytes() for file in folder.iterdir())


SENDER = KeyRequest("orders", (Scope.SEND,))


async def test_a_key_works_as_soon_as_it_is_answered_and_no_longer_than_its_revocation(world: World) -> None:
    made = await world.create(SENDER)
    assert made.key == ApiKey(made.key.id, "acme", "orders", (Scope.SEND,), (), (), START)
    principal = world.access.authenticate(f"Bearer {made.secret}", PEER)
    assert principal == Principal("acme", made.key.id, frozenset({Scope.SEND}))
    world.clock.time += SECOND
    revoked = await world.keys.revoke(ADMIN, "", made.key.id)
    assert revoked.receipt.revoke_time == START + SECOND
    with pytest.raises(CredentialsRevoked):
        world.access.authenticate(f"Bearer {made.secret}", PEER)


async def test_the_secret_is_shown_once_and_stored_nowhere(world: World, tmp_path: Path) -> None:
    made = await world.create(SENDER, request_id="r1")
    again = await world.create(SENDER, request_id="r1")
    assert made.secret.startswith(f"tsk_{made.key.id}_")
    assert (again.key, again.secret, again.replayed) == (made.key, "", True)
    with pytest.raises(RequestIdReused):
        await world.create(KeyRequest("orders", (Scope.ADMIN,)), request_id="r1")
    assert stored_under(tmp_path, made.key.id.encode())
    assert not stored_under(tmp_path, made.secret.rpartition("_")[2].encode())


async def test_a_repeat_is_answered_even_when_the_key_has_expired(world: World) -> None:
    wanted = KeyRequest("short", (Scope.SEND,), expire_time=START + HOUR)
    made = await world.create(wanted, request_id="r1")
    world.clock.time += 2 * HOUR
    assert (await world.create(wanted, request_id="r1")).key == made.key
    with pytest.raises(InvalidFields) as refused:
        await world.create(wanted)
    assert refused.value.violations[0].field == "expire_time"


@pytest.mark.parametrize(
    ("by", "wanted", "refused"),
    [
        ({Scope.ADMIN}, (Scope.SEND, Scope.ADMIN), None),
        ({Scope.ADMIN}, (Scope.OPERATOR,), ScopeMissing),
        ({Scope.ADMIN, Scope.OPERATOR}, (Scope.OPERATOR,), None),
        ({Scope.OPERATOR}, (Scope.ADMIN,), ScopeMissing),
    ],
)
async def test_a_key_has_no_scope_that_its_creator_lacks(
    world: World, by: set[Scope], wanted: tuple[Scope, ...], refused: type[Exception] | None
) -> None:
    creator = Principal("acme", "x", frozenset(by))
    if refused is None:
        assert (await world.create(KeyRequest("k", wanted), by=creator)).key.scopes == wanted
    else:
        with pytest.raises(refused):
            await world.create(KeyRequest("k", wanted), by=creator)


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        ((), (), True),
        ((), ("user-*",), True),
        (("*",), (), True),
        (("user-*",), (), False),  # all recipients
        (("user-*",), ("*",), False),
        (("user-*",), ("user-1",), True),
        (("user-*",), ("user-1*",), True),
        (("user-*",), ("user-*",), True),
        (("user-*",), ("use*",), False),
        (("user-*",), ("user-1", "ada"), False),
        (("user-1",), ("user-1",), True),
        (("user-1",), ("user-1*",), False),
        (("a**",), ("a*",), False),  # the first star is one
        (("a**",), ("a**",), True),
    ],
)
async def test_a_key_reaches_no_further_than_its_creator(
    world: World, held: tuple[str, ...], wanted: tuple[str, ...], allowed: bool
) -> None:
    by_recipients = Principal("acme", "x", frozenset({Scope.ADMIN}), recipients=held)
    by_categories = Principal("acme", "x", frozenset({Scope.ADMIN}), categories=held)
    if allowed:
        await world.create(KeyRequest("k", (Scope.SEND,), recipients=wanted), by=by_recipients)
        await world.create(KeyRequest("k", (Scope.SEND,), categories=wanted), by=by_categories)
    else:
        with pytest.raises(RecipientNotAllowed):
            await world.create(KeyRequest("k", (Scope.SEND,), recipients=wanted), by=by_recipients)
        with pytest.raises(CategoryNotAllowed):
            await world.create(KeyRequest("k", (Scope.SEND,), categories=wanted), by=by_categories)


async def test_only_operators_make_keys_for_other_tenants(world: World) -> None:
    wanted = KeyRequest("k", (Scope.ADMIN,), tenant="zeta")
    with pytest.raises(ScopeMissing):
        await world.create(wanted)
    made = await world.create(wanted, by=ANYONE)
    assert made.key.tenant == "zeta"
    assert world.access.authenticate(f"Bearer {made.secret}", PEER).tenant == "zeta"
    with pytest.raises(TenantNotFound):
        await world.create(KeyRequest("k", (Scope.ADMIN,), tenant="nowhere"), by=ANYONE)
    await world.store.writer.submit([ChangeTenant(tenant="default", name="zeta", state=TenantState.DELETING)])
    with pytest.raises(TenantNotFound):
        await world.create(wanted, by=ANYONE)


async def test_only_keys_in_force_count_against_the_quota(world: World) -> None:
    made = [await world.create(SENDER) for _ in range(3)]
    short = KeyRequest("short", (Scope.SEND,), expire_time=START + HOUR)
    await world.create(short)
    await world.create(short)
    with pytest.raises(QuotaExceeded) as refused:
        await world.create(SENDER)
    assert refused.value.metadata == {"quota": "max_api_keys", "limit": "5"}
    await world.keys.revoke(ADMIN, "", made[0].key.id)
    await world.create(SENDER)
    world.clock.time += HOUR
    await world.create(SENDER)
    await world.create(SENDER)
    with pytest.raises(QuotaExceeded):
        await world.create(SENDER)


async def test_keys_are_listed_newest_first_for_their_tenant_alone(world: World) -> None:
    made = []
    for _ in range(5):
        made.append((await world.create(SENDER)).key.id)
        world.clock.time += SECOND
    other = (await world.create(KeyRequest("k", (Scope.SEND,), tenant="zeta"), by=ANYONE)).key.id
    await world.keys.revoke(ADMIN, "", made[2])
    listed, token = [], ""
    for _ in range(3):
        page = await world.keys.list(ADMIN, 2, token)
        listed += page.items
        token = page.next_page_token
    assert [key.id for key in listed] == made[::-1]
    assert [key.id for key in listed if key.revoke_time] == [made[2]]
    assert token == ""
    elsewhere = Principal("zeta", "admin", frozenset({Scope.ADMIN}))
    assert [key.id for key in (await world.keys.list(elsewhere, 0, "")).items] == [other]
    with pytest.raises(PageTokenInvalid):  # of another tenant's list
        await world.keys.list(elsewhere, 2, (await world.keys.list(ADMIN, 2, "")).next_page_token)


async def test_a_tenant_cannot_see_or_revoke_anothers_key_but_an_operator_can(world: World) -> None:
    made = await world.create(SENDER)
    elsewhere = Principal("zeta", "admin", frozenset({Scope.ADMIN}))
    with pytest.raises(ApiKeyNotFound):
        await world.keys.revoke(elsewhere, "", made.key.id)
    with pytest.raises(ApiKeyNotFound):
        await world.keys.revoke(ADMIN, "", "nothing")
    assert (await world.keys.revoke(ANYONE, "", made.key.id)).receipt.revoke_time == START


async def test_revoking_again_changes_nothing(world: World) -> None:
    made = await world.create(SENDER)
    first = await world.keys.revoke(ADMIN, "", made.key.id)
    world.clock.time += DAY
    assert (await world.keys.revoke(ADMIN, "", made.key.id)).receipt == first.receipt


PATTERNS = st.text("ab*", min_size=1, max_size=4)


@given(held=st.lists(PATTERNS, max_size=3).map(tuple), wanted=PATTERNS, value=st.text("ab*", max_size=6))
def test_what_a_covered_pattern_matches_is_matched(held: tuple[str, ...], wanted: str, value: str) -> None:
    if covers(held, wanted) and matches((wanted,), value):
        assert not held or matches(held, value)
