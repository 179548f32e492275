"""Notification ids: valid UUIDs that sort by time and carry their recipient's hash."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_server.domain.ids import (
    RANDOM_BITS,
    RECIPIENT_HASH_BITS,
    format_id,
    lowest_id_at,
    notification_id,
    parse_id,
    recipient_hash,
)
from tocsin_server.domain.time import Micros

NOW: Micros = 1_800_000_000_123_456

instants = st.integers(0, 4_102_444_800_000_000)
hashes = st.integers(0, 2**RECIPIENT_HASH_BITS - 1)
randoms = st.integers(0, 2**RANDOM_BITS - 1)


@given(instants, hashes, randoms)
def test_an_id_is_a_uuid_of_version_7(now: Micros, hash: int, random: int) -> None:
    id = notification_id(now, hash, random)
    parsed = uuid.UUID(bytes=id)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert int.from_bytes(id) >> 80 == now // 1000
    assert int.from_bytes(id) >> RANDOM_BITS & 0xFFF == hash
    assert int.from_bytes(id) & 2**RANDOM_BITS - 1 == random
    assert format_id(id) == str(parsed)


@given(st.lists(st.tuples(instants, hashes, randoms), min_size=2, max_size=2))
def test_ids_sort_by_microsecond(made: list[tuple[Micros, int, int]]) -> None:
    (one, first), (two, second) = ((now, notification_id(now, hash, random)) for now, hash, random in made)
    if one != two:
        assert (one < two) is (first < second)


@given(instants, instants, hashes, randoms)
def test_a_time_divides_the_ids_made_before_from_those_made_since(
    now: Micros, instant: Micros, hash: int, random: int
) -> None:
    assert (notification_id(now, hash, random) >= lowest_id_at(instant)) is (now >= instant)


def test_before_1970_there_is_no_id() -> None:
    assert lowest_id_at(-1) == lowest_id_at(0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("acme", "ada"), ("acme", "ada"), True),
        (("acme", "ada"), ("acme", "bob"), False),
        (("acme", "ada"), ("other", "ada"), False),
        (("a", "bc"), ("ab", "c"), False),  # the pair is not joined into one word
    ],
)
def test_a_recipient_s_hash(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    assert (recipient_hash(*one) == recipient_hash(*other)) is same
    assert 0 <= recipient_hash(*one) < 2**RECIPIENT_HASH_BITS


def test_a_recipient_s_hash_is_the_same_in_every_version() -> None:
    """Stored ids carry it."""
    assert [recipient_hash("default", name) for name in ("ada", "bob", "zoë")] == [775, 1164, 898]


def test_an_id_is_written_as_a_uuid_and_read_in_either_case() -> None:
    id = notification_id(NOW, 5, 7)
    assert parse_id(format_id(id)) == id
    assert parse_id(format_id(id).upper()) == id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "00",  # too short
        "01a3185c50007000800000000000000g",  # not hexadecimal
        "01a3185c500070008000000000000000",  # without hyphens
        "01a3185c-5000-7000-8000-0000000000000",  # too long
        "01a3185c-5000-7000-80000000-00000000",  # hyphens elsewhere
        "01a3185c-5000-7000-8000-0000 0000000",  # a space
        " 01a3185c-5000-7000-8000-000000000000",
    ],
)
def test_what_is_not_a_uuid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_id(text)
