"""SystemService: the server itself, its sessions, its API keys."""

from collections.abc import Mapping

from tocsin.v1 import system_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import system as convert
from tocsin_server.rpc.methods import Unary
from tocsin_server.service.api_keys import ApiKeys
from tocsin_server.service.sessions import Sessions
from tocsin_server.service.status import Status


class SystemServicer:
    """Serves SystemService."""

    service = pb.DESCRIPTOR.services_by_name["SystemService"]

    def __init__(self, status: Status, sessions: Sessions, api_keys: ApiKeys) -> None:
        self._status = status
        self._sessions = sessions
        self._api_keys = api_keys

    def methods(self) -> Mapping[str, Unary]:
        """Every RPC with the scope that it needs."""
        return {
            "GetStatus": Unary(Scope.ADMIN, self.get_status),
            "ListSessions": Unary(Scope.ADMIN, self.list_sessions),
            "TerminateSession": Unary(Scope.ADMIN, self.terminate_session),
            "CreateApiKey": Unary(Scope.ADMIN, self.create_api_key),
            "ListApiKeys": Unary(Scope.ADMIN, self.list_api_keys),
            "RevokeApiKey": Unary(Scope.ADMIN, self.revoke_api_key),
        }

    async def get_status(self, _request: pb.GetStatusRequest, _call: CallContext) -> pb.GetStatusResponse:
        """How the server is."""
        return convert.status_message(self._status.get())

    async def list_sessions(
        self, request: pb.ListSessionsRequest, call: CallContext
    ) -> pb.ListSessionsResponse:
        """A page of open streams."""
        page = await self._sessions.list(
            call.principal, request.recipient, request.all_tenants, request.page_size, request.page_token
        )
        return convert.sessions_message(page)

    async def terminate_session(
        self, request: pb.TerminateSessionRequest, call: CallContext
    ) -> pb.TerminateSessionResponse:
        """Ends a stream."""
        await self._sessions.terminate(call.principal, request.session_id)
        return pb.TerminateSessionResponse()

    async def create_api_key(
        self, request: pb.CreateApiKeyRequest, call: CallContext
    ) -> pb.CreateApiKeyResponse:
        """Creates a key."""
        created = await self._api_keys.create(
            call.principal, request.request_id, convert.key_request_from(request), deadline=call.deadline
        )
        return convert.created_message(created)

    async def list_api_keys(
        self, request: pb.ListApiKeysRequest, call: CallContext
    ) -> pb.ListApiKeysResponse:
        """A page of keys."""
        page = await self._api_keys.list(call.principal, request.page_size, request.page_token)
        return convert.keys_message(page)

    async def revoke_api_key(
        self, request: pb.RevokeApiKeyRequest, call: CallContext
    ) -> pb.RevokeApiKeyResponse:
        """Revokes a key."""
        answer = await self._api_keys.revoke(
            call.principal, request.request_id, request.api_key_id, deadline=call.deadline
        )
        return pb.RevokeApiKeyResponse(api_key=convert.key_message(answer.receipt))
