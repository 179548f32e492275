"""A receiver: what a live stream has brought so far, and waiting for more of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from tests.contract.conftest import Refusal
from tocsin.v1 import inbox_service_pb2 as pb
from tocsin.v1.notification_pb2 import Notification

PATIENCE_S = 20


class Receiver:
    """Reads a stream as a client does, one message after the other."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.session_id = ""
        self.entries: list[Notification] = []
        self.resets: list[pb.InboxEvent] = []
        self.summaries: dict[str, pb.Summary] = {}
        self.cursors: dict[str, str] = {}
        self.progress: list[pb.Progress] = []

    @property
    def titles(self) -> list[str]:
        """What has come, in its order; empty where the content is gone."""
        return [entry.content.simple.title for entry in self.entries]

    async def until(self, seen: Callable[["Receiver"], object]) -> "Receiver":
        """Reads on until something has come."""
        async with asyncio.timeout(PATIENCE_S):
            while not seen(self):
                message = await self.call.read()
                assert message is not grpc.aio.EOF, "the stream has ended"
                self._take(message)
        return self

    async def got(self, *titles: str) -> "Receiver":
        """Reads on until these, and no others, have come in this order."""
        return await self.until(lambda receiver: receiver.titles[: len(titles)] == list(titles))

    async def end(self) -> Refusal:
        """Reads to the end of the stream, which must be an error."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (message := await self.call.read()) is not grpc.aio.EOF:
                    self._take(message)
        except grpc.aio.AioRpcError as error:
            return Refusal.of_error(error)
        raise AssertionError("the stream has ended without an error")

    def _take(self, message: pb.SubscribeResponse | pb.AttachResponse) -> None:
        self.session_id = self.session_id or message.session_id
        last: dict[str, pb.InboxEvent] = {}
        for event in message.events:
            last[event.recipient] = event
            match event.WhichOneof("event"):
                case "notification":
                    self.entries.append(event.notification)
                case "summary":
                    self.summaries[event.recipient] = event.summary
                case "reset":
                    self.resets.append(event)
        # The cursor stands on a recipient's last event in a message.
        self.cursors |= {recipient: event.cursor for recipient, event in last.items() if event.cursor}
        if message.HasField("progress"):
            self.progress.append(message.progress)
            self.cursors |= {position.recipient: position.cursor for position in message.progress.positions}
