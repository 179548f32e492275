"""Preferences: what recipients want, and the tenant for them."""

from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.notification_pb2 import Channel
from tocsin.v1.preference_service_pb2 import (
    CreateUnsubscribeTokenRequest,
    GetPreferencesRequest,
    PreferenceChoice,
    PreferenceKey,
    Preferences,
    ResolvePreferencesRequest,
    ResolvePreferencesResponse,
    UnsubscribeRequest,
    UnsubscribeResponse,
    UpdatePreferencesRequest,
)
from tocsin.values import ChannelName, enum_value

__all__ = ("PreferenceCenter",)


class PreferenceCenter:
    """`client.preferences`. An empty recipient is the tenant's default. Every method raises a `TocsinError` as its call
    fails.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.preferences

    async def get(self, recipient: str) -> Preferences:
        """What a recipient has said."""
        request = GetPreferencesRequest(recipient=recipient)
        return (await self._transport.call(self._stub.GetPreferences, request)).preferences

    async def update(
        self,
        recipient: str,
        preferences: Preferences | None = None,
        *,
        fields: Iterable[str] = (),
        clear_choices: Iterable[PreferenceKey] = (),
        set_choices: Iterable[PreferenceChoice] = (),
        request_id: str | None = None,
    ) -> Preferences:
        """Change what a recipient has said; returns all of it as it is now.

        Args:
            recipient: its key.
            preferences: the new values, each set whole; None: only single choices change.
            fields: which of choices, quiet_hours and digest_time to set; empty: all of them if `preferences` is there.
            clear_choices: single choices to remove.
            set_choices: single choices to make.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = UpdatePreferencesRequest(
            request_id=request_id or new_request_id(),
            recipient=recipient,
            preferences=preferences,
            update_mask=FieldMask(paths=fields),
            clear_choices=clear_choices,
            set_choices=set_choices,
        )
        return (await self._transport.call(self._stub.UpdatePreferences, request)).preferences

    async def allow(
        self, recipient: str, *, category: str = "", channel: ChannelName | Channel.ValueType | None = None
    ) -> Preferences:
        """Allow a category on a channel; without a category all of them, without a channel everywhere."""
        return await self._choose(recipient, category, channel, allowed=True)

    async def deny(
        self, recipient: str, *, category: str = "", channel: ChannelName | Channel.ValueType | None = None
    ) -> Preferences:
        """Deny a category on a channel; without a category all of them, without a channel everywhere."""
        return await self._choose(recipient, category, channel, allowed=False)

    async def resolve(self, recipient: str, categories: Iterable[str] = ()) -> ResolvePreferencesResponse:
        """What holds for a recipient now, and which layer decides.

        Args:
            recipient: its key.
            categories: defined or not; empty: all that are defined.
        """
        request = ResolvePreferencesRequest(recipient=recipient, categories=categories)
        return await self._transport.call(self._stub.ResolvePreferences, request)

    async def unsubscribe_token(
        self, recipient: str, category: str, channel: ChannelName | Channel.ValueType
    ) -> str:
        """A token for `unsubscribe`, to be put into a message's link or header. It never expires."""
        request = CreateUnsubscribeTokenRequest(
            recipient=recipient, category=category, channel=enum_value(Channel, channel)
        )
        return (await self._transport.call(self._stub.CreateUnsubscribeToken, request)).token

    async def unsubscribe(self, token: str, *, request_id: str | None = None) -> UnsubscribeResponse:
        """Deny what a token is about. The token is the credential: the client's own is not looked at."""
        request = UnsubscribeRequest(request_id=request_id or new_request_id(), token=token)
        return await self._transport.call(self._stub.Unsubscribe, request)

    async def _choose(
        self, recipient: str, category: str, channel: ChannelName | Channel.ValueType | None, *, allowed: bool
    ) -> Preferences:
        number = Channel.CHANNEL_UNSPECIFIED if channel is None else enum_value(Channel, channel)
        choice = PreferenceChoice(category=category, channel=number, allowed=allowed)
        return await self.update(recipient, set_choices=(choice,))
