"""Profiles as they are found and listed: by key, in the order of code points, whatever the server's language."""

import pytest

from tests.support.desk import Desk
from tests.support.stores import TurnedClock
from tocsin_server.domain.commands import UpsertRecipient
from tocsin_server.domain.recipient import PROFILE_FIELDS, Profile
from tocsin_server.domain.time import HOUR
from tocsin_server.store.store import Store

KEYS = ["A", "Z", "a", "a%b", "a_b", "ab", "b?", "ä", "日本", "😀"]


async def upsert(desk: Desk, key: str, profile: Profile) -> None:
    await desk.submit(
        UpsertRecipient(tenant=desk.tenant, recipient=key, profile=profile, fields=PROFILE_FIELDS)
    )


@pytest.mark.parametrize(
    ("prefix", "after", "limit", "expected"),
    [
        ("", "", 100, KEYS),
        ("", "a", 3, ["a%b", "a_b", "ab"]),
        ("a", "", 100, ["a", "a%b", "a_b", "ab"]),
        ("a_", "", 100, ["a_b"]),
        ("a%", "", 100, ["a%b"]),
        ("b?", "", 100, ["b?"]),
        ("日", "", 100, ["日本"]),
        ("c", "", 100, []),
    ],
)
async def test_recipients_are_listed_by_code_points(
    desk: Desk, store: Store, prefix: str, after: str, limit: int, expected: list[str]
) -> None:
    for key in reversed(KEYS):
        await desk.send(key)
    found = await store.recipients.recipients("default", prefix, after, limit)
    assert [recipient.key for recipient in found] == expected


async def test_a_profile_comes_back_as_it_was_stored(desk: Desk, store: Store, clock: TurnedClock) -> None:
    profile = Profile("de-CH", "Europe/Zurich", {"name": 'Zoë "x" \\x00 %s ? :a 😀'})
    created = clock.time
    await desk.send("zoë")
    clock.time += HOUR
    await upsert(desk, "zoë", profile)
    found = await store.recipients.recipient("default", "zoë")
    assert found is not None
    assert (found.profile, found.create_time, found.update_time) == (profile, created, clock.time)
    assert await store.recipients.recipient("default", "nobody") is None
    assert await store.recipients.recipient("other", "zoë") is None
