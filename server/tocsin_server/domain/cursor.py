"""Cursors: opaque, unforgeable positions in one recipient's order of changes.

A token is `version ‖ recipient digest ‖ incarnation ‖ filter ‖ revision ‖ MAC`, 39 bytes, in URL-safe base64 (RFC 4648,
section 5). The MAC is keyed BLAKE2b (RFC 7693) with a key that lives in the store, so that a cursor survives restarts
and works on every replica.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b
from hmac import compare_digest

from tocsin_server.domain.errors import CursorExpired, CursorInvalid, CursorMismatch, IncarnationChanged
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.value import Value

_VERSION = b"\x01"
_DIGEST_BYTES = 8
_INCARNATION_BYTES = 8
_FILTER_BYTES = 4
_REVISION_BYTES = 8
_MAC_BYTES = 10
_TOKEN_BYTES = 1 + _DIGEST_BYTES + _INCARNATION_BYTES + _FILTER_BYTES + _REVISION_BYTES + _MAC_BYTES

UNBORN = bytes(_INCARNATION_BYTES)
"""The incarnation of an inbox that does not exist yet: its cursor stands before whatever will come."""

UNFILTERED = bytes(_FILTER_BYTES)
"""The filter of everything."""


class Cursor(Value, frozen=True):
    """A position: everything of this incarnation and filter up to the revision."""

    incarnation: bytes
    filter: bytes
    revision: int


def filter_digest(categories: tuple[str, ...]) -> bytes:
    """What a cursor keeps of a filter; order does not matter."""
    if not categories:
        return UNFILTERED
    return blake2b("\0".join(sorted(categories)).encode(), digest_size=_FILTER_BYTES).digest()


def incarnation_in_epoch(incarnation: bytes, epoch: bytes) -> bytes:
    """The incarnation as cursors know it: a bump of the store's epoch changes every one at once."""
    return (int.from_bytes(incarnation) ^ int.from_bytes(epoch)).to_bytes(_INCARNATION_BYTES)


class CursorMint:
    """Makes cursors for one (tenant, recipient, incarnation, filter), as cheaply as it can be done."""

    __slots__ = ("_key", "_prefix")

    def __init__(self, key: bytes, tenant: str, recipient: str, incarnation: bytes, filter: bytes) -> None:
        self._key = key
        self._prefix = _VERSION + _recipient_digest(tenant, recipient) + incarnation + filter

    def token(self, revision: int) -> str:
        """The cursor at a revision."""
        return self.token_bytes(revision).decode("ascii")

    def token_bytes(self, revision: int) -> bytes:
        """The same as ASCII bytes, for whoever writes it to the wire."""
        body = self._prefix + revision.to_bytes(_REVISION_BYTES)
        mac = blake2b(body, key=self._key, digest_size=_MAC_BYTES).digest()
        return urlsafe_b64encode(body + mac)


def open_cursor(key: bytes, tenant: str, recipient: str, token: str) -> Cursor:
    """What a token says.

    Raises CursorInvalid for a token that the key did not make, CursorMismatch for one of another recipient.
    """
    try:
        raw = b64decode(token, altchars=b"-_", validate=True)
    except (Base64Error, ValueError):
        raise CursorInvalid from None
    body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    # 39 bytes are 52 characters without padding, so that there is one way to write a cursor.
    if (
        len(raw) != _TOKEN_BYTES
        or token.endswith("=")
        or not compare_digest(mac, blake2b(body, key=key, digest_size=_MAC_BYTES).digest())
    ):
        raise CursorInvalid
    digest, rest = body[1 : 1 + _DIGEST_BYTES], body[1 + _DIGEST_BYTES :]
    if digest != _recipient_digest(tenant, recipient):
        raise CursorMismatch
    incarnation, rest = rest[:_INCARNATION_BYTES], rest[_INCARNATION_BYTES:]
    return Cursor(incarnation, rest[:_FILTER_BYTES], int.from_bytes(rest[_FILTER_BYTES:]))


def check_resumable(cursor: Cursor, inbox: Inbox | None, filter: bytes) -> None:
    """Raises what keeps a cursor from being resumed from: CursorMismatch, IncarnationChanged, CursorExpired.

    A cursor ahead of its inbox means that the store was rewound; that, too, is another incarnation.
    """
    if cursor.filter != filter:
        raise CursorMismatch
    if cursor.incarnation == UNBORN:
        if inbox is not None and inbox.floor > 0:
            raise CursorExpired
        return
    if inbox is None or cursor.incarnation != inbox.incarnation or cursor.revision > inbox.revision:
        raise IncarnationChanged
    if cursor.revision < inbox.floor:
        raise CursorExpired


def _recipient_digest(tenant: str, recipient: str) -> bytes:
    return blake2b(f"{tenant}\0{recipient}".encode(), digest_size=_DIGEST_BYTES).digest()
