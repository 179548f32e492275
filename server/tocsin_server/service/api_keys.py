"""API keys: creating, listing and revoking them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tocsin_server.domain.access import ApiKey, Principal, Scope, matches
from tocsin_server.domain.commands import Answer, CreateApiKey, RequestSpace, RevokeApiKey
from tocsin_server.domain.errors import CategoryNotAllowed, RecipientNotAllowed
from tocsin_server.domain.time import Micros
from tocsin_server.service.credentials import new_key
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import ApiKeyReader, Clock, Codec, Writer
from tocsin_server.service.submitting import answered, request_key

_EVERYTHING = ("*",)


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key is to be able to do."""

    display_name: str
    scopes: tuple[Scope, ...]
    recipients: tuple[str, ...] = ()
    """Patterns; empty: all."""
    categories: tuple[str, ...] = ()
    """Patterns; empty: all."""
    expire_time: Micros | None = None
    tenant: str = ""
    """Empty: its creator's."""


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key, and once only what to send."""

    key: ApiKey
    secret: str
    """Empty in a replay, as it is not stored."""
    replayed: bool


class ApiKeys:
    """What administrators do with keys."""

    def __init__(
        self,
        writer: Writer,
        reader: ApiKeyReader,
        codec: Codec,
        page_tokens: PageTokens,
        clock: Clock,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """`catch_up` makes this server act on what was just committed; see `Authenticator.catch_up`."""
        self._writer = writer
        self._reader = reader
        self._codec = codec
        self._page_tokens = page_tokens
        self._clock = clock
        self._catch_up = catch_up

    async def create(
        self, principal: Principal, request_id: str, wanted: KeyRequest, *, deadline: float | None = None
    ) -> CreatedKey:
        """A key that can do no more than its creator.

        Raises ScopeMissing, RecipientNotAllowed, CategoryNotAllowed, QuotaExceeded, TenantNotFound.
        """
        tenant = wanted.tenant or principal.tenant
        if tenant != principal.tenant:
            principal.require_scope(Scope.OPERATOR)
        for scope in wanted.scopes:
            principal.require_scope(scope)
        for recipient in wanted.recipients or _EVERYTHING:
            if not covers(principal.recipients, recipient):
                raise RecipientNotAllowed(recipient=recipient)
        for category in wanted.categories or _EVERYTHING:
            if not covers(principal.categories, category):
                raise CategoryNotAllowed(category=category)
        now = self._clock.now()
        made = new_key(now)
        key = ApiKey(
            made.id,
            tenant,
            wanted.display_name,
            wanted.scopes,
            wanted.recipients,
            wanted.categories,
            now,
            wanted.expire_time,
        )
        command = CreateApiKey(
            tenant=principal.tenant,
            request=request_key(self._codec, RequestSpace.CREATE_API_KEY, request_id, wanted),
            key=key,
            secret_hash=made.hash,
        )
        answer = await answered(self._writer, command, deadline)
        await self._catch_up()
        return CreatedKey(answer.receipt, "" if answer.replayed else made.key, answer.replayed)

    async def list(self, principal: Principal, page_size: int, page_token: str) -> Page[ApiKey]:
        """The tenant's keys, newest first, revoked ones too. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        asked = (principal.tenant,)
        before = self._page_tokens.open("api_keys", asked, page_token)
        found = await self._reader.api_keys(principal.tenant, before, size + 1)
        page = found[:size]
        token = self._page_tokens.seal("api_keys", asked, page[-1].id) if len(found) > size else ""
        return Page(page, token)

    async def revoke(
        self, principal: Principal, request_id: str, key_id: str, *, deadline: float | None = None
    ) -> Answer[ApiKey]:
        """New calls with the key fail once this returns, its streams end within a second. Raises ApiKeyNotFound.

        Operators revoke keys of any tenant.
        """
        key_tenant = None if Scope.OPERATOR in principal.scopes else principal.tenant
        command = RevokeApiKey(
            tenant=principal.tenant,
            request=request_key(self._codec, RequestSpace.REVOKE_API_KEY, request_id, (key_id,)),
            key_id=key_id,
            key_tenant=key_tenant,
        )
        answer = await answered(self._writer, command, deadline)
        await self._catch_up()
        return answer


def covers(patterns: tuple[str, ...], wanted: str) -> bool:
    """Whether the patterns match whatever the wanted pattern matches; none of them: they match everything."""
    if not patterns:
        return True
    if not wanted.endswith("*"):
        return matches(patterns, wanted)
    return any(pattern.endswith("*") and wanted[:-1].startswith(pattern[:-1]) for pattern in patterns)
