"""Which keys the store hands to those who check them."""

from pathlib import Path

from tests.support.stores import START, TurnedClock, stored
from tocsin_server.domain.access import ApiKey, Scope
from tocsin_server.domain.commands import Answer, CreateApiKey, RevokeApiKey
from tocsin_server.domain.time import DAY, HOUR
from tocsin_server.service.credentials import NewKey, new_key
from tocsin_server.service.ports import Committed
from tocsin_server.store.store import Store


async def create(store: Store, clock: TurnedClock, expire_time: int | None = None) -> NewKey:
    made = new_key(clock.now())
    key = ApiKey(made.id, "default", "k", (Scope.SEND,), ("a*",), ("b",), clock.now(), expire_time)
    (answer,) = await store.writer.submit([CreateApiKey(tenant="default", key=key, secret_hash=made.hash)])
    assert answer == Answer(key)
    return made


async def revoke(store: Store, made: NewKey) -> None:
    await store.writer.submit([RevokeApiKey(tenant="default", key_id=made.id, key_tenant=None)])


async def test_a_key_comes_back_as_it_was_stored(tmp_path: Path, database_url: str | None) -> None:
    clock = TurnedClock()
    async with stored(tmp_path, clock, url=database_url) as store:
        made = await create(store, clock, START + HOUR)
        known = await store.api_keys.all_active_keys()
        assert known == {
            made.hash: ApiKey(made.id, "default", "k", (Scope.SEND,), ("a*",), ("b",), START, START + HOUR)
        }
        assert await store.api_keys.api_keys("default", None, 10) == [known[made.hash]]


async def test_keys_survive_the_process(tmp_path: Path, database_url: str | None) -> None:
    clock = TurnedClock()
    async with stored(tmp_path, clock, url=database_url) as store:
        made = await create(store, clock)
    async with stored(tmp_path, clock, url=database_url) as store:
        assert list(await store.api_keys.all_active_keys()) == [made.hash]


async def test_revoked_keys_are_known_for_a_day(tmp_path: Path, database_url: str | None) -> None:
    clock = TurnedClock()
    async with stored(tmp_path, clock, url=database_url) as store:
        first = await create(store, clock)
        clock.time += HOUR
        second = await create(store, clock)
        await revoke(store, first)
        assert set(await store.api_keys.all_active_keys()) == {first.hash, second.hash}
        clock.time += DAY
        third = await create(store, clock)
        assert set(await store.api_keys.all_active_keys()) == {second.hash, third.hash}


async def test_the_newest_key_is_always_known_so_that_no_revocation_lets_everybody_in(
    tmp_path: Path, database_url: str | None
) -> None:
    clock = TurnedClock()
    async with stored(tmp_path, clock, url=database_url) as store:
        made = await create(store, clock)
        await revoke(store, made)
        clock.time += 30 * DAY
    async with stored(tmp_path, clock, url=database_url) as store:
        assert set(await store.api_keys.all_active_keys()) == {made.hash}


async def test_nothing_is_read_again_while_nothing_changes(tmp_path: Path, database_url: str | None) -> None:
    clock = TurnedClock()
    async with stored(tmp_path, clock, url=database_url) as store:
        empty = await store.api_keys.all_active_keys()
        assert await store.api_keys.all_active_keys() is empty
        made = await create(store, clock)
        one = await store.api_keys.all_active_keys()
        assert await store.api_keys.all_active_keys() is one
        await revoke(store, made)
        revoked = await store.api_keys.all_active_keys()
        assert one[made.hash].revoke_time is None
        assert revoked[made.hash].revoke_time == START


async def test_every_change_of_keys_is_announced(tmp_path: Path, database_url: str | None) -> None:
    clock = TurnedClock()
    commits: list[Committed] = []
    async with stored(tmp_path, clock, url=database_url, commits=commits) as store:
        made = await create(store, clock)
        await revoke(store, made)
        await revoke(store, made)
    assert [committed.credentials_changed for committed in commits] == [True, True, False]
