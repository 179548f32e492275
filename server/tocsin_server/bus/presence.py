"""Who holds which session.

Where a session is stands in a key of its own, which lives for a minute and is renewed. What a session is like is asked
of those who hold them: a copy of its counters would always be old, and one of its recipients may be 100,000 names long.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from tocsin_server.bus.channels import EVERYONE, instance_channel
from tocsin_server.bus.connections import FAILURES, Command, Connections
from tocsin_server.bus.messages import End, Find, Found, encode
from tocsin_server.bus.publisher import Publisher
from tocsin_server.service.ports import SessionInfo, SessionQuery

TTL_SECONDS = 60
REFRESH_SECONDS = 20.0
RETRY_SECONDS = 1.0
KEYS_PER_PIPELINE = 500
ANSWER_SECONDS = 1.0

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, str]).decode
"""Instance and tenant."""


class RedisPresence:
    """Implements `service.ports.Presence`. Run `run` as a task."""

    def __init__(
        self, connections: Connections, publisher: Publisher, instance: str, healthy: Callable[[], bool]
    ) -> None:
        self._connections = connections
        self._publisher = publisher
        self.instance = instance
        self._healthy = healthy
        self._held: dict[str, str] = {}
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._numbers = itertools.count()
        self._questions: dict[int, _Question] = {}

    def opened(self, session_id: str, tenant: str) -> None:
        """See `ports.Presence`."""
        self._held[session_id] = tenant
        self._changed[session_id] = None
        self._wake.set()

    def closed(self, session_id: str) -> None:
        """See `ports.Presence`."""
        self._held.pop(session_id, None)
        self._changed[session_id] = None
        self._wake.set()

    async def sessions(self, query: SessionQuery) -> list[SessionInfo]:
        """See `ports.Presence`."""
        if not self._healthy():
            return []
        number = next(self._numbers)
        question = self._questions[number] = _Question()
        try:
            (heard,) = await self._connections.publish(
                [(EVERYONE, encode(Find(self.instance, number, query)))]
            )
            async with asyncio.timeout(ANSWER_SECONDS):
                # This replica reads the channel too, and does not answer.
                await question.answered_by(heard - 1)
        except FAILURES:
            pass
        finally:
            del self._questions[number]
        return question.sessions

    async def terminate(self, session_id: str, tenant: str | None) -> bool:
        """See `ports.Presence`."""
        if not self._healthy():
            return False
        try:
            (found,) = await self._connections.execute([("GET", _key(session_id))])
            if found is None:
                return False
            holder, its_tenant = _unpack(found)
            if tenant not in (None, its_tenant):
                return False
            (heard,) = await self._connections.publish(
                [(instance_channel(holder), encode(End(session_id, its_tenant)))]
            )
        except FAILURES:
            return False
        return heard > 0

    def asked(self, question: Find, sessions: Sequence[SessionInfo]) -> None:
        """Answers another replica."""
        self._publisher.message(
            instance_channel(question.asker), encode(Found(question.question, list(sessions)))
        )

    def answered(self, answer: Found) -> None:
        """Another replica has answered."""
        question = self._questions.get(answer.question)
        if question is not None:
            question.take(answer.sessions)

    def refresh(self) -> None:
        """Tells of all sessions soon: nobody may know of them any more."""
        self._changed.update(dict.fromkeys(self._held))
        self._wake.set()

    async def run(self) -> None:
        """Tells of what changed at once and of everything now and then, for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time() + REFRESH_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            # However often something changes, what does not must be renewed in time.
            if loop.time() >= due:
                due = loop.time() + REFRESH_SECONDS
                self.refresh()
            self._wake.clear()
            changed, self._changed = list(self._changed), {}
            try:
                for start in range(0, len(changed), KEYS_PER_PIPELINE):
                    await self._tell(changed[start : start + KEYS_PER_PIPELINE])
            except FAILURES:
                # Of those that are closed nothing is kept: what was told of them ends by itself.
                self._changed.update((id, None) for id in changed if id in self._held)
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _tell(self, ids: Sequence[str]) -> None:
        await self._connections.execute([self._told(id) for id in ids])

    def _told(self, id: str) -> Command:
        tenant = self._held.get(id)
        if tenant is None:
            return ("DEL", _key(id))
        return ("SET", _key(id), _pack((self.instance, tenant)), "EX", TTL_SECONDS)


class _Question:
    """One that was put to the others."""

    def __init__(self) -> None:
        self.sessions: list[SessionInfo] = []
        self._answers = 0
        self._arrived = asyncio.Event()

    def take(self, sessions: Sequence[SessionInfo]) -> None:
        self.sessions += sessions
        self._answers += 1
        self._arrived.set()

    async def answered_by(self, count: int) -> None:
        """Until so many have answered."""
        while self._answers < count:
            self._arrived.clear()
            await self._arrived.wait()


def _key(session_id: str) -> str:
    return f"s:{session_id}"
