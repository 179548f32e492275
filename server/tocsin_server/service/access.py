"""Who calls: API keys, end users' tokens, and nobody in particular while there is no key.

Every call is judged from memory. What is in memory is read from storage more than twice a second, and at once after a
commit that changed it, so that a revocation holds within a second on every replica; without a successful look for five
seconds nobody is let in any more.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from typing import TYPE_CHECKING

import structlog

from tocsin_server.domain.access import DEFAULT_TENANT, ApiKey, Principal, Scope
from tocsin_server.domain.errors import (
    CredentialsExpired,
    CredentialsInvalid,
    CredentialsMissing,
    CredentialsRevoked,
    CredentialsUnchecked,
    StorageUnavailable,
    TenantSuspended,
    TocsinError,
)
from tocsin_server.domain.listening import is_local_peer
from tocsin_server.domain.tenant import TenantState
from tocsin_server.service.credentials import PREFIX, id_in_key, key_hash
from tocsin_server.service.ports import ApiKeyReader, Clock, Committed
from tocsin_server.service.status import Component
from tocsin_server.service.tenants import TenantDirectory

if TYPE_CHECKING:
    from tocsin_server.service.tokens import TokenVerifier  # brings cryptography, which takes long to import

REFRESH_INTERVAL_S = 0.4
"""With the half second between two looks at every stream it stays below the second that is promised."""
UNCHECKED_AFTER_S = 5.0

_VERIFIED_TOKENS = 10_000
"""Tokens whose signature need not be checked again; about 1 KB each."""
_LOCAL_PEERS = 4_096

ANYONE = Principal(DEFAULT_TENANT, "", frozenset(Scope))
"""A caller on this machine while there is no key."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _KnownKey:
    key: ApiKey
    hash: bytes
    principal: Principal


class Authenticator:
    """Tells who calls, and whether a caller is still welcome.

    Use as: construct, `await refresh()`, then `run()` in a task. Everything but these two is synchronous.
    """

    def __init__(
        self,
        keys: ApiKeyReader,
        tenants: TenantDirectory,
        clock: Clock,
        component: Component,
        *,
        tokens: "TokenVerifier | None" = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = keys
        self._tenants = tenants
        self._clock = clock
        self._component = component
        self._tokens = tokens
        self._monotonic = monotonic
        self._by_hash: dict[bytes, ApiKey] = {}
        self._keys: dict[str, _KnownKey] = {}
        self._verified: OrderedDict[str, Principal] = OrderedDict()
        self._is_local_peer = lru_cache(_LOCAL_PEERS)(is_local_peer)
        self._unchecked_from = float("-inf")
        self._changed = asyncio.Event()
        self._refreshing = asyncio.Lock()

    @property
    def has_keys(self) -> bool:
        """Whether an API key exists: if one does, everyone needs credentials."""
        return bool(self._keys)

    def authenticate(self, authorization: str | None, peer: str) -> Principal:
        """The caller, from its `authorization` header and its address as gRPC names it.

        Raises an Unauthenticated, TenantSuspended or CredentialsUnchecked.
        """
        if authorization is None:
            # Before the first look, nobody can tell whether there are keys.
            if self._keys or not self._is_local_peer(peer):
                raise CredentialsMissing
            principal = ANYONE
        else:
            scheme, _, credential = authorization.partition(" ")
            if scheme != "Bearer" and scheme.lower() != "bearer":
                raise CredentialsInvalid(detail="not a bearer token")
            principal = (
                self._by_key(credential) if credential.startswith(PREFIX) else self._by_token(credential)
            )
        error = self.still_valid(principal)
        if error is not None:
            raise error
        return principal

    def still_valid(self, principal: Principal) -> TocsinError | None:
        """Why a caller that was let in before is to be let in no more; None: it is welcome. Under a microsecond.

        CredentialsUnchecked is among the reasons: a stream that goes on while nobody can tell whether it may is one
        that a revocation does not reach.
        """
        if self._monotonic() > self._unchecked_from:
            return CredentialsUnchecked()
        if not principal.end_user:
            if principal.name:
                known = self._keys.get(principal.name)
                if known is None or known.key.revoke_time is not None:
                    return CredentialsRevoked(api_key_id=principal.name)
            elif self._keys:
                return CredentialsMissing()
        if principal.expire_time is not None and principal.expire_time <= self._clock.now():
            return CredentialsExpired()
        if self._tenants.state(principal.tenant) is not TenantState.ACTIVE:
            return TenantSuspended(tenant=principal.tenant)
        return None

    async def refresh(self) -> None:
        """Takes what storage says now. Once it returns, what was committed before it was called holds here.

        Raises StorageUnavailable; what was known stays then.
        """
        async with self._refreshing:
            started = self._monotonic()
            try:
                by_hash = await self._reader.all_active_keys()
                await self._tenants.refresh()
            except StorageUnavailable as error:
                self._failed(error)
                raise
            self._take(by_hash)
            if self._tokens is not None and self._tokens.reload():
                self._verified.clear()
            self._unchecked_from = started + UNCHECKED_AFTER_S
        self._component.ok()

    async def run(self) -> None:
        """Looks every so often and after every commit of credentials, until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), REFRESH_INTERVAL_S)
            self._changed.clear()
            try:
                async with asyncio.timeout(UNCHECKED_AFTER_S):
                    await self.refresh()
            except StorageUnavailable:
                pass
            except TimeoutError:
                # What would still come is too old to let anybody in by.
                self._failed(StorageUnavailable(detail="storage does not answer"))
            except Exception:
                # Whatever it is, looking has to go on: five seconds from now it would keep everyone out.
                _log.exception("credentials could not be read")

    async def catch_up(self) -> None:
        """After a commit that changed keys or tenants: acts on it, unless storage takes too long.

        So that a key works, or is refused, as soon as its creator or revoker was answered. What was committed is not
        undone by a failure to read it again, and the next look makes up for it.
        """
        with suppress(StorageUnavailable, TimeoutError):
            async with asyncio.timeout(REFRESH_INTERVAL_S):
                await self.refresh()

    def on_commit(self, committed: Committed) -> None:
        """A commit listener."""
        if committed.credentials_changed:
            self._changed.set()

    def _take(self, by_hash: dict[bytes, ApiKey]) -> None:
        if by_hash is self._by_hash:
            return
        self._by_hash = by_hash
        self._keys = {key.id: _KnownKey(key, hash, key.principal()) for hash, key in by_hash.items()}

    def _failed(self, error: StorageUnavailable) -> None:
        detail = f"credentials cannot be read: {error.detail or error.message}"
        if self._monotonic() > self._unchecked_from:
            self._component.down(detail, "Every call is refused.")
        else:
            self._component.degraded(detail, "Revocations do not reach this server.")

    def _by_key(self, credential: str) -> Principal:
        known = self._keys.get(id_in_key(credential) or "")
        if known is None or not compare_digest(known.hash, key_hash(credential)):
            raise CredentialsInvalid(detail="there is no such API key")
        return known.principal

    def _by_token(self, credential: str) -> Principal:
        principal = self._verified.get(credential)
        if principal is not None:
            self._verified.move_to_end(credential)
            return principal
        if self._tokens is None:
            raise CredentialsInvalid(detail="neither an API key, nor are end users' tokens set up")
        principal = self._tokens.verify(credential, self._clock.now())
        if self._tenants.state(principal.tenant) is None:
            raise CredentialsInvalid(detail="the token's tenant does not exist")
        self._verified[credential] = principal
        if len(self._verified) > _VERIFIED_TOKENS:
            self._verified.popitem(last=False)
        return principal
