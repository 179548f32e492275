"""How soon a notification arrives: `live_latency`."""

import time

from tests.bench.fanout import MARK, fail_unless_ok
from tests.bench.http2 import Connection, framed
from tests.bench.measuring import median, percentile
from tests.bench.payloads import item_of, recipients, spec
from tests.bench.raw_server import ECHO
from tests.bench.results import Pair, Row, row
from tests.bench.sending import SEND, fill, fsync_latencies
from tests.bench.setting import Setting, connections, undisturbed
from tests.bench.streams import ARRIVAL_S, Stream, paced
from tests.support.waiting import eventually

PER_SECOND = 200
RECIPIENTS = 200
RECIPIENTS_PER_STREAM = 10


async def live_latency(setting: Setting) -> list[Row]:
    """From the call of a Send to its arrival elsewhere, at 200/s, beside an echo at 200/s plus one fsync."""
    count = setting.by_size(1_000, 3_000)
    keys = recipients(RECIPIENTS)
    shares = {"p50": 0.5, "p99": 0.99}
    pairs: dict[str, list[Pair]] = {name: [] for name in shares}
    fsyncs = []
    async with (
        setting.raw_server() as raw,
        setting.server() as server,
        connections(raw.address, 1) as (echoing,),
        connections(server.address, 2) as (listening, sending),
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
                echo = await _echoes(echoing, keys, count)
                fsync = fsync_latencies(setting.folder, count)
                ours = await live.run(count)
            fsyncs.append(median(fsync))
            for name, share in shares.items():
                yardstick = percentile(echo, share) + percentile(fsync, share)
                pairs[name].append(Pair(1e3 * percentile(ours, share), 1e3 * yardstick))
    fsync_ms = 1e3 * median(fsyncs)
    return [
        row(f"live_latency.{name}", "ms", of_share, "at most", 2.5, fsync_ms=fsync_ms, per_second=PER_SECOND)
        for name, of_share in pairs.items()
    ]


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
