"""Whether anything gets slower with what is stored: `growth.send`, `.list`, `.summary`, `.resume`, on each engine."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tests.bench.backbone import Backbone
from tests.bench.http2 import Connection, framed
from tests.bench.measuring import median
from tests.bench.payloads import Requests, recipients
from tests.bench.results import Pair, Row, row
from tests.bench.sending import GET_SUMMARY, SEND, NotArrived, fill, latencies
from tests.bench.setting import Setting, connections, undisturbed
from tests.bench.streams import SUBSCRIBE
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import (
    GetSummaryRequest,
    ListEntriesRequest,
    ListEntriesResponse,
    Position,
    SubscribeRequest,
)

LIST_ENTRIES = "/tocsin.v1.InboxService/ListEntries"

SMALL = 50_000
ENTRIES_EACH = 100
"""Entries of each inbox in the small store. In the large one there are more inboxes, and longer ones."""
MISSED = 20
FILLED_AT_ONCE = 20_000
RESUME_S = 20

_MARK = b"\x0a\x24"
"""The tag and length of a notification's id."""


@dataclass(frozen=True, slots=True)
class Store:
    """A server that holds so much, and what is asked of it."""

    connection: Connection
    requests: Requests
    cursors: dict[str, str]
    """Of recipients that have missed something since."""

    async def measure(self, count: int) -> dict[str, float]:
        """Milliseconds of each operation, the median of so many."""
        keys = list(self.cursors)
        lists = iter([ListEntriesRequest(recipient=key).SerializeToString() for key in keys] * count)
        summaries = iter([GetSummaryRequest(recipients=[key]).SerializeToString() for key in keys] * count)
        with undisturbed():
            measured = {
                "send": await latencies(self.connection, SEND, self.requests.request, count),
                "list": await latencies(self.connection, LIST_ENTRIES, lambda: framed(next(lists)), count),
                "summary": await latencies(
                    self.connection, GET_SUMMARY, lambda: framed(next(summaries)), count
                ),
                "resume": [await self._resume(key) for key in keys[:count]],
            }
        return {name: 1e3 * median(seconds) for name, seconds in measured.items()}

    async def check(self) -> None:
        """A list has a whole page. Raises NotArrived."""
        for key in list(self.cursors)[:5]:
            request = ListEntriesRequest(recipient=key).SerializeToString()
            answer = ListEntriesResponse.FromString(await self.connection.unary(LIST_ENTRIES, request))
            if len(answer.entries) != 50:
                raise NotArrived(f"{key} lists {len(answer.entries)} entries")

    async def _resume(self, key: str) -> float:
        """Seconds until the last of what was missed has come."""
        request = SubscribeRequest(recipients=[Position(recipient=key, cursor=self.cursors[key])])
        found, last = 0, 0.0

        def come(message: bytes) -> None:
            nonlocal found, last
            found += message.count(_MARK)
            last = time.perf_counter()

        started = time.perf_counter()
        call = self.connection.call(
            SUBSCRIBE, framed(request.SerializeToString()), come, lambda _problem: None
        )
        await eventually(lambda: found >= MISSED, "what was missed", RESUME_S)
        self.connection.cancel(call)
        return last - started


async def growth(setting: Setting) -> list[Row]:
    """Medians with much stored, beside the same with little, in two servers that take turns."""
    async with setting.server() as small, setting.server() as large:
        return await _measured(setting, "", small, large)


async def growth_postgres(setting: Setting) -> list[Row]:
    """The same on Postgres, without Redis, whose cache of summaries would answer in its place."""
    async with (
        setting.backbone(bus=False) as small_backbone,
        setting.backbone(bus=False) as large_backbone,
        setting.server(small_backbone.settings) as small,
        setting.server(large_backbone.settings) as large,
    ):
        return await _measured(setting, ".postgres", small, large, (small_backbone, large_backbone))


async def _measured(
    setting: Setting,
    suffix: str,
    small_server: ServerProcess,
    large_server: ServerProcess,
    backbones: Iterable[Backbone] = (),
) -> list[Row]:
    large = setting.by_size(500_000, 5_000_000)
    count = setting.by_size(200, 300)
    measured: dict[str, list[Pair]] = {}
    async with (
        connections(small_server.address, 1) as (small_connection,),
        connections(large_server.address, 1) as (large_connection,),
    ):
        small_store = await _filled(small_connection, SMALL, SMALL // ENTRIES_EACH, count)
        large_store = await _filled(large_connection, large, min(large // ENTRIES_EACH, 20_000), count)
        for backbone in backbones:
            await asyncio.to_thread(backbone.settle)
        for store in (small_store, large_store):
            await store.check()
            await store.measure(count // 4)
        for _ in range(setting.rounds):
            before = await small_store.measure(count)
            after = await large_store.measure(count)
            for name, value in after.items():
                measured.setdefault(name, []).append(Pair(value, before[name]))
    return [
        row(f"growth.{name}{suffix}", "ms", pairs, "at most", 1.3, entries=large, yardstick_entries=SMALL)
        for name, pairs in measured.items()
    ]


async def _filled(connection: Connection, entries: int, inboxes: int, asked: int) -> Store:
    keys = recipients(inboxes)
    requests = Requests(keys)
    left = entries
    while left:
        await fill(connection, [requests.item() for _ in range(min(left, FILLED_AT_ONCE))])
        left -= min(left, FILLED_AT_ONCE)
    missing = Requests(keys[:: max(inboxes // asked, 1)][:asked], seed=2)
    cursors = await fill(connection, [missing.item() for _ in missing.order])
    await fill(connection, [missing.item() for _ in range(MISSED * len(missing.order))])
    return Store(connection, requests, dict(zip(missing.order, cursors, strict=True)))
