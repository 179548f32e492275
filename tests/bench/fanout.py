"""How fast what is committed reaches streams: `fanout_gateway`, `fanout_streams`, in one process and across two."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.http2 import CallFailed, Connection, framed
from tests.bench.measuring import Busy, median, percentile
from tests.bench.payloads import Requests, batch_of, item_of, recipients, spec
from tests.bench.raw_server import IDLE, INSTANT, PUBLISH, WRITES, WRITES_REQUEST
from tests.bench.results import Pair, Row, row
from tests.bench.sending import GET_SUMMARY, SEND, SEND_BATCH, NotArrived, fill
from tests.bench.setting import CONTROL_VARIABLE, HUB_SERVER, Setting, connections, undisturbed
from tests.bench.streams import ARRIVAL_S, Control, Revisions, Stream, paced
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import GetSummaryRequest, GetSummaryResponse

GATEWAY_RECIPIENTS = 10_000
PROBE_RECIPIENTS = 20
PROBES_PER_SECOND = 100
PROBE_BAR_MS = 50

STREAMS = 1_000
STREAMS_PER_CONNECTION = 100

MARK = re.compile(rb"mark:(\d{6})")


@dataclass(frozen=True, slots=True)
class HubServer:
    """A server whose hub can be driven."""

    process: ServerProcess
    socket: Path
    control: Control


@dataclass(frozen=True, slots=True)
class Hubs:
    """Where changes are committed, or handed out as if they were, and where the streams are."""

    sender: HubServer
    holder: HubServer

    @property
    def two(self) -> bool:
        """Whether these are different ones."""
        return self.sender is not self.holder

    async def prepare(self, keys: list[str], waves: int) -> None:
        """Has entries made."""
        await self.sender.control.ask("prepare", recipients=keys, waves=waves, by_bus=self.two)

    async def offer(self, waves: int) -> dict[str, Any]:
        """Has them handed out."""
        holder = str(self.holder.socket) if self.two else ""
        return await self.sender.control.ask("offer", waves=waves, holder=holder)


@asynccontextmanager
async def one_hub(setting: Setting) -> AsyncIterator[Hubs]:
    """One server, on the embedded default."""
    async with _hub_server(setting, {}) as server:
        yield Hubs(server, server)


@asynccontextmanager
async def two_hubs(setting: Setting) -> AsyncIterator[Hubs]:
    """Two servers of one fleet."""
    async with (
        setting.backbone() as backbone,
        _hub_server(setting, backbone.settings) as sender,
        _hub_server(setting, backbone.settings) as holder,
    ):
        yield Hubs(sender, holder)


@asynccontextmanager
async def _hub_server(setting: Setting, settings: Mapping[str, str]) -> AsyncIterator[HubServer]:
    """With room in its streams' buffers for what a broadcast offers."""
    socket = setting.subfolder() / "control"
    async with setting.server(
        {"TOCSIN_SESSION_BUFFER_BYTES": "8MiB", **settings},
        environment={CONTROL_VARIABLE: str(socket)},
        command=HUB_SERVER,
    ) as server:
        control = await Control.open(socket)
        try:
            yield HubServer(server, socket, control)
        finally:
            control.close()


class Probes:
    """Sends that are marked, and how long each takes until it comes in on the stream."""

    def __init__(self, sending: Connection, stream: Stream, keys: list[str]) -> None:
        self.latencies: list[float] = []
        self._sending = sending
        self._keys = keys
        self._begun: dict[int, float] = {}
        self._made = 0
        self._problem = ""
        self._stream = stream
        stream.watch(self._seen)

    async def run(self, until: asyncio.Event) -> None:
        """Sends at an even pace, and returns when everything that was sent has come in."""
        while not until.is_set():
            await paced(PROBES_PER_SECOND // 10, PROBES_PER_SECOND, lambda _: self.send())
        await eventually(self._all_seen, "the probes", ARRIVAL_S)

    def send(self) -> None:
        """Sends one."""
        self._made += 1
        message = spec(self._keys[self._made % len(self._keys)], self._made)
        message.thread = f"mark:{self._made:06d}"
        self._begun[self._made] = time.monotonic()
        self._sending.call(SEND, framed(item_of(message)), lambda _: None, self._answered)

    def _answered(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _all_seen(self) -> bool:
        if self._problem or self._stream.problem:
            raise CallFailed(f"a probe: {self._problem}; the stream: {self._stream.problem}")
        return not self._begun

    def _seen(self, message: bytes) -> None:
        now = time.monotonic()
        for mark in MARK.findall(message):
            self.latencies.append(now - self._begun.pop(int(mark)))


async def fanout_gateway(setting: Setting) -> list[Row]:
    """Entries a second from the hub to one Attach stream of 10,000 recipients, beside messages a second of bare writes.

    Probes are sent meanwhile, the usual way, to recipients of the same stream.
    """
    async with one_hub(setting) as hubs:
        return [await _gateway(setting, "fanout_gateway", hubs)]


async def fanout_gateway_two_workers(setting: Setting) -> list[Row]:
    """The same with the stream in another process than that which hands out, and which the probes are sent to."""
    async with two_hubs(setting) as hubs:
        return [await _gateway(setting, "fanout_gateway.two_workers", hubs)]


async def _gateway(setting: Setting, name: str, hubs: Hubs) -> Row:
    waves = setting.by_size(20, 50)
    keys, probe_keys = recipients(GATEWAY_RECIPIENTS), recipients(PROBE_RECIPIENTS, "probe")
    requests = Requests([*keys, *probe_keys])
    pairs, latencies, chunks, load_cpu, dropped = [], [], [], [], 0
    servers = {"server_cpu": hubs.holder} | ({"sender_cpu": hubs.sender} if hubs.two else {})
    server_cpu: dict[str, list[float]] = {part: [] for part in servers}
    idle_latencies: list[float] = []
    async with (
        setting.raw_server() as raw,
        connections(raw.address, 1) as (reading,),
        connections(hubs.holder.process.address, 1) as (listening,),
        connections(hubs.sender.process.address, 1) as (sending,),
    ):
        await fill(sending, [requests.item() for _ in range(len(keys) + len(probe_keys))])
        stream = Stream.attach(listening, [(key, "") for key in [*keys, *probe_keys]])
        await stream.placed(len(keys) + len(probe_keys))
        revisions = Revisions()
        probes = Probes(sending, stream, probe_keys)
        await paced(PROBES_PER_SECOND, PROBES_PER_SECOND, lambda _: probes.send())
        await eventually(lambda: len(probes.latencies) == PROBES_PER_SECOND, "the first probes")
        idle_latencies, probes.latencies = probes.latencies, []
        for event in (event for _, event in stream.events()):
            revisions.take(event)
        for _ in range(setting.rounds):
            stream.arrivals.clear()
            await hubs.prepare(keys, waves)
            over = asyncio.Event()
            with undisturbed(), Busy([each.process.usage() for each in servers.values()]) as busy:
                probing = asyncio.create_task(probes.run(over))
                offered = await hubs.offer(waves)
                over.set()
                await probing
            # The last probe was sent after the last offer, and comes in behind it.
            count, last, size = 0, 0.0, 0
            for instant, event in stream.events():
                revisions.take(event)
                if event.HasField("notification") and not event.recipient.startswith("probe"):
                    count, last, size = count + 1, instant, size + event.ByteSize()
            if count != waves * len(keys):
                raise NotArrived(f"{waves * len(keys)} entries were offered, {count} came in")
            write_rate = await _bare_writes(reading, setting.by_size(60_000, 150_000), size // count)
            pairs.append(Pair(count / (last - offered["started"]), write_rate))
            chunks.append(offered["longest_offer_ms"])
            dropped = offered["dropped"]
            for part, share in zip(servers, busy.of_others, strict=True):
                server_cpu[part].append(share)
            load_cpu.append(busy.own)
        latencies = probes.latencies
        await _check_cursors(sending, revisions, probe_keys)
        stream.close()
    p99 = 1e3 * percentile(latencies, 0.99)
    return row(
        name,
        "entries/s",
        pairs,
        "at least",
        4.0,
        also=p99 <= PROBE_BAR_MS,
        also_bar=f"probes' p99 <= {PROBE_BAR_MS} ms",
        probe_p50_ms=1e3 * median(latencies),
        probe_p99_ms=p99,
        idle_probe_p50_ms=1e3 * median(idle_latencies),
        longest_offer_ms=max(chunks),
        dropped=dropped,
        load_cpu=median(load_cpu),
        **{part: median(shares) for part, shares in server_cpu.items()},
    )


async def fanout_streams(setting: Setting) -> list[Row]:
    """Milliseconds from the commit of an entry for each of 1,000 streams to the last arrival, beside bare writes."""
    async with one_hub(setting) as hubs:
        return [await _streams(setting, "fanout_streams", hubs)]


async def fanout_streams_two_workers(setting: Setting) -> list[Row]:
    """The same with the commit in another process than the streams."""
    async with two_hubs(setting) as hubs:
        return [await _streams(setting, "fanout_streams.two_workers", hubs)]


async def _streams(setting: Setting, name: str, hubs: Hubs) -> Row:
    repeats = setting.by_size(10, 30)
    keys = recipients(STREAMS, "stream")
    pairs = []
    async with (
        setting.raw_server() as raw,
        connections(raw.address, STREAMS // STREAMS_PER_CONNECTION) as bare,
        connections(hubs.holder.process.address, STREAMS // STREAMS_PER_CONNECTION) as listening,
        connections(hubs.sender.process.address, 1) as (sending,),
        connections(raw.address, 1) as (publishing,),
    ):
        await fill(sending, [item_of(spec(key, number)) for number, key in enumerate(keys)])
        streams = [
            Stream.subscribe(listening[number % len(listening)], [key]) for number, key in enumerate(keys)
        ]
        for stream in streams:
            await stream.placed(1)
        arrived: list[float] = []

        def come(_message: bytes) -> None:
            arrived.append(time.monotonic())

        for number in range(STREAMS):
            bare[number % len(bare)].call(IDLE, framed(b"open"), come, fail_unless_ok)
        await eventually(lambda: len(arrived) == STREAMS, "the idle streams")

        for _ in range(setting.rounds):
            ours, raws = [], []
            for repeat in range(repeats):
                with undisturbed():
                    ours.append(await _one_for_each(sending, streams, hubs.sender.control, repeat))
                    arrived.clear()
                    payload = bytes(max(len(message) for _, message in streams[0].arrivals))
                    started = INSTANT.unpack(await publishing.unary(PUBLISH, payload))[0]
                    await eventually(lambda: len(arrived) == STREAMS, "what was published", ARRIVAL_S)
                    raws.append(arrived[-1] - started)
            pairs.append(Pair(1e3 * median(ours), 1e3 * median(raws)))
        for stream in streams:
            stream.close()
    return row(name, "ms", pairs, "at most", 1.5, streams=STREAMS)


async def _one_for_each(sending: Connection, streams: list[Stream], control: Control, repeat: int) -> float:
    """Seconds from the commit to the last arrival."""
    mark = f"mark:{repeat:06d}"
    items = []
    for number in range(STREAMS):
        message = spec(f"stream-{number:06d}", repeat)
        message.thread = mark
        items.append(item_of(message))
    for stream in streams:
        stream.arrivals.clear()
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    sending.call(SEND_BATCH, batch_of(items), lambda _: None, ended.set_result)
    if problem := await ended:
        raise CallFailed(problem)

    def instants() -> list[float]:
        return [
            instant for stream in streams for instant, message in stream.arrivals if mark.encode() in message
        ]

    await eventually(lambda: len(instants()) == STREAMS, "an entry on each stream", ARRIVAL_S)
    committed = await control.ask("committed")
    return float(max(instants()) - committed["at"])


async def _bare_writes(connection: Connection, count: int, size: int) -> float:
    """Messages a second of a `context.write` loop, counted where they come in."""
    left = count
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def come(message: bytes) -> None:
        nonlocal left
        assert len(message) == size
        left -= 1

    with undisturbed():
        started = time.monotonic()
        connection.call(WRITES, framed(WRITES_REQUEST.pack(count, size)), come, ended.set_result)
        problem = await ended
        seconds = time.monotonic() - started
    if problem or left:
        raise NotArrived(f"{left} of {count} messages are missing: {problem}")
    return count / seconds


async def _check_cursors(connection: Connection, revisions: Revisions, keys: list[str]) -> None:
    """The stream's last cursors of recipients are those of their inboxes."""
    answer = GetSummaryResponse.FromString(
        await connection.unary(GET_SUMMARY, GetSummaryRequest(recipients=keys).SerializeToString())
    )
    for each in answer.summaries:
        if each.cursor != revisions.cursors[each.recipient]:
            raise NotArrived(f"{each.recipient}: the stream ended before its inbox does")


def fail_unless_ok(problem: str) -> None:
    if problem:
        raise CallFailed(problem)
