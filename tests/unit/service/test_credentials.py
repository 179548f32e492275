"""What API keys look like and what is kept of them."""

import re
from hashlib import sha256

import pytest

from tests.support.stores import START
from tocsin_server.domain.time import SECOND
from tocsin_server.service.credentials import id_in_key, key_hash, new_key


def test_a_key_has_a_public_id_and_160_secret_bits() -> None:
    made = new_key(START)
    assert re.fullmatch(rf"tsk_{made.id}_[0-9a-hjkmnp-tv-z]{{32}}", made.key)
    assert id_in_key(made.key) == made.id
    assert made.hash == key_hash(made.key) == sha256(made.key.encode()).digest()


def test_ids_sort_by_time() -> None:
    ids = [new_key(START + seconds * SECOND).id for seconds in (0, 1, 60, 86_400, 10**9)]
    assert ids == sorted(ids)
    assert {len(id) for id in ids} == {16}


def test_no_two_keys_are_alike() -> None:
    made = [new_key(START) for _ in range(1_000)]
    assert len({key.id for key in made}) == len({key.hash for key in made}) == len(made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tsk_",
        "tsk_0123456789abcdef",  # no secret
        "tsk_0123456789abcdef_" + "0" * 31,  # too short
        "tsk_0123456789abcdef_" + "0" * 33,  # too long
        "tsk_0123456789abcdef0_" + "0" * 31,  # the parts have other lengths
        "tsk_0123456789abcdef_" + "0" * 31 + "é",  # not ASCII
    ],
)
def test_what_cannot_be_a_key_has_no_id(text: str) -> None:
    assert id_in_key(text) is None
