"""Request ids."""

import secrets
import time

__all__ = ("new_request_id",)


def new_request_id() -> str:
    """A new UUIDv7 (RFC 9562) as 32 hexadecimal digits: sorts by time, cannot be guessed, never comes twice.

    The 12 bits below the milliseconds hold their fraction (RFC 9562, section 6.2, method 3), so ids made one after the
    other sort so to a quarter of a microsecond; the other 62 bits are random.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = nanoseconds * 4096 // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | fraction << 64
    value |= 0b10 << 62 | secrets.randbits(62)
    return f"{value:032x}"
