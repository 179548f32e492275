"""Notification ids: UUIDv7 (RFC 9562) that carry 12 bits of their recipient's hash.

Layout, from the highest bit: 48 bits Unix milliseconds, 4 bits version 7, 12 bits of the millisecond's fraction (RFC
9562, section 6.2, method 3), 2 bits variant, 12 bits recipient hash, 50 random bits. So ids sort by time, and an id
alone tells the partition that its recipient falls into.
"""

from zlib import crc32

from tocsin_server.domain.time import Micros

RECIPIENT_HASH_BITS = 12
RANDOM_BITS = 50

ID_CHARS = 36
"""Of an id in its usual form."""

_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def recipient_hash(tenant: str, recipient: str) -> int:
    """12 bits, the same in every process and every version."""
    return crc32(f"{tenant}\0{recipient}".encode()) >> (32 - RECIPIENT_HASH_BITS)


def hash_in_id(id: bytes) -> int:
    """The hash of the recipient whose notification it is."""
    return int.from_bytes(id, "big") >> RANDOM_BITS & ((1 << RECIPIENT_HASH_BITS) - 1)


def notification_id(now: Micros, recipient_hash: int, random: int) -> bytes:
    """A new id, 16 bytes; `random` holds 50 random bits."""
    millis, fraction = divmod(now, 1000)
    return (
        millis << 80
        | _VERSION
        | (fraction * 4096 // 1000) << 64
        | _VARIANT
        | recipient_hash << RANDOM_BITS
        | random
    ).to_bytes(16, "big")


def time_part(now: Micros) -> bytes:
    """The first 8 bytes of ids that are made at a time."""
    return notification_id(now, 0, 0)[:8]


def recipient_part(tenant: str, recipient: str) -> bytes:
    """The ninth and tenth byte of the ids of a recipient's notifications, where two of the random bits are 0.

    Kept with the recipient: with `time_part` before it and 6 random bytes behind it, a database makes ids by itself.
    """
    return notification_id(0, recipient_hash(tenant, recipient), 0)[8:10]


def lowest_id_at(instant: Micros) -> bytes:
    """No id made at or after the instant sorts below this, and every one made before does."""
    return notification_id(max(instant, 0), 0, 0)


def format_id(id: bytes) -> str:
    """The usual form: lower-case hexadecimal with hyphens."""
    digits = id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def parse_id(text: str) -> bytes:
    """Inverse of `format_id`, in either case. Raises ValueError for anything else."""
    id = bytes.fromhex(text.replace("-", ""))
    if format_id(id) != text.lower():
        raise ValueError(f"{text!r} is not a UUID")
    return id
