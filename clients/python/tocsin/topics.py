"""Topics: named sets of recipients, for broadcasts."""

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Any

from tocsin.ids import new_request_id
from tocsin.transport import Transport
from tocsin.v1.topic_service_pb2 import (
    AddMembersRequest,
    AddMembersResponse,
    CreateTopicRequest,
    DeleteTopicRequest,
    GetTopicRequest,
    ListMembersRequest,
    ListMembersResponse,
    ListTopicsRequest,
    ListTopicsResponse,
    RemoveMembersRequest,
    RemoveMembersResponse,
    Topic,
    TopicMember,
)

__all__ = ("Topics",)

_RECIPIENTS_PER_MESSAGE = 1_000


class Topics:
    """`client.topics`. Every method raises a `TocsinError` as its call fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = transport.stubs.topics

    async def create(self, topic: str, *, display_name: str = "", request_id: str | None = None) -> Topic:
        """Create a topic without members.

        Args:
            topic: its name: letters, digits and `_ . : / -`.
            display_name: name to show.
            request_id: makes the call safe to repeat by the caller; made anew when absent.
        """
        request = CreateTopicRequest(
            request_id=request_id or new_request_id(), topic=topic, display_name=display_name
        )
        return (await self._transport.call(self._stub.CreateTopic, request)).topic

    async def get(self, topic: str) -> Topic:
        """One topic, with its number of members."""
        return (await self._transport.call(self._stub.GetTopic, GetTopicRequest(topic=topic))).topic

    def all(self, *, page_size: int = 0) -> AsyncIterator[Topic]:
        """All topics, by name."""
        request = ListTopicsRequest(page_size=page_size)

        async def fetch(token: str) -> ListTopicsResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListTopics, request)

        return self._transport.items(fetch, lambda page: iter(page.topics))

    async def delete(self, topic: str, *, request_id: str | None = None) -> Topic:
        """Delete a topic; its members stay recipients. What it was."""
        request = DeleteTopicRequest(request_id=request_id or new_request_id(), topic=topic)
        return (await self._transport.call(self._stub.DeleteTopic, request)).topic

    async def add_members(self, topic: str, recipients: Iterable[str]) -> int:
        """Add any number of members, a thousand at a time; how many were none before.

        When it fails, those before the failure are members; adding all of them again is safe.
        """
        added = 0
        for keys in _chunks(recipients):
            request = AddMembersRequest(request_id=new_request_id(), topic=topic, recipients=keys)
            response: AddMembersResponse = await self._transport.call(_alone(self._stub.AddMembers), request)
            added += response.added_count
        return added

    async def remove_members(self, topic: str, recipients: Iterable[str]) -> int:
        """Remove any number of members, a thousand at a time; how many were members."""
        removed = 0
        for keys in _chunks(recipients):
            request = RemoveMembersRequest(request_id=new_request_id(), topic=topic, recipients=keys)
            response: RemoveMembersResponse = await self._transport.call(
                _alone(self._stub.RemoveMembers), request
            )
            removed += response.removed_count
        return removed

    def members(self, topic: str, *, page_size: int = 0) -> AsyncIterator[TopicMember]:
        """All members of a topic, by key."""
        request = ListMembersRequest(topic=topic, page_size=page_size)

        async def fetch(token: str) -> ListMembersResponse:
            request.page_token = token
            return await self._transport.call(self._stub.ListMembers, request)

        return self._transport.items(fetch, lambda page: iter(page.members))


def _chunks(recipients: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(recipients)
    while keys := list(islice(rest, _RECIPIENTS_PER_MESSAGE)):
        yield keys


def _alone(method: Any) -> Any:
    """A client stream as a call of one message, which can be made again with the same request id."""

    def call(request: Any, **options: Any) -> Any:
        return method(iter((request,)), **options)

    return call
