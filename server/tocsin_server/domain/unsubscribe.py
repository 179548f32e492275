"""Unsubscribe tokens: each lets whoever holds it leave one category on one channel for one recipient, and nothing else.

A token is `version ‖ channel ‖ tenant NUL category NUL recipient ‖ MAC` in URL-safe base64 without padding (RFC 4648,
section 5). The MAC is keyed BLAKE2b (RFC 7693); the key is derived from the store's, for this purpose alone, so that a
token works on every replica and for as long as the store lives: a mail is kept for years. What it says is no secret to
its holder, who received the mail.
"""

from base64 import b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from hashlib import blake2b
from hmac import compare_digest

from tocsin_server.domain.errors import UnsubscribeTokenInvalid
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.value import Value

_VERSION = 1
_MAC_BYTES = 16
_HEAD_BYTES = 2
_PURPOSE = b"tocsin unsubscribe token 1"


class Subscription(Value, frozen=True):
    """What a token is about. None of the names has a NUL in it."""

    tenant: str
    recipient: str
    category: str
    channel: Channel


def unsubscribe_key(store_key: bytes) -> bytes:
    """The key of tokens, from the key of the store."""
    return blake2b(_PURPOSE, key=store_key).digest()


def seal_subscription(key: bytes, subscription: Subscription) -> str:
    """The token: the same for the same subscription."""
    names = (subscription.tenant, subscription.category, subscription.recipient)
    body = bytes((_VERSION, subscription.channel)) + "\0".join(names).encode()
    return _written(body + _mac(key, body))


def open_subscription(key: bytes, token: str) -> Subscription:
    """What a token says. Raises UnsubscribeTokenInvalid for one that the key did not make."""
    try:
        sealed = b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (Base64Error, ValueError):
        raise UnsubscribeTokenInvalid from None
    body, mac = sealed[:-_MAC_BYTES], sealed[-_MAC_BYTES:]
    # Base64 has several ways to write most bytes; a token has one.
    if not compare_digest(mac, _mac(key, body)) or _written(sealed) != token:
        raise UnsubscribeTokenInvalid
    tenant, category, recipient = body[_HEAD_BYTES:].decode().split("\0")
    return Subscription(tenant, recipient, category, Channel(body[1]))


def _written(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).decode("ascii").rstrip("=")


def _mac(key: bytes, body: bytes) -> bytes:
    return blake2b(body, key=key, digest_size=_MAC_BYTES).digest()
