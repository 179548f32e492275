"""Broadcasts: one notification for many recipients."""

import asyncio
from collections.abc import AsyncIterator
from typing import Unpack

from tocsin.ids import new_request_id
from tocsin.specs import ContentLike, SpecOptions, spec
from tocsin.transport import Transport
from tocsin.v1.broadcast_service_pb2 import (
    BROADCAST_STATE_COMPLETED,
    Audience,
    Broadcast,
    CancelBroadcastRequest,
    CreateBroadcastRequest,
    GetBroadcastRequest,
    ListBroadcastsRequest,
    ListBroadcastsResponse,
)
from tocsin.v1.notification_pb2 import NotificationSpec, TemplateRef

__all__ = ("Broadcasts",)


class Broadcasts:
    """`client.broadcasts`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.broadcasts

    async def create(
        self,
        notification: NotificationSpec | None = None,
        *,
        topic: str = "",
        filter: str = "",
        everyone: bool = False,
        category: str = "",
        content: ContentLike | None = None,
        template: TemplateRef | None = None,
        request_id: str | None = None,
        **options: Unpack[SpecOptions],
    ) -> Broadcast:
        """Send one notification to many; returns at once, and the server carries it out.

            await client.broadcasts.create(topic="releases", category="news", content=("Version 2 is out", ""))

        Args:
            notification: a ready spec without a recipient, in place of all that `tocsin.spec` takes.
            topic: to the members of a topic. One of this, `filter` and `everyone`.
            filter: to those that a filter names, as `attributes.plan = "pro" AND locale = "pt-BR"`.
            everyone: to all recipients.
            category: what it is about.
            content: what to show. Either this or `template`.
            template: a stored template and its data.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
            options: see `SpecOptions`.

        Raises:
            ValueError, TypeError: the values do not make a broadcast.
        """
        if bool(topic) + bool(filter) + everyone != 1:
            raise ValueError("give one of topic, filter and everyone")
        audience = Audience(topic=topic) if topic else Audience(filter=filter) if filter else None
        if notification is None:
            notification = spec("", category, content, template=template, **options)
        request = CreateBroadcastRequest(
            request_id=request_id or new_request_id(),
            audience=audience or Audience(everyone=True),
            notification=notification,
        )
        return (await self._transport.call(self._stub.CreateBroadcast, request)).broadcast

    async def get(self, broadcast_id: str) -> Broadcast:
        """One broadcast, and how far it has got."""
        request = GetBroadcastRequest(broadcast_id=broadcast_id)
        return (await self._transport.call(self._stub.GetBroadcast, request)).broadcast

    async def watch(self, broadcast_id: str, *, interval: float = 0.5) -> AsyncIterator[Broadcast]:
        """A broadcast as it gets on, up to the last time that it does.

        Args:
            broadcast_id: its id.
            interval: seconds between two looks.
        """
        while True:
            broadcast = await self.get(broadcast_id)
            yield broadcast
            if broadcast.state >= BROADCAST_STATE_COMPLETED:
                return
            await asyncio.sleep(interval)

    def all(self, *, page_size: int = 0) -> AsyncIterator[Broadcast]:
        """All broadcasts, the latest first."""
        request = ListBroadcastsRequest(page_size=page_size)

        async def fetch(token: str) -> ListBroadcastsResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListBroadcasts, request)

        return self._transport.items(fetch, lambda page: iter(page.broadcasts))

    async def cancel(self, broadcast_id: str, *, request_id: str | None = None) -> Broadcast:
        """Stop a broadcast. What was delivered stays."""
        request = CancelBroadcastRequest(request_id=request_id or new_request_id(), broadcast_id=broadcast_id)
        return (await self._transport.call(self._stub.CancelBroadcast, request)).broadcast
