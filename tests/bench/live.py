"""How soon a notification arrives: `live_latency`, in one process and across two replicas."""

import asyncio
import struct
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from tests.bench.backbone import Backbone
from tests.bench.fanout import MARK, fail_unless_ok
from tests.bench.http2 import Connection, framed
from tests.bench.measuring import median, percentile
from tests.bench.payloads import item_of, recipients, spec
from tests.bench.raw_server import ECHO
from tests.bench.results import Pair, Row, row
from tests.bench.sending import SEND, fill, fsync_latencies
from tests.bench.setting import Setting, connections, undisturbed
from tests.bench.streams import ARRIVAL_S, Stream, paced
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

PER_SECOND = 200
RECIPIENTS = 200
RECIPIENTS_PER_STREAM = 10

_CHANNEL = "bench"
_INSTANT = struct.Struct("!d")


async def live_latency(setting: Setting) -> list[Row]:
    """From the call of a Send to its arrival elsewhere, at 200/s, beside an echo at 200/s plus one fsync."""
    async with setting.server() as server:
        return await _measured(setting, "", server, server, None)


async def live_latency_replicas(setting: Setting) -> list[Row]:
    """The same with the Send on one replica and the stream on another, beside one hop by Redis more."""
    async with (
        setting.backbone() as backbone,
        setting.server(backbone.settings) as sender,
        setting.server(backbone.settings) as holder,
        RedisHop.open(backbone) as hop,
    ):
        return await _measured(setting, "replicas_", sender, holder, hop)


async def _measured(
    setting: Setting, prefix: str, sender: ServerProcess, holder: ServerProcess, hop: "RedisHop | None"
) -> list[Row]:
    """Of Sends to one server, which may be the same as that which holds the streams."""
    count = setting.by_size(1_000, 3_000)
    keys = recipients(RECIPIENTS)
    shares = {"p50": 0.5, "p99": 0.99}
    pairs: dict[str, list[Pair]] = {name: [] for name in shares}
    parts: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in shares}
    async with (
        setting.raw_server() as raw,
        connections(raw.address, 1) as (echoing,),
        connections(holder.address, 1) as (listening,),
        connections(sender.address, 1) as (sending,),
    ):
        await fill(sending, [item_of(spec(key, number)) for number, key in enumerate(keys)])
        streams = [
            Stream.subscribe(listening, keys[start : start + RECIPIENTS_PER_STREAM])
            for start in range(0, RECIPIENTS, RECIPIENTS_PER_STREAM)
        ]
        for stream in streams:
            await stream.placed(RECIPIENTS_PER_STREAM)
        live = _Live(sending, streams, keys)
        await live.run(PER_SECOND)
        await _echoes(echoing, keys, PER_SECOND)
        for _ in range(setting.rounds):
            with undisturbed():
                yardsticks = {
                    "echo": await _echoes(echoing, keys, count),
                    "fsync": fsync_latencies(setting.folder, count),
                }
                if hop is not None:
                    yardsticks["redis"] = await hop.run(keys, count)
                ours = await live.run(count)
            for name, share in shares.items():
                of_share = {part: 1e3 * percentile(taken, share) for part, taken in yardsticks.items()}
                for part, milliseconds in of_share.items():
                    parts[name][f"{part}_ms"].append(milliseconds)
                pairs[name].append(Pair(1e3 * percentile(ours, share), sum(of_share.values())))
    rows = []
    for name, of_rounds in pairs.items():
        extra: dict[str, Any] = {part: median(each) for part, each in parts[name].items()}
        rows.append(
            row(
                f"live_latency.{prefix}{name}",
                "ms",
                of_rounds,
                "at most",
                2.5,
                per_second=PER_SECOND,
                **extra,
            )
        )
    return rows


class RedisHop:
    """A publish, and its arrival on another connection, as a client library does both."""

    def __init__(self, publishing: Redis, subscribed: PubSub) -> None:
        self._publishing = publishing
        self._subscribed = subscribed

    @classmethod
    @asynccontextmanager
    async def open(cls, backbone: Backbone) -> AsyncIterator[Self]:
        """Connected, and subscribed to a channel that no server has."""
        assert backbone.valkey is not None
        async with backbone.valkey.client() as publishing, Redis(port=backbone.valkey.port) as client:
            subscribed = client.pubsub(ignore_subscribe_messages=True)
            async with subscribed:
                await subscribed.subscribe(_CHANNEL)
                hop = cls(publishing, subscribed)
                await hop.run(recipients(RECIPIENTS), PER_SECOND)
                yield hop

    async def run(self, keys: list[str], count: int) -> list[float]:
        """Seconds from each publish, at the pace of the Sends, to its arrival."""
        taken: list[float] = []

        async def hear() -> None:
            while len(taken) < count:
                message = await self._subscribed.get_message(timeout=ARRIVAL_S)
                if message is not None and message["type"] == "message":
                    taken.append(time.monotonic() - _INSTANT.unpack_from(message["data"])[0])

        hearing = asyncio.create_task(hear())
        publishes: list[asyncio.Task[object]] = []

        async def publish(number: int) -> None:
            body = item_of(spec(keys[number % len(keys)], number))
            await self._publishing.publish(_CHANNEL, _INSTANT.pack(time.monotonic()) + body)

        await paced(count, PER_SECOND, lambda number: publishes.append(asyncio.create_task(publish(number))))
        await asyncio.gather(hearing, *publishes)
        return taken


class _Live:
    """Marked Sends on one connection, and their arrivals on another."""

    def __init__(self, sending: Connection, streams: list[Stream], keys: list[str]) -> None:
        self._sending = sending
        self._keys = keys
        self._begun: dict[int, float] = {}
        self._taken: list[float] = []
        self._made = 0
        for stream in streams:
            stream.watch(self._seen)

    async def run(self, count: int) -> list[float]:
        """Seconds from each call to its arrival."""
        self._taken = []
        await paced(count, PER_SECOND, lambda _: self._send())
        await eventually(lambda: not self._begun, "what was sent", ARRIVAL_S)
        assert len(self._taken) == count
        return self._taken

    def _send(self) -> None:
        self._made += 1
        message = spec(self._keys[self._made * 7 % len(self._keys)], self._made)
        message.thread = f"mark:{self._made:06d}"
        request = framed(item_of(message))
        self._begun[self._made] = time.monotonic()
        self._sending.call(SEND, request, lambda _: None, fail_unless_ok)

    def _seen(self, message: bytes) -> None:
        now = time.monotonic()
        for mark in MARK.findall(message):
            self._taken.append(now - self._begun.pop(int(mark)))


async def _echoes(connection: Connection, keys: list[str], count: int) -> list[float]:
    """Seconds of each echo."""
    taken: list[float] = []

    def begin(number: int) -> None:
        request = framed(item_of(spec(keys[number % len(keys)], number)))
        started = time.monotonic()
        connection.call(ECHO, request, lambda _: taken.append(time.monotonic() - started), fail_unless_ok)

    await paced(count, PER_SECOND, begin)
    await eventually(lambda: len(taken) == count, "the echoes", ARRIVAL_S)
    return taken
