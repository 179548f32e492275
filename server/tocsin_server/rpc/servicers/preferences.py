"""PreferenceService: what recipients want, and tenants for them."""

from collections.abc import Mapping

from tocsin.v1 import preference_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import preferences as convert
from tocsin_server.rpc.methods import ByToken, Unary
from tocsin_server.service.preferences import PreferenceCenter


class PreferenceServicer:
    """Serves PreferenceService."""

    service = pb.DESCRIPTOR.services_by_name["PreferenceService"]

    def __init__(self, preferences: PreferenceCenter) -> None:
        self._preferences = preferences

    def methods(self) -> Mapping[str, Unary | ByToken]:
        """Every RPC with the scope that it needs."""
        return {
            "GetPreferences": Unary(Scope.PREFERENCES_READ, self.get),
            "UpdatePreferences": Unary(Scope.PREFERENCES_WRITE, self.update),
            "ResolvePreferences": Unary(Scope.PREFERENCES_READ, self.resolve),
            "CreateUnsubscribeToken": Unary(Scope.PREFERENCES_WRITE, self.create_token),
            "Unsubscribe": ByToken(self.unsubscribe),
        }

    async def get(self, request: pb.GetPreferencesRequest, call: CallContext) -> pb.GetPreferencesResponse:
        """A recipient's preferences, or the tenant's default."""
        preferences = await self._preferences.get(call.principal, request.recipient)
        return pb.GetPreferencesResponse(preferences=convert.preferences_message(preferences))

    async def update(
        self, request: pb.UpdatePreferencesRequest, call: CallContext
    ) -> pb.UpdatePreferencesResponse:
        """Changes a recipient's preferences, or the tenant's default."""
        answer = await self._preferences.update(
            call.principal,
            request.request_id,
            request.recipient,
            convert.change_from(request),
            deadline=call.deadline,
        )
        return pb.UpdatePreferencesResponse(
            preferences=convert.preferences_message(answer.receipt.preferences), replayed=answer.replayed
        )

    async def resolve(
        self, request: pb.ResolvePreferencesRequest, call: CallContext
    ) -> pb.ResolvePreferencesResponse:
        """What holds for a recipient."""
        resolution = await self._preferences.resolve(call.principal, request.recipient, request.categories)
        return convert.resolution_message(resolution)

    async def create_token(
        self, request: pb.CreateUnsubscribeTokenRequest, call: CallContext
    ) -> pb.CreateUnsubscribeTokenResponse:
        """A token for Unsubscribe."""
        subscription = convert.subscription_from(request, call.principal.tenant)
        return pb.CreateUnsubscribeTokenResponse(
            token=await self._preferences.token(call.principal, subscription)
        )

    async def unsubscribe(self, request: pb.UnsubscribeRequest, call: CallContext) -> pb.UnsubscribeResponse:
        """Denies what a token is about."""
        left, replayed = await self._preferences.unsubscribe(
            request.token, request.request_id, deadline=call.deadline
        )
        return convert.unsubscribe_message(left, replayed=replayed)
