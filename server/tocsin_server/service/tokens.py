"""End users' tokens: JSON Web Tokens (RFC 7519) whose subject is the recipient that they speak for.

They are signed by whoever signs the users in; the server holds what is needed to check that: a secret for HS256, or a
JSON Web Key Set (RFC 7517). Which algorithms are allowed follows from the type of the key alone. What a token says
about itself is never believed, so a public key cannot be passed off as a secret, nor a signature left out.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key
from joserfc.util import urlsafe_b64decode

from tocsin_server.domain.access import END_USER_SCOPES, Principal
from tocsin_server.domain.errors import CredentialsExpired, CredentialsInvalid
from tocsin_server.domain.time import SECOND, Micros
from tocsin_server.service.files import WatchedFiles

MIN_SECRET_BYTES = 32
"""RFC 7518, section 3.2: a secret at least as long as the hash."""
MIN_RSA_BITS = 2048
NOT_BEFORE_LEEWAY: Micros = 10 * SECOND
"""Clocks differ: a token may be used so long before its `nbf`. There is none for `exp`."""

# The contract's rule for a recipient's key. Surrogates: JSON can say half of one, storage cannot hold it.
_RECIPIENT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")
_LAST_SECOND = 253_402_300_799
"""9999-12-31, as for all times in the contract."""
_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVE_ALGORITHMS = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA", "Ed25519"}),
}

_log = structlog.get_logger(__name__)


class TokenKeysUnusable(Exception):
    """Keys of tokens cannot be read or used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say."""

    issuer: str | None = None
    audience: str | None = None
    default_tenant: str = "default"
    """Tenant of tokens without a `tenant` claim."""


@dataclass(frozen=True, slots=True)
class _VerifyingKey:
    key: Key
    algorithms: frozenset[str]
    id: str | None


class TokenVerifier:
    """Checks tokens. Raises TokenKeysUnusable at the start; later, bad files leave the keys as they are."""

    def __init__(
        self, rules: TokenRules, *, secret_file: Path | None = None, jwks_file: Path | None = None
    ) -> None:
        self._rules = rules
        self._secret_file = secret_file
        self._jwks_file = jwks_file
        self._files = WatchedFiles([path for path in (secret_file, jwks_file) if path])
        self._files.changed()
        self._keys = self._read()

    def reload(self) -> bool:
        """Takes the keys from the files if these changed. True: what was verified before is to be verified again."""
        if not self._files.changed():
            return False
        try:
            self._keys = self._read()
        except TokenKeysUnusable as error:
            _log.error("the keys of tokens stay as they were", reason=str(error))
            return False
        _log.info("the keys of tokens were read again", keys=len(self._keys))
        return True

    def verify(self, token: str, now: Micros) -> Principal:
        """The end user who holds the token. Raises CredentialsInvalid, CredentialsExpired."""
        return self._principal(self._claims(token), now)

    def _read(self) -> list[_VerifyingKey]:
        keys: list[_VerifyingKey] = []
        for path, parse in ((self._secret_file, _secret), (self._jwks_file, _public_keys)):
            if path is not None:
                try:
                    keys += parse(path.read_bytes())
                except OSError as error:
                    raise TokenKeysUnusable(f"{path}: {error.strerror}") from error
                except ValueError as error:
                    raise TokenKeysUnusable(f"{path}: {error}") from error
                except (AttributeError, KeyError, TypeError) as error:
                    raise TokenKeysUnusable(f"{path}: is not a JSON Web Key Set") from error
        return keys

    def _claims(self, token: str) -> Mapping[str, Any]:
        """The claims, once a signature was found good."""
        try:
            header = json.loads(urlsafe_b64decode(token.partition(".")[0].encode("ascii")))
            algorithm, key_id = str(header["alg"]), header.get("kid")
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise CredentialsInvalid(detail="not a JSON Web Token") from None
        for key in self._keys:
            if algorithm not in key.algorithms or (key_id is not None and key.id not in (None, key_id)):
                continue
            try:
                return jwt.decode(token, key.key, algorithms=[algorithm]).claims
            except (JoseError, TypeError, ValueError, RecursionError):
                continue
        raise CredentialsInvalid(
            detail=f"no key verifies the token (alg {algorithm!r:.20}, kid {key_id!r:.60})"
        )

    def _principal(self, claims: Mapping[str, Any], now: Micros) -> Principal:
        expire_time, not_before = _instant(claims.get("exp")), _instant(claims.get("nbf", 0))
        if expire_time is None or not_before is None:
            raise CredentialsInvalid(detail="the token's exp is missing, or exp or nbf is not a time")
        if self._rules.issuer is not None and claims.get("iss") != self._rules.issuer:
            raise CredentialsInvalid(detail="the token is of another issuer")
        if self._rules.audience is not None and self._rules.audience not in _listed(claims.get("aud")):
            raise CredentialsInvalid(detail="the token is for another audience")
        if not_before > now + NOT_BEFORE_LEEWAY:
            raise CredentialsInvalid(detail="the token is not valid yet")
        subject, tenant = claims.get("sub"), claims.get("tenant", self._rules.default_tenant)
        if not _is_recipient(subject):
            raise CredentialsInvalid(detail="the token's sub is not the key of one recipient")
        if not isinstance(tenant, str):
            raise CredentialsInvalid(detail="the token's tenant is not a name")
        if expire_time <= now:
            raise CredentialsExpired
        return Principal(tenant, subject, END_USER_SCOPES, (subject,), (), expire_time, end_user=True)


def _secret(content: bytes) -> list[_VerifyingKey]:
    secret = content.rstrip(b"\r\n")
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(f"a secret for HS256 has at least {MIN_SECRET_BYTES} bytes")
    return [_VerifyingKey(OctKey.import_key(secret), frozenset({"HS256"}), None)]


def _public_keys(content: bytes) -> list[_VerifyingKey]:
    """Those keys of a set that verify signatures. What else is in it is passed over (RFC 7517, section 5)."""
    keys: list[_VerifyingKey] = []
    unusable: list[str] = []
    for described in json.loads(content)["keys"]:
        if described.get("use", "sig") != "sig":
            continue
        try:
            key = import_key(described)
            keys.append(_VerifyingKey(key, _algorithms(key), described.get("kid")))
        except (JoseError, KeyError, TypeError, ValueError) as error:
            unusable.append(f"{described.get('kid', 'a key')!s:.60}: {error}")
    if not keys:
        raise ValueError(f"no key in it verifies signatures{''.join(f'; {reason}' for reason in unusable)}")
    if unusable:
        _log.warning("some keys of tokens cannot be used", keys=unusable)
    return keys


def _algorithms(key: Key) -> frozenset[str]:
    """What a key may verify. Raises ValueError for one that is not to be used."""
    if isinstance(key, RSAKey):
        if key.public_key.key_size < MIN_RSA_BITS:
            raise ValueError(f"an RSA key has at least {MIN_RSA_BITS} bits")
        allowed = _RSA_ALGORITHMS
    elif isinstance(key, ECKey | OKPKey) and key.curve_name in _CURVE_ALGORITHMS:
        allowed = _CURVE_ALGORITHMS[key.curve_name]
    else:
        raise ValueError(f"keys of type {key.key_type} are not used here; a secret has a file of its own")
    named = key.get("alg")
    return allowed if named is None else allowed & {named}


def _instant(seconds: object) -> Micros | None:
    """A NumericDate (RFC 7519, section 2), which may have a fraction."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return int(seconds * SECOND) if abs(seconds) <= _LAST_SECOND else None


def _listed(audience: object) -> Iterable[object]:
    return audience if isinstance(audience, list) else [audience]


def _is_recipient(subject: object) -> TypeGuard[str]:
    """A trailing `*` would make a pattern of it, and so one user of many."""
    return (
        isinstance(subject, str) and _RECIPIENT.fullmatch(subject) is not None and not subject.endswith("*")
    )
