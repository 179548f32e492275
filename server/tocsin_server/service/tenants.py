"""Tenants: creating, suspending and deleting them, and what they may use."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tocsin_server.domain.access import DEFAULT_TENANT, Principal
from tocsin_server.domain.commands import Answer, ChangeTenant, Command, CreateTenant, RequestSpace
from tocsin_server.domain.errors import InvalidFields, TenantNotFound, Violation
from tocsin_server.domain.tenant import Quotas, Tenant, TenantState
from tocsin_server.service.paging import Page, PageTokens, effective_page_size
from tocsin_server.service.ports import Codec, TenantReader, Writer
from tocsin_server.service.submitting import answered, request_key

_TENANTS_PER_READ = 1_000


@dataclass(frozen=True, slots=True)
class _KnownTenant:
    state: TenantState
    quotas: Quotas


class TenantDirectory:
    """Every tenant's state and quotas in memory, for the questions that every call asks."""

    def __init__(self, reader: TenantReader, default_quotas: Quotas) -> None:
        self._reader = reader
        self._default_quotas = default_quotas
        self._tenants: dict[str, _KnownTenant] = {}

    def state(self, name: str) -> TenantState | None:
        """Where the tenant stands; None: there is none. The default tenant is always there and active."""
        known = self._tenants.get(name)
        if known is None:
            return TenantState.ACTIVE if name == DEFAULT_TENANT else None
        return known.state

    def quotas(self, name: str) -> Quotas:
        """What the tenant may use, the server's defaults filled in."""
        known = self._tenants.get(name)
        return self._default_quotas if known is None else known.quotas

    async def refresh(self) -> None:
        """Takes what storage says now. Raises StorageUnavailable; what was known stays then."""
        tenants: dict[str, _KnownTenant] = {}
        after = ""
        while True:
            page = await self._reader.tenants(after, _TENANTS_PER_READ)
            for tenant in page:
                quotas = tenant.quotas.or_defaults(self._default_quotas)
                tenants[tenant.name] = _KnownTenant(tenant.state, quotas)
            if len(page) < _TENANTS_PER_READ:
                break
            after = page[-1].name
        self._tenants = tenants


class Tenants:
    """What operators do with tenants."""

    def __init__(
        self,
        writer: Writer,
        reader: TenantReader,
        codec: Codec,
        page_tokens: PageTokens,
        catch_up: Callable[[], Awaitable[None]],
    ) -> None:
        """`catch_up` makes this server act on what was just committed; see `Authenticator.catch_up`."""
        self._writer = writer
        self._reader = reader
        self._codec = codec
        self._page_tokens = page_tokens
        self._catch_up = catch_up

    async def create(
        self,
        principal: Principal,
        request_id: str,
        name: str,
        display_name: str,
        quotas: Quotas,
        *,
        deadline: float | None = None,
    ) -> Answer[Tenant]:
        """Raises TenantExists."""
        asked = (name, display_name, quotas)
        key = request_key(self._codec, RequestSpace.CREATE_TENANT, request_id, asked)
        command = CreateTenant(
            tenant=principal.tenant, request=key, name=name, display_name=display_name, quotas=quotas
        )
        return await self._change(command, deadline)

    async def get(self, name: str) -> Tenant:
        """Raises TenantNotFound."""
        tenant = await self._reader.tenant(name)
        if tenant is None:
            raise TenantNotFound(tenant=name)
        return tenant

    async def list(self, page_size: int, page_token: str) -> Page[Tenant]:
        """By name. Raises PageTokenInvalid."""
        size = effective_page_size(page_size)
        after = self._page_tokens.open("tenants", None, page_token)
        found = await self._reader.tenants(after or "", size + 1)
        page = found[:size]
        token = self._page_tokens.seal("tenants", None, page[-1].name) if len(found) > size else ""
        return Page(page, token)

    async def suspend(
        self, principal: Principal, request_id: str, name: str, *, resume: bool, deadline: float | None = None
    ) -> Answer[Tenant]:
        """Refuses the tenant's calls and ends its streams, or lets it go on. Raises TenantNotFound."""
        _check_not_default(name)
        state = TenantState.ACTIVE if resume else TenantState.SUSPENDED
        key = request_key(self._codec, RequestSpace.SUSPEND_TENANT, request_id, (name, resume))
        return await self._change(
            ChangeTenant(tenant=principal.tenant, request=key, name=name, state=state), deadline
        )

    async def delete(
        self, principal: Principal, request_id: str, name: str, *, deadline: float | None = None
    ) -> Answer[Tenant]:
        """Refuses the tenant's calls; the sweeper erases everything of it. Raises TenantNotFound."""
        _check_not_default(name)
        key = request_key(self._codec, RequestSpace.DELETE_TENANT, request_id, (name,))
        return await self._change(
            ChangeTenant(tenant=principal.tenant, request=key, name=name, state=TenantState.DELETING),
            deadline,
        )

    async def update_quotas(
        self,
        principal: Principal,
        request_id: str,
        name: str,
        quotas: Quotas,
        fields: frozenset[str],
        *,
        deadline: float | None = None,
    ) -> Answer[Tenant]:
        """Sets those quotas that `fields` names. Raises TenantNotFound."""
        asked = (name, quotas, tuple(sorted(fields)))
        key = request_key(self._codec, RequestSpace.UPDATE_QUOTAS, request_id, asked)
        command = ChangeTenant(
            tenant=principal.tenant, request=key, name=name, quotas=quotas, quota_fields=fields
        )
        return await self._change(command, deadline)

    async def _change(self, command: Command[Tenant], deadline: float | None) -> Answer[Tenant]:
        answer = await answered(self._writer, command, deadline)
        await self._catch_up()
        return answer


def _check_not_default(name: str) -> None:
    if name == DEFAULT_TENANT:
        raise InvalidFields([Violation("tenant", "must not be the default tenant, which always exists")])
