"""API keys as callers hold them: `tsk_<id>_<secret>`.

The id is public: it stands in logs and lists and sorts by time. The secret is 160 random bits; only the SHA-256 of the
whole key is kept. A slow password hash would protect nothing here, as there is no guessable password behind it, and
would cost every call 100 ms. Both parts are written in the digits of Crockford's base 32, so that a key is selected by
a double click, survives being read aloud, and is found by secret scanners.
"""

import secrets
from hashlib import sha256
from typing import NamedTuple

from tocsin_server.domain.time import Micros

PREFIX = "tsk_"

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGIT_BITS = 5
_ID_RANDOM_BITS = 32
_ID_DIGITS = (48 + _ID_RANDOM_BITS) // _DIGIT_BITS
_SECRET_DIGITS = 160 // _DIGIT_BITS
_KEY_LENGTH = len(PREFIX) + _ID_DIGITS + 1 + _SECRET_DIGITS


class NewKey(NamedTuple):
    """A key that was just made."""

    id: str
    key: str
    """What the caller sends; shown once."""
    hash: bytes
    """What is kept."""


def new_key(now: Micros) -> NewKey:
    """A key that nobody can guess."""
    key_id = _written(now // 1000 << _ID_RANDOM_BITS | secrets.randbits(_ID_RANDOM_BITS), _ID_DIGITS)
    key = f"{PREFIX}{key_id}_{_written(secrets.randbits(_SECRET_DIGITS * _DIGIT_BITS), _SECRET_DIGITS)}"
    return NewKey(key_id, key, key_hash(key))


def id_in_key(key: str) -> str | None:
    """The id in a key; None for what cannot be one. Says nothing of whether the key is good."""
    if len(key) != _KEY_LENGTH or not key.isascii() or key[-_SECRET_DIGITS - 1] != "_":
        return None
    return key[len(PREFIX) : len(PREFIX) + _ID_DIGITS]


def key_hash(key: str) -> bytes:
    """What is kept of a key."""
    return sha256(key.encode("ascii")).digest()


def _written(number: int, digits: int) -> str:
    places = range((digits - 1) * _DIGIT_BITS, -1, -_DIGIT_BITS)
    return "".join(_DIGITS[number >> place & 31] for place in places)
