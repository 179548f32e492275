"""TopicService: sets of recipients."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tocsin.v1 import topic_service_pb2 as pb
from tocsin_server.domain.access import Scope
from tocsin_server.domain.commands import Answer, MembersReceipt
from tocsin_server.domain.errors import TocsinError
from tocsin_server.rpc.admission import Admission
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.convert import topics as convert
from tocsin_server.rpc.methods import Streaming, Unary
from tocsin_server.rpc.streams import MessageStream
from tocsin_server.service.topics import Topics

_READ_AHEAD = 4
"""Messages of a stream that are under way at once: enough that the writer always has the next one."""

Request = TypeVar("Request", pb.AddMembersRequest, pb.RemoveMembersRequest)


class TopicServicer:
    """Serves TopicService."""

    service = pb.DESCRIPTOR.services_by_name["TopicService"]

    def __init__(self, topics: Topics, admission: Admission) -> None:
        self._topics = topics
        self._admission = admission

    def methods(self) -> Mapping[str, Unary | Streaming]:
        """Every RPC with the scope that it needs."""
        return {
            "CreateTopic": Unary(Scope.RECIPIENTS_WRITE, self.create),
            "GetTopic": Unary(Scope.RECIPIENTS_READ, self.get),
            "ListTopics": Unary(Scope.RECIPIENTS_READ, self.list),
            "DeleteTopic": Unary(Scope.RECIPIENTS_WRITE, self.delete),
            "AddMembers": Streaming(Scope.RECIPIENTS_WRITE, self.add_members),
            "RemoveMembers": Streaming(Scope.RECIPIENTS_WRITE, self.remove_members),
            "ListMembers": Unary(Scope.RECIPIENTS_READ, self.members),
        }

    async def create(self, request: pb.CreateTopicRequest, call: CallContext) -> pb.CreateTopicResponse:
        """Creates a topic."""
        answer = await self._topics.create(
            call.principal, request.request_id, request.topic, request.display_name, deadline=call.deadline
        )
        return pb.CreateTopicResponse(topic=convert.topic_message(answer.receipt), replayed=answer.replayed)

    async def get(self, request: pb.GetTopicRequest, call: CallContext) -> pb.GetTopicResponse:
        """One topic."""
        topic = await self._topics.get(call.principal, request.topic)
        return pb.GetTopicResponse(topic=convert.topic_message(topic))

    async def list(self, request: pb.ListTopicsRequest, call: CallContext) -> pb.ListTopicsResponse:
        """A page of topics."""
        page = await self._topics.list(call.principal, request.page_size, request.page_token)
        return convert.page_message(page)

    async def delete(self, request: pb.DeleteTopicRequest, call: CallContext) -> pb.DeleteTopicResponse:
        """Deletes a topic."""
        answer = await self._topics.delete(
            call.principal, request.request_id, request.topic, deadline=call.deadline
        )
        return pb.DeleteTopicResponse(topic=convert.topic_message(answer.receipt), replayed=answer.replayed)

    async def add_members(self, stream: MessageStream[pb.AddMembersRequest], call: CallContext) -> None:
        """Adds members, message by message."""

        def add(request: pb.AddMembersRequest) -> Awaitable[Answer[MembersReceipt]]:
            return self._topics.add_members(
                call.principal, request.request_id, request.topic, request.recipients, deadline=call.deadline
            )

        applied = await self._each(stream, add)
        response = pb.AddMembersResponse(message_count=applied.messages, added_count=applied.recipients)
        await stream.write(response.SerializeToString())

    async def remove_members(self, stream: MessageStream[pb.RemoveMembersRequest], call: CallContext) -> None:
        """Removes members, message by message."""

        def remove(request: pb.RemoveMembersRequest) -> Awaitable[Answer[MembersReceipt]]:
            return self._topics.remove_members(
                call.principal, request.request_id, request.topic, request.recipients, deadline=call.deadline
            )

        applied = await self._each(stream, remove)
        response = pb.RemoveMembersResponse(message_count=applied.messages, removed_count=applied.recipients)
        await stream.write(response.SerializeToString())

    async def members(self, request: pb.ListMembersRequest, call: CallContext) -> pb.ListMembersResponse:
        """A page of members."""
        page = await self._topics.members(
            call.principal, request.topic, request.page_size, request.page_token
        )
        return convert.members_message(page)

    async def _each(
        self,
        stream: MessageStream[Request],
        apply: Callable[[Request], Awaitable[Answer[MembersReceipt]]],
    ) -> "_Applied":
        """Applies every message, some at once.

        Raises what the first message that fails does, with the number of messages before it.
        """
        applied = _Applied()
        under_way: deque[asyncio.Task[Answer[MembersReceipt] | TocsinError]] = deque()
        failure: TocsinError | None = None
        try:
            with self._admission.at_drain(stream.stop_reading):
                request = await stream.first()
                while request is not None and applied.failure is None:
                    under_way.append(asyncio.create_task(_outcome(apply(request))))
                    if len(under_way) == _READ_AHEAD:
                        applied.add(await under_way.popleft())
                    request = await stream.read()
        except TocsinError as error:
            failure = error
        try:
            # What was taken before a bad message, or before the server drains, is applied and counts.
            while under_way:
                applied.add(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
        failure = applied.failure or failure
        if failure is not None:
            failure.metadata["messages"] = str(applied.messages)
            raise failure
        return applied


@dataclass(slots=True)
class _Applied:
    """What the first messages of a stream came to, up to one that failed."""

    messages: int = 0
    recipients: int = 0
    failure: TocsinError | None = None

    def add(self, outcome: Answer[MembersReceipt] | TocsinError) -> None:
        """What became of the next message."""
        if isinstance(outcome, TocsinError):
            self.failure = self.failure or outcome
        elif self.failure is None:
            self.messages += 1
            self.recipients += outcome.receipt.count


async def _outcome(call: Awaitable[Answer[MembersReceipt]]) -> Answer[MembersReceipt] | TocsinError:
    try:
        return await call
    except TocsinError as error:
        return error
