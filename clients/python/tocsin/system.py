"""The server itself: how it is, who is connected, who may call."""

from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.system_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    GetStatusRequest,
    GetStatusResponse,
    ListApiKeysRequest,
    ListApiKeysResponse,
    ListSessionsRequest,
    ListSessionsResponse,
    RevokeApiKeyRequest,
    Session,
    TerminateSessionRequest,
)
from tocsin.values import timestamp

__all__ = ("System",)


class System:
    """`client.system`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.system

    async def status(self) -> GetStatusResponse:
        """How the server is: components, queues, lags, what is degraded."""
        return await self._transport.call(self._stub.GetStatus, GetStatusRequest())

    def sessions(
        self, *, recipient: str = "", all_tenants: bool = False, page_size: int = 0
    ) -> AsyncIterator[Session]:
        """Open streams, by id.

        Args:
            recipient: only those that follow this one; empty: all.
            all_tenants: those of all tenants; needs the scope `operator`.
            page_size: how many a call fetches; 0: the server's default of 50.
        """
        request = ListSessionsRequest(recipient=recipient, all_tenants=all_tenants, page_size=page_size)

        async def fetch(token: str) -> ListSessionsResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListSessions, request)

        return self._transport.items(fetch, lambda page: iter(page.sessions))

    async def terminate_session(self, session_id: str, *, request_id: str | None = None) -> None:
        """End a stream; its client gets SESSION_TERMINATED and does not come back by itself."""
        request = TerminateSessionRequest(request_id=request_id or new_request_id(), session_id=session_id)
        await self._transport.call(self._stub.TerminateSession, request)

    async def create_api_key(
        self,
        display_name: str,
        scopes: Iterable[str],
        *,
        recipients: Iterable[str] = (),
        categories: Iterable[str] = (),
        expire_time: datetime | None = None,
        tenant: str = "",
        request_id: str | None = None,
    ) -> CreateApiKeyResponse:
        """Create an API key. Its secret is in this response and nowhere else.

        When the first answer was lost and the call repeated, `replayed` is set and `secret` empty: revoke the key and
        create another one.

        Args:
            display_name: name to show.
            scopes: what it may do; see `ApiKey.scopes`.
            recipients: the recipients it may act for, `*` at the end standing for any ending; empty: all.
            categories: the categories it may use, likewise.
            expire_time: from when on it is refused, with a time zone; None: never.
            tenant: the tenant that it is for; empty: the caller's.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = CreateApiKeyRequest(
            request_id=request_id or new_request_id(),
            display_name=display_name,
            scopes=scopes,
            recipients=recipients,
            categories=categories,
            expire_time=None if expire_time is None else timestamp(expire_time),
            tenant=tenant,
        )
        return await self._transport.call(self._stub.CreateApiKey, request)

    def api_keys(self, *, page_size: int = 0) -> AsyncIterator[ApiKey]:
        """API keys of the tenant, newest first, revoked ones too."""
        request = ListApiKeysRequest(page_size=page_size)

        async def fetch(token: str) -> ListApiKeysResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListApiKeys, request)

        return self._transport.items(fetch, lambda page: iter(page.api_keys))

    async def revoke_api_key(self, api_key_id: str, *, request_id: str | None = None) -> ApiKey:
        """Revoke an API key: new calls fail, and open streams end within a second."""
        request = RevokeApiKeyRequest(request_id=request_id or new_request_id(), api_key_id=api_key_id)
        return (await self._transport.call(self._stub.RevokeApiKey, request)).api_key
