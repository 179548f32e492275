"""A Tocsin server whose hub can be driven from outside: `python -m tests.bench.hub_server`, with a server's settings.

A whole server, made by `bootstrap`, and beside it a control socket, which takes one JSON object a line and answers with
one. `prepare` makes the changes that a broadcast would commit: one entry an inbox and wave, with one content for all.
`offer` hands them out in chunks, as they would come from commits, and as fast as the streams take them: to the hub, or,
where another hub server holds the streams, by the bus. `taken` says how far this server's streams are with what came by
the bus. `committed` says when the last commit was handed to the hub. Instants are those of the monotonic clock.
"""

import asyncio
import gc
import json
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace as with_changed
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import uvloop

from tests.bench.payloads import spec
from tests.bench.setting import CONTROL_VARIABLE
from tests.bench.streams import Control
from tocsin_server import logs
from tocsin_server.bootstrap.process import GC_THRESHOLD, SWITCH_SECONDS
from tocsin_server.bootstrap.serving import Server, bootstrap
from tocsin_server.bus.redis import RedisBus
from tocsin_server.domain.category import Category
from tocsin_server.domain.ids import RANDOM_BITS, notification_id, recipient_hash
from tocsin_server.domain.inbox import (
    BroadcastChunk,
    BroadcastEntry,
    Counts,
    Inbox,
    InboxChange,
    InboxErased,
)
from tocsin_server.domain.sending import Facts, draft
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.convert.content import sent_content_from
from tocsin_server.rpc.convert.notification import spec_from
from tocsin_server.service.ports import Committed
from tocsin_server.settings import load
from tocsin_server.store.expansion import ENTRIES_PER_MESSAGE

TENANT = "default"
CHUNK = ENTRIES_PER_MESSAGE
"""Entries handed to the hub at one go, as the bus brings them."""
GATHERED_BYTES = 128 << 10
"""With so much waiting in any stream, the next chunk waits too."""
PACE_S = 0.001
CHUNKS_UNDER_WAY = 4
"""So many are on their way by the bus at most; half as many, when more follow."""

_LINE_BYTES = 16 << 20


class Streams(Protocol):
    """Those that what is handed out is for."""

    async def keep_up(self) -> None:
        """Called before each chunk: returns when the streams can take one more."""

    async def settled(self) -> None:
        """Returns when they were offered everything."""


class StreamsHere:
    """This server's own ones."""

    def __init__(self, server: Server) -> None:
        self._sessions = server.sessions
        self._hub = server.hub

    @property
    def gathered(self) -> int:
        """Bytes that wait in one of them, at most."""
        return max((session.buffered_bytes for session in self._sessions), default=0)

    @property
    def dropped(self) -> int:
        """How often what waited was more than they had room for."""
        return sum(session.drop_count for session in self._sessions)

    async def keep_up(self) -> None:
        """See Streams."""
        await self.settled()
        while True:
            if self.gathered <= GATHERED_BYTES:
                return
            await asyncio.sleep(PACE_S)

    async def settled(self) -> None:
        """See Streams."""
        while True:
            if not self._hub.backlog:
                return
            await asyncio.sleep(0)


class StreamsThere:
    """Those of another hub server, which tells how far it is: nothing in a bus would hold back who publishes."""

    def __init__(self, control: Control, taken: int) -> None:
        self._control = control
        self._handed_out = self._taken = taken

    async def keep_up(self) -> None:
        """See Streams."""
        self._handed_out += 1
        if self._handed_out - self._taken > CHUNKS_UNDER_WAY:
            await self._until_under_way(CHUNKS_UNDER_WAY // 2)

    async def settled(self) -> None:
        """See Streams."""
        await self._until_under_way(0)

    async def _until_under_way(self, count: int) -> None:
        while True:
            answer = await self._control.ask("taken")
            self._taken = answer["chunks"]
            taken = self._handed_out - self._taken <= count and not answer["waiting"]
            if taken and answer["gathered"] <= GATHERED_BYTES:
                return
            await asyncio.sleep(PACE_S)


class Hearing:
    """Counts the chunks that come by the bus, on their way to the hub."""

    def __init__(self, bus: RedisBus) -> None:
        self.chunks = 0
        self.longest_s = 0.0
        self._offer = bus._ears.offer
        bus.listen(with_changed(bus._ears, offer=self._heard))

    def _heard(self, changes: Iterable[InboxChange | InboxErased]) -> None:
        heard = list(changes)
        begun = time.monotonic()
        self._offer(heard)
        if len(heard) > 1:
            self.chunks += 1
            self.longest_s = max(self.longest_s, time.monotonic() - begun)


class Driver:
    """Does what the control socket asks for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._codec = WireCodec()
        # What hands out one chunk each.
        self._waves: deque[list[Callable[[], None]]] = deque()
        self._made = 0
        self._committed_at = 0.0
        self._streams = StreamsHere(server)
        bus = server.hub._interest
        self._bus = bus if isinstance(bus, RedisBus) else None
        self._hearing = Hearing(bus) if isinstance(bus, RedisBus) else None
        # In front of the hub, which would otherwise have handed out everything before the instant is taken.
        server.store.writer._listeners.insert(0, self._on_commit)

    def _on_commit(self, committed: Committed) -> None:
        if committed.changes:
            self._committed_at = time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection to the control socket."""
        while line := await reader.readline():
            asked = json.loads(line)
            answer: dict[str, Any] = {}
            match asked.pop("do"):
                case "prepare":
                    answer = await self._prepare(**asked)
                case "offer":
                    answer = await self._offer(**asked)
                case "taken":
                    answer = self._taken()
                case "committed":
                    answer = {"at": self._committed_at}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _prepare(self, recipients: list[str], waves: int, by_bus: bool) -> dict[str, Any]:
        """Makes so many waves, which follow on what the inboxes hold."""
        heads: dict[str, Inbox] = {}
        for start in range(0, len(recipients), 1_000):
            heads |= await self._server.store.readers.heads(TENANT, recipients[start : start + 1_000])
        for _ in range(waves):
            self._made += 1
            wave: list[Callable[[], None]] = []
            for chunk in self._chunks([heads[recipient] for recipient in recipients], recipients):
                if not by_bus:
                    everyone = {(TENANT, entry.recipient) for entry in chunk.entries}
                    wave.append(partial(self._server.hub.offer, chunk.changes(everyone)))
                elif self._bus is not None:
                    wave.append(partial(self._bus.publish_chunk, chunk))
            self._waves.append(wave)
            await asyncio.sleep(0)
        # They are there before the measuring begins, and would not all be at once in a server.
        gc.collect()
        gc.freeze()
        return {}

    def _chunks(self, heads: list[Inbox], recipients: list[str]) -> Iterable[BroadcastChunk]:
        """One wave, with one content for all."""
        now = self._server.clock.now()
        message = spec(recipients[0], self._made)
        notification = spec_from(message, "")
        content = sent_content_from(message.content).shown
        common = draft(bytes(16), TENANT, notification, Facts(Category(notification.category)), now)
        envelope = self._codec.shared_envelope(common, notification)
        entries = []
        for recipient, head in zip(recipients, heads, strict=True):
            id = notification_id(now, recipient_hash(TENANT, recipient), random.getrandbits(RANDOM_BITS))
            count = head.revision + self._made
            counts = Counts(count, count, count)
            entries.append(BroadcastEntry(recipient, head.incarnation, count, counts, id))
        for start in range(0, len(entries), CHUNK):
            yield BroadcastChunk(
                *(TENANT, notification.category, content, envelope, b"", None),
                tuple(entries[start : start + CHUNK]),
            )

    async def _offer(self, waves: int, holder: str) -> dict[str, Any]:
        """Hands out the next waves; `holder` is the control socket of who holds the streams, if that is not us."""
        if not holder:
            return await self._hand_out(waves, self._streams)
        control = await Control.open(Path(holder))
        try:
            before = await control.ask("taken")
            answer = await self._hand_out(waves, StreamsThere(control, before["chunks"]))
            after = await control.ask("taken")
        finally:
            control.close()
        return answer | {"longest_offer_ms": after["longest_offer_ms"], "dropped": after["dropped"]}

    async def _hand_out(self, waves: int, streams: Streams) -> dict[str, Any]:
        longest = 0.0
        started = time.monotonic()
        for _ in range(waves):
            for hand_out in self._waves.popleft():
                await streams.keep_up()
                begun = time.monotonic()
                hand_out()
                longest = max(longest, time.monotonic() - begun)
                await asyncio.sleep(0)
        await streams.settled()
        return {
            "started": started,
            "longest_offer_ms": 1e3 * longest,
            "dropped": self._streams.dropped,
        }

    def _taken(self) -> dict[str, Any]:
        hearing = self._hearing
        return {
            "chunks": hearing.chunks if hearing else 0,
            "longest_offer_ms": 1e3 * hearing.longest_s if hearing else 0.0,
            "gathered": self._streams.gathered,
            "waiting": self._server.hub.backlog,
            "dropped": self._streams.dropped,
        }


async def serve() -> None:
    """Until SIGTERM."""
    settings = load(os.environ).settings
    logs.configure(settings.log_format, settings.log_level)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with bootstrap(settings, os.environ) as server:
        driver = Driver(server)
        path = Path(os.environ[CONTROL_VARIABLE])
        async with await asyncio.start_unix_server(driver.serve, path, limit=_LINE_BYTES):
            await stop.wait()


if __name__ == "__main__":
    # As a server's own process does.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(serve())
