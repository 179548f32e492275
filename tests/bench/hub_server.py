"""A Tocsin server whose hub can be driven from outside: `python -m tests.bench.hub_server`, with a server's settings.

A whole server, made by `bootstrap`, and beside it a control socket, which takes one JSON object a line and answers with
one. `prepare` makes the changes that a broadcast would commit: one entry an inbox and wave, with one content for all.
`offer` hands them to the hub in chunks, as they would come from commits, and as fast as the streams take them.
`committed` says when the last commit was handed to the hub. Instants are those of the monotonic clock.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from msgspec.structs import replace

from tests.bench.payloads import spec
from tests.bench.setting import CONTROL_VARIABLE
from tocsin_server import logs
from tocsin_server.bootstrap import Server, bootstrap
from tocsin_server.bootstrap.process import GC_THRESHOLD, SWITCH_SECONDS
from tocsin_server.domain.ids import RANDOM_BITS, notification_id, recipient_hash
from tocsin_server.domain.inbox import Counts, Inbox, InboxChange
from tocsin_server.domain.sending import UNDEFINED_CATEGORY, draft
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.rpc.convert.content import sent_content_from
from tocsin_server.rpc.convert.notification import spec_from
from tocsin_server.service.ports import Committed
from tocsin_server.settings import load

TENANT = "default"
CHUNK = 250
"""Entries handed to the hub at one go; other work of the event loop has its turn after each."""
GATHERED_BYTES = 512 << 10
"""With so much waiting in any stream, the next chunk waits too."""
PACE_S = 0.001

_LINE_BYTES = 16 << 20


class Driver:
    """Does what the control socket asks for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._codec = WireCodec()
        self._waves: deque[list[InboxChange]] = deque()
        self._made = 0
        self._committed_at = 0.0
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
                case "committed":
                    answer = {"at": self._committed_at}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()

    async def _prepare(self, recipients: list[str], waves: int) -> dict[str, Any]:
        """Makes so many waves, which follow on what the inboxes hold."""
        heads: dict[str, Inbox] = {}
        for start in range(0, len(recipients), 1_000):
            heads |= await self._server.store.readers.heads(TENANT, recipients[start : start + 1_000])
        now = self._server.clock.now()
        for _ in range(waves):
            self._made += 1
            # One content for all, as of a broadcast.
            message = spec(recipients[0], self._made)
            notification = spec_from(message, "")
            content = sent_content_from(message.content).shown
            common = draft(bytes(16), TENANT, notification, UNDEFINED_CATEGORY, now)
            wave = []
            for recipient in recipients:
                id = notification_id(now, recipient_hash(TENANT, recipient), random.getrandbits(RANDOM_BITS))
                drafted = replace(common, id=id, recipient=recipient)
                head = heads[recipient]
                count = head.revision + self._made
                wave.append(
                    InboxChange(
                        TENANT,
                        recipient,
                        head.incarnation,
                        count,
                        Counts(count, count, count),
                        notification.category,
                        content,
                        self._codec.envelope(drafted, notification),
                    )
                )
            self._waves.append(wave)
            await asyncio.sleep(0)
        # They are there before the measuring begins, and would not all be at once in a server.
        gc.collect()
        gc.freeze()
        return {}

    async def _offer(self, waves: int) -> dict[str, Any]:
        """Hands out the next waves."""
        offer, sessions = self._server.hub.offer, self._server.sessions
        longest, waited = 0.0, 0
        started = time.monotonic()
        for _ in range(waves):
            wave: Sequence[InboxChange] = self._waves.popleft()
            for start in range(0, len(wave), CHUNK):
                while any(session.buffered_bytes > GATHERED_BYTES for session in sessions):
                    waited += 1
                    await asyncio.sleep(PACE_S)
                begun = time.monotonic()
                offer(wave[start : start + CHUNK])
                longest = max(longest, time.monotonic() - begun)
                await asyncio.sleep(0)
        return {
            "started": started,
            "seconds": time.monotonic() - started,
            "longest_chunk_ms": 1e3 * longest,
            "waited": waited,
            "dropped": sum(session.drop_count for session in sessions),
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
