"""Pages and the tokens that lead to the next one (AIP-158).

A token is a position sealed under keyed BLAKE2b together with what was asked for, so that it is refused where it was
not made.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from typing import Generic, TypeVar

from tocsin_server.domain.entry import StoredEntry
from tocsin_server.domain.errors import PageTokenInvalid

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000
MAX_PAGE_BYTES = 2 << 20
"""Half of what gRPC takes in one message unless it is told otherwise."""

_MAC_BYTES = 12

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list; an empty token on the last page."""

    items: list[Item]
    next_page_token: str = ""


def fitting(entries: list[StoredEntry]) -> list[StoredEntry]:
    """As many of the first entries as a response has room for, but at least one."""
    room = MAX_PAGE_BYTES
    for count, entry in enumerate(entries):
        room -= len(entry.content or b"") + len(entry.envelope)
        if room < 0 and count:
            return entries[:count]
    return entries


def effective_page_size(asked: int) -> int:
    """0 means the default; more than the maximum means the maximum."""
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


class PageTokens:
    """Seals and opens page tokens with a key that lives in the store."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def seal(self, kind: str, asked: object, position: str) -> str:
        """A token for the page after a position, for this kind of list and what was asked of it."""
        raw = position.encode()
        return urlsafe_b64encode(self._mac(kind, asked, raw) + raw).decode("ascii").rstrip("=")

    def open(self, kind: str, asked: object, token: str) -> str | None:
        """The position of a token; None for an empty one: the first page. Raises PageTokenInvalid."""
        if not token:
            return None
        try:
            sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except (Base64Error, ValueError):
            raise PageTokenInvalid from None
        mac, raw = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not compare_digest(mac, self._mac(kind, asked, raw)):
            raise PageTokenInvalid
        return raw.decode()

    def _mac(self, kind: str, asked: object, position: bytes) -> bytes:
        said = f"{kind}\0{asked!r}\0".encode() + position
        return blake2b(said, key=self._key, digest_size=_MAC_BYTES).digest()
