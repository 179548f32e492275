"""Who is let in, who no longer is, and what happens when nobody can tell."""

import asyncio
import json
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import OctKey

from tests.support.stores import QUOTAS, START, TurnedClock
from tests.support.waiting import eventually
from tocsin_server.domain.access import ApiKey, Principal, Scope
from tocsin_server.domain.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    CredentialsMissing,
    CredentialsRevoked,
    CredentialsUnchecked,
    StorageUnavailable,
    TenantSuspended,
    TocsinError,
)
from tocsin_server.domain.tenant import Quotas, Tenant, TenantState
from tocsin_server.domain.time import HOUR, SECOND
from tocsin_server.domain.value import replace
from tocsin_server.service.access import UNCHECKED_AFTER_S, Authenticator
from tocsin_server.service.credentials import NewKey, new_key
from tocsin_server.service.ports import Committed
from tocsin_server.service.status import Component, ComponentState
from tocsin_server.service.tenants import TenantDirectory
from tocsin_server.service.tokens import TokenRules, TokenVerifier

LOCAL, REMOTE = "ipv4:127.0.0.1:50000", "ipv4:10.0.0.7:50000"
SECRET = b"a secret of at least thirty-two bytes"


class Storage:
    """Keys and tenants that change, are away or are slow on command."""

    def __init__(self) -> None:
        self.by_hash: dict[bytes, ApiKey] = {}
        self.by_name = {"default": tenant("default"), "acme": tenant("acme")}
        self.away = False
        self.looks = asyncio.Semaphore(0)
        """Released once a look."""
        self.held = asyncio.Event()
        self.held.set()

    def add(self, made: NewKey, **changes: object) -> None:
        key = ApiKey(made.id, "acme", "", (Scope.SEND,), ("user-*",), (), START)
        self.by_hash = self.by_hash | {made.hash: replace(key, **changes)}

    async def all_active_keys(self) -> dict[bytes, ApiKey]:
        known = self.by_hash
        self.looks.release()
        await self.held.wait()
        if self.away:
            raise StorageUnavailable(detail="disk I/O error")
        return known

    async def api_keys(self, tenant: str, before: str | None, limit: int) -> list[ApiKey]:
        raise NotImplementedError

    async def tenants(self, after: str, limit: int) -> list[Tenant]:
        return [tenant for name, tenant in sorted(self.by_name.items()) if name > after][:limit]

    async def tenant(self, name: str) -> Tenant | None:
        raise NotImplementedError


def tenant(name: str, state: TenantState = TenantState.ACTIVE) -> Tenant:
    return Tenant(name, "", state, Quotas(), START)


class World:
    """An authenticator and everything that it looks at."""

    def __init__(self, folder: Path) -> None:
        (folder / "secret").write_bytes(SECRET)
        self.secret_file = folder / "secret"
        self.storage = Storage()
        self.clock = TurnedClock()
        self.elapsed = 100.0
        self.component = Component("credentials", self.clock)
        self.access = Authenticator(
            self.storage,
            TenantDirectory(self.storage, QUOTAS),
            self.clock,
            self.component,
            tokens=TokenVerifier(TokenRules(), secret_file=self.secret_file),
            monotonic=lambda: self.elapsed,
        )

    def enter(self, credential: str | None, peer: str = REMOTE) -> Principal:
        return self.access.authenticate(None if credential is None else f"Bearer {credential}", peer)

    def state(self) -> ComponentState:
        return self.component.report.state

    def refused(self, credential: str | None, peer: str = REMOTE) -> type[TocsinError]:
        with pytest.raises(TocsinError) as error:
            self.enter(credential, peer)
        return type(error.value)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path)


def token(**claims: object) -> str:
    said = {"sub": "ada", "tenant": "acme", "exp": START // SECOND + 60} | claims
    key = OctKey.import_key(SECRET)
    return jws.serialize_compact({"alg": "HS256"}, json.dumps(said), key, algorithms=["HS256"])


async def test_a_key_says_who_calls_and_what_it_may(world: World) -> None:
    made = new_key(START)
    world.storage.add(made)
    await world.access.refresh()
    principal = world.enter(made.key)
    assert principal == Principal("acme", made.id, frozenset({Scope.SEND}), ("user-*",))
    assert world.access.authenticate(f"bearer {made.key}", REMOTE) == principal


async def test_wrong_unknown_revoked_and_expired_keys_are_told_apart(world: World) -> None:
    good, revoked, expired, unknown = (new_key(START) for _ in range(4))
    world.storage.add(good)
    world.storage.add(revoked, revoke_time=START)
    world.storage.add(expired, expire_time=START)
    await world.access.refresh()
    assert world.refused(unknown.key) is CredentialsInvalid
    assert world.refused(good.key[:-1] + ("1" if good.key[-1] == "0" else "0")) is CredentialsInvalid
    assert world.refused(revoked.key) is CredentialsRevoked
    assert world.refused(expired.key) is CredentialsExpired
    assert world.enter(good.key).name == good.id


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "tsk_x_y", "Bearer tsk_", "Bearer tsk_é"]
)
async def test_what_is_no_credential_is_invalid(world: World, authorization: str) -> None:
    await world.access.refresh()
    with pytest.raises(CredentialsInvalid):
        world.access.authenticate(authorization, LOCAL)


async def test_a_key_expires_by_the_clock_alone(world: World) -> None:
    made = new_key(START)
    world.storage.add(made, expire_time=START + HOUR)
    await world.access.refresh()
    principal = world.enter(made.key)
    world.clock.time += HOUR
    assert world.refused(made.key) is CredentialsExpired
    assert isinstance(world.access.still_valid(principal), CredentialsExpired)


async def test_while_there_is_no_key_callers_on_this_machine_may_do_everything(world: World) -> None:
    await world.access.refresh()
    principal = world.enter(None, LOCAL)
    assert (principal.tenant, principal.name, principal.scopes) == ("default", "", frozenset(Scope))
    assert world.enter(None, "unix:") == principal
    assert world.refused(None, REMOTE) is CredentialsMissing
    world.storage.add(new_key(START), revoke_time=START)  # a key that was: still a key
    await world.access.refresh()
    assert world.refused(None, LOCAL) is CredentialsMissing
    assert isinstance(world.access.still_valid(principal), CredentialsMissing)


async def test_before_the_first_look_nobody_is_let_in(world: World) -> None:
    assert world.refused(None, LOCAL) is CredentialsUnchecked


async def test_a_token_is_let_in_and_shut_out_by_its_expiry(world: World) -> None:
    await world.access.refresh()
    credential = token()
    principal = world.enter(credential)
    assert (principal.tenant, principal.name, principal.end_user) == ("acme", "ada", True)
    assert world.enter(credential) is principal
    world.clock.time += 60 * SECOND
    assert world.refused(credential) is CredentialsExpired
    assert isinstance(world.access.still_valid(principal), CredentialsExpired)


async def test_a_token_of_a_tenant_that_does_not_exist_is_invalid(world: World) -> None:
    await world.access.refresh()
    assert world.refused(token(tenant="nowhere")) is CredentialsInvalid


async def test_a_token_does_not_outlive_the_key_that_signed_it(world: World) -> None:
    await world.access.refresh()
    credential = token()
    world.enter(credential)
    world.secret_file.write_bytes(b"another secret of at least thirty-two bytes")
    await world.access.refresh()
    assert world.refused(credential) is CredentialsInvalid


async def test_a_users_token_is_not_confused_with_a_key_of_the_same_name(world: World) -> None:
    made = new_key(START)
    world.storage.add(made, revoke_time=START)
    await world.access.refresh()
    assert world.enter(token(sub=made.id)).end_user


async def test_without_keys_for_tokens_there_are_no_tokens(world: World) -> None:
    access = Authenticator(
        world.storage, TenantDirectory(world.storage, QUOTAS), world.clock, world.component
    )
    await access.refresh()
    with pytest.raises(CredentialsInvalid):
        access.authenticate(f"Bearer {token()}", REMOTE)


@pytest.mark.parametrize("state", [TenantState.SUSPENDED, TenantState.DELETING])
async def test_a_tenant_that_is_suspended_or_being_deleted_stays_out(
    world: World, state: TenantState
) -> None:
    made = new_key(START)
    world.storage.add(made)
    await world.access.refresh()
    by_key, by_token = world.enter(made.key), world.enter(token())
    world.storage.by_name["acme"] = tenant("acme", state)
    await world.access.refresh()
    assert world.refused(made.key) is world.refused(token()) is TenantSuspended
    for principal in (by_key, by_token):
        assert isinstance(world.access.still_valid(principal), TenantSuspended)
    world.storage.by_name["acme"] = tenant("acme")
    await world.access.refresh()
    assert world.enter(made.key) == by_key


async def test_a_tenant_that_is_gone_takes_its_streams_along(world: World) -> None:
    await world.access.refresh()
    principal = world.enter(token())
    del world.storage.by_name["acme"]
    await world.access.refresh()
    assert isinstance(world.access.still_valid(principal), TenantSuspended)


async def test_a_revocation_ends_what_was_let_in(world: World) -> None:
    made = new_key(START)
    world.storage.add(made)
    await world.access.refresh()
    principal = world.enter(made.key)
    assert world.access.still_valid(principal) is None
    world.storage.add(made, revoke_time=START)
    await world.access.refresh()
    assert world.refused(made.key) is CredentialsRevoked
    assert isinstance(world.access.still_valid(principal), CredentialsRevoked)
    world.storage.by_hash = {}  # revoked a day ago
    await world.access.refresh()
    assert isinstance(world.access.still_valid(principal), CredentialsRevoked)


async def test_who_cannot_be_checked_for_five_seconds_is_refused(world: World) -> None:
    made = new_key(START)
    world.storage.add(made)
    await world.access.refresh()
    principal = world.enter(made.key)
    world.storage.away = True
    with pytest.raises(StorageUnavailable):
        await world.access.refresh()
    assert world.state() is ComponentState.DEGRADED
    world.elapsed += UNCHECKED_AFTER_S
    assert world.enter(made.key) == principal
    world.elapsed += 0.001
    assert world.refused(made.key) is world.refused(token()) is CredentialsUnchecked
    assert isinstance(world.access.still_valid(principal), CredentialsUnchecked)
    with pytest.raises(StorageUnavailable):
        await world.access.refresh()
    assert world.state() is ComponentState.DOWN
    world.storage.away = False
    await world.access.refresh()
    assert world.enter(made.key) == principal
    assert world.state() is ComponentState.OK


async def test_a_look_counts_from_its_beginning(world: World) -> None:
    """What a slow look brings is as old as the look."""
    world.storage.held.clear()
    looking = asyncio.create_task(world.access.refresh())
    await world.storage.looks.acquire()
    world.elapsed += UNCHECKED_AFTER_S + 0.001
    world.storage.held.set()
    await looking
    assert world.refused(None, LOCAL) is CredentialsUnchecked


async def test_the_first_look_after_a_commit_sees_it(world: World) -> None:
    """A look under way when a key is revoked may have read it before: catching up takes another one."""
    made = new_key(START)
    world.storage.add(made)
    world.storage.held.clear()
    looking = asyncio.create_task(world.access.refresh())
    await world.storage.looks.acquire()
    world.storage.add(made, revoke_time=START)
    catching_up = asyncio.create_task(world.access.catch_up())
    world.storage.held.set()
    await asyncio.gather(looking, catching_up)
    assert world.refused(made.key) is CredentialsRevoked


async def test_catching_up_never_fails(world: World) -> None:
    world.storage.away = True
    await world.access.catch_up()


async def test_it_looks_at_once_after_a_commit_that_concerns_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tocsin_server.service.access.REFRESH_INTERVAL_S", 3600)
    running = asyncio.create_task(world.access.run())
    world.access.on_commit(Committed())
    world.access.on_commit(Committed(credentials_changed=True))
    try:
        async with asyncio.timeout(30):
            await world.storage.looks.acquire()
    finally:
        running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert world.storage.looks.locked()


async def test_it_goes_on_looking_whatever_happens(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_server.service.access.REFRESH_INTERVAL_S", 0)
    failures = iter([StorageUnavailable(), ValueError("a row that makes no sense")])
    look = world.storage.tenants

    async def failing(after: str, limit: int) -> list[Tenant]:
        error = next(failures, None)
        if error is not None:
            raise error
        return await look(after, limit)

    monkeypatch.setattr(world.storage, "tenants", failing)
    running = asyncio.create_task(world.access.run())
    try:
        async with asyncio.timeout(30):
            while world.access.still_valid(Principal("default", "", frozenset())) is not None:
                await world.storage.looks.acquire()
    finally:
        running.cancel()
    assert world.state() is ComponentState.OK


async def test_a_look_that_is_not_answered_is_told_of(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then everyone is refused, and it may be long until the connection is given up."""
    await world.access.refresh()
    monkeypatch.setattr("tocsin_server.service.access.UNCHECKED_AFTER_S", 0.1)
    world.storage.held.clear()
    world.elapsed += UNCHECKED_AFTER_S + 1
    running = asyncio.create_task(world.access.run())
    try:
        await eventually(lambda: world.state() is ComponentState.DOWN, "it to be shown as down", 5)
        world.storage.held.set()
        await eventually(lambda: world.state() is ComponentState.OK, "it to be well again", 5)
    finally:
        running.cancel()


async def test_verified_tokens_are_kept_in_bounds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_server.service.access._VERIFIED_TOKENS", 2)
    await world.access.refresh()
    first, second, third = (token(jti=number) for number in range(3))
    kept = world.enter(first)
    dropped = world.enter(second)
    assert world.enter(first) is kept  # used last, so the second is the oldest
    world.enter(third)
    assert world.enter(first) is kept
    again = world.enter(second)
    assert again == dropped
    assert again is not dropped


async def test_secrets_are_in_no_message(world: World) -> None:
    await world.access.refresh()
    made = new_key(START)
    for credential in (made.key, token(tenant="nowhere"), "opaque-secret"):
        with pytest.raises(TocsinError) as refused:
            world.enter(credential)
        said = f"{refused.value} {refused.value.detail} {refused.value.metadata}"
        assert credential not in said
        assert credential.rpartition("_")[2] not in said
