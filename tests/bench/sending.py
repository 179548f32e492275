"""How fast notifications are taken: `send_unary`, `send_postgres`, `send_latency`, `send_bulk`."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.http2 import CallFailed, Connection
from tests.bench.measuring import Busy, median, percentile
from tests.bench.payloads import Requests, batch_of, recipients
from tests.bench.raw_server import ECHO
from tests.bench.results import Pair, Row, row
from tests.bench.setting import Setting, connections, undisturbed
from tests.support.processes import ServerProcess
from tocsin.v1.inbox_service_pb2 import GetSummaryRequest, GetSummaryResponse
from tocsin.v1.notification_pb2 import DISPOSITION_STORED
from tocsin.v1.notification_service_pb2 import SendBatchResponse

SEND = "/tocsin.v1.NotificationService/Send"
SEND_BATCH = "/tocsin.v1.NotificationService/SendBatch"
SEND_STREAM = "/tocsin.v1.NotificationService/SendStream"
GET_SUMMARY = "/tocsin.v1.InboxService/GetSummary"

IN_FLIGHT = 256
CONNECTIONS = 4
ITEMS_PER_MESSAGE = 500
BATCHES_IN_FLIGHT = 4
RECIPIENTS_PER_SUMMARY = 1_000
WARM_UP_S = 0.7

_WAL_BYTES = 8_192
"""What a commit of one Send appends to the write-ahead log, about."""


class NotArrived(Exception):
    """What was counted as sent is not all there."""


@dataclass(frozen=True, slots=True)
class UnaryRun:
    """Calls that were answered with OK, and what they cost."""

    calls: int
    seconds: float
    load_cpu: float
    """Processors that the load took, and the server: 1 is all of one."""
    server_cpu: float

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds

    @property
    def server_us(self) -> float:
        """Processor time of the server for each call, in microseconds; hardly disturbed by what else runs."""
        return 1e6 * self.server_cpu * self.seconds / self.calls


async def unary_load(
    address: str,
    pid: int,
    path: str,
    next_request: Callable[[], bytes],
    seconds: float,
    in_flight: int = IN_FLIGHT,
) -> UnaryRun:
    """Keeps so many calls under way for so long, each with a request of its own. Raises CallFailed."""
    done = asyncio.get_running_loop().create_future()
    completed = open_calls = 0
    deadline = 0.0

    async with connections(address, CONNECTIONS) as opened:

        def begin(connection: Connection) -> None:
            nonlocal open_calls

            def ended(problem: str) -> None:
                nonlocal completed, open_calls
                open_calls -= 1
                if problem:
                    if not done.done():
                        done.set_exception(CallFailed(f"{path}: {problem}"))
                    return
                completed += 1
                if time.monotonic() < deadline:
                    begin(connection)
                elif not open_calls and not done.done():
                    done.set_result(None)

            open_calls += 1
            connection.call(path, next_request(), _ignore, ended)

        with undisturbed(), Busy([psutil.Process(pid)]) as busy:
            deadline = time.monotonic() + seconds
            for number in range(in_flight):
                begin(opened[number % CONNECTIONS])
            await done
    return UnaryRun(completed, busy.seconds, busy.own, busy.of_others[0])


async def latencies(
    connection: Connection, path: str, next_request: Callable[[], bytes], count: int
) -> list[float]:
    """Seconds of each of so many calls, one after the other."""
    taken = []
    loop = asyncio.get_running_loop()
    for _ in range(count):
        request = next_request()
        ended: asyncio.Future[str] = loop.create_future()
        started = time.perf_counter()
        call = connection.call(path, request, _ignore, ended.set_result)
        problem = await connection.outcome(call, ended)
        taken.append(time.perf_counter() - started)
        if problem:
            raise CallFailed(f"{path}: {problem}")
    return taken


def fsync_latencies(folder: Path, count: int) -> list[float]:
    """Seconds of each of so many appends that are synced to disk, one after the other."""
    path = folder / "fsync"
    taken = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        block = bytes(_WAL_BYTES)
        for _ in range(count):
            started = time.perf_counter()
            os.write(file, block)
            os.fdatasync(file)
            taken.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return taken


async def stored_total(connection: Connection, keys: Sequence[str]) -> int:
    """How many entries the recipients' inboxes hold together."""
    total = 0
    for start in range(0, len(keys), RECIPIENTS_PER_SUMMARY):
        asked = GetSummaryRequest(recipients=keys[start : start + RECIPIENTS_PER_SUMMARY])
        answer = GetSummaryResponse.FromString(await connection.unary(GET_SUMMARY, asked.SerializeToString()))
        total += sum(each.summary.total for each in answer.summaries)
    return total


async def fill(connection: Connection, items: Sequence[bytes]) -> list[str]:
    """Sends encoded items by SendStream, as they come; the cursors of their entries. Raises NotArrived."""
    messages = [
        batch_of(items[start : start + ITEMS_PER_MESSAGE])
        for start in range(0, len(items), ITEMS_PER_MESSAGE)
    ]
    answers = await _stream(connection, messages)
    cursors = [
        result.result.cursor
        for answer in answers
        for result in SendBatchResponse.FromString(answer).results
        if result.result.disposition == DISPOSITION_STORED
    ]
    if len(cursors) != len(items):
        raise NotArrived(f"{len(cursors)} of {len(items)} were stored")
    return cursors


async def send_unary(setting: Setting) -> list[Row]:
    """Durable Sends a second with 256 in flight, beside an echo of the same requests."""
    return [await _unary(setting, "send_unary", {}, 0.5)]


async def send_postgres(setting: Setting) -> list[Row]:
    """The same on Postgres, with Redis as the bus."""
    async with setting.backbone() as backbone:
        return [await _unary(setting, "send_postgres", backbone.settings, 0.35)]


async def _unary(setting: Setting, name: str, settings: Mapping[str, str], bar: float) -> Row:
    keys = recipients()
    requests = Requests(keys)
    async with setting.server(settings) as server:
        async with connections(server.address, 1) as (filling,):
            await fill(filling, [requests.item() for _ in keys])
        return await unary_row(setting, name, bar, server, requests)


async def unary_row(
    setting: Setting, name: str, bar: float, server: ServerProcess, requests: Requests
) -> Row:
    """Sends a second with 256 in flight, beside an echo of the same requests. Raises NotArrived."""
    seconds = setting.by_size(3.0, 8.0)
    sends: list[UnaryRun] = []
    echoes: list[UnaryRun] = []
    async with setting.raw_server() as raw, connections(server.address, 1) as (checking,):
        for address, pid, path in ((raw.address, raw.pid, ECHO), (server.address, server.pid, SEND)):
            await unary_load(address, pid, path, requests.request, WARM_UP_S)
        before = await stored_total(checking, requests.order)
        for _ in range(setting.rounds):
            echoes.append(await unary_load(raw.address, raw.pid, ECHO, requests.request, seconds))
            sends.append(await unary_load(server.address, server.pid, SEND, requests.request, seconds))
        stored = await stored_total(checking, requests.order) - before
    _check(stored, sum(run.calls for run in sends))
    return row(
        name,
        "sends/s",
        [Pair(send.rate, echo.rate) for send, echo in zip(sends, echoes, strict=True)],
        "at least",
        bar,
        request_bytes=requests.mean_bytes,
        load_cpu=median(run.load_cpu for run in sends),
        yardstick_load_cpu=median(run.load_cpu for run in echoes),
        server_cpu=median(run.server_cpu for run in sends),
        yardstick_server_cpu=median(run.server_cpu for run in echoes),
        server_us=median(run.server_us for run in sends),
        yardstick_server_us=median(run.server_us for run in echoes),
    )


async def send_latency(setting: Setting) -> list[Row]:
    """One Send after the other, beside an echo plus one append that is synced to disk."""
    count = setting.by_size(1_000, 3_000)
    requests = Requests(recipients(2_000))
    pairs: dict[float, list[Pair]] = {0.5: [], 0.99: []}
    fsyncs = []
    async with (
        setting.raw_server() as raw,
        setting.server() as server,
        connections(raw.address, 1) as (echoing,),
        connections(server.address, 1) as (sending,),
    ):
        for connection, path in ((echoing, ECHO), (sending, SEND)):
            await latencies(connection, path, requests.request, count // 4)
        for _ in range(setting.rounds):
            echo = await latencies(echoing, ECHO, requests.request, count)
            fsync = fsync_latencies(setting.folder, count)
            send = await latencies(sending, SEND, requests.request, count)
            fsyncs.append(median(fsync))
            for share, of_share in pairs.items():
                yardstick = percentile(echo, share) + percentile(fsync, share)
                of_share.append(Pair(1e3 * percentile(send, share), 1e3 * yardstick))
    fsync_ms = 1e3 * median(fsyncs)
    return [
        row(f"send_latency.{name}", "ms", pairs[share], "at most", 2.5, fsync_ms=fsync_ms)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]


async def send_bulk(setting: Setting) -> list[Row]:
    """Durable notifications a second, by SendStream and by SendBatch; the slower of the two counts."""
    seconds = setting.by_size(2.0, 6.0)
    count = setting.by_size(30_000, 100_000)
    keys = recipients()
    requests = Requests(keys)
    pairs: dict[str, list[Pair]] = {"stream": [], "batch": []}
    costs = []
    async with (
        setting.raw_server() as raw,
        setting.server() as server,
        connections(server.address, 1) as (connection,),
    ):
        await fill(connection, [requests.item() for _ in keys])
        await unary_load(raw.address, raw.pid, ECHO, requests.request, WARM_UP_S)
        for _ in range(setting.rounds):
            echo = await unary_load(raw.address, raw.pid, ECHO, requests.request, seconds)
            for way, send in (("stream", _stream), ("batch", _batches)):
                before = await stored_total(connection, keys)
                messages = [requests.batch(ITEMS_PER_MESSAGE) for _ in range(count // ITEMS_PER_MESSAGE)]
                with undisturbed(), Busy([server.usage()]) as busy:
                    answers = await send(connection, messages)
                pairs[way].append(Pair(count / busy.seconds, echo.rate))
                costs.append(1e6 * busy.of_others[0] * busy.seconds / count)
                _check(_stored_in(answers), count)
                _check(await stored_total(connection, keys) - before, count)
    slower = min(pairs, key=lambda way: median(pair.value for pair in pairs[way]))
    return [
        row(
            "send_bulk",
            "notifications/s",
            pairs[slower],
            "at least",
            3.0,
            items_per_message=ITEMS_PER_MESSAGE,
            stream=median(pair.value for pair in pairs["stream"]),
            stream_ratio=median(pair.value / pair.yardstick for pair in pairs["stream"]),
            batch=median(pair.value for pair in pairs["batch"]),
            batch_ratio=median(pair.value / pair.yardstick for pair in pairs["batch"]),
            server_us=median(costs),
        )
    ]


async def _stream(connection: Connection, messages: Sequence[bytes]) -> list[bytes]:
    """The answers of one SendStream; gRPC's flow control is what holds messages back."""
    answers: list[bytes] = []
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    call = connection.call(SEND_STREAM, messages[0], answers.append, ended.set_result, more=True)
    for message in messages[1:]:
        connection.send(call, message)
    connection.send(call, b"", more=False)
    if problem := await ended:
        raise CallFailed(f"{SEND_STREAM}: {problem}")
    return answers


async def _batches(connection: Connection, messages: Sequence[bytes]) -> list[bytes]:
    """The answers of SendBatch calls, a few of them at once."""
    answers: list[bytes] = []
    left = iter(messages)
    done = asyncio.get_running_loop().create_future()

    def begin() -> None:
        message = next(left, None)
        if message is not None:
            connection.call(SEND_BATCH, message, answers.append, ended)
        elif len(answers) == len(messages) and not done.done():
            done.set_result(None)

    def ended(problem: str) -> None:
        if not problem:
            begin()
        elif not done.done():
            done.set_exception(CallFailed(f"{SEND_BATCH}: {problem}"))

    for _ in range(BATCHES_IN_FLIGHT):
        begin()
    await done
    return answers


def _stored_in(answers: Sequence[bytes]) -> int:
    return sum(
        result.result.disposition == DISPOSITION_STORED
        for answer in answers
        for result in SendBatchResponse.FromString(answer).results
    )


def _check(stored: int, counted: int) -> None:
    if stored != counted:
        raise NotArrived(f"{counted} were counted, and {stored} are stored")


def _ignore(_message: bytes) -> None:
    pass
