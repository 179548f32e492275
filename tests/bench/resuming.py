"""How fast what was missed is streamed after a reconnect: `resume`."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.bench.measuring import Busy, median
from tests.bench.payloads import Requests, recipients
from tests.bench.results import Pair, Row, row
from tests.bench.sending import NotArrived, fill
from tests.bench.setting import Setting, connections, undisturbed
from tests.bench.streams import ARRIVAL_S, Revisions, Stream
from tests.support.waiting import eventually

RECIPIENTS = 1_000
MISSED_EACH = 100

_SELECT = """
    SELECT n.id, n.recipient, n.revision, n.category, n.state, n.status, n.envelope, n.trace, c.body
    FROM notifications AS n LEFT JOIN contents AS c ON c.id = n.content_id
    WHERE n.tenant = 'default' AND n.recipient = ? AND n.revision > 1 ORDER BY n.revision"""


async def resume(setting: Setting) -> list[Row]:
    """Missed entries a second, 100 of each of 1,000 recipients on one Attach, beside a SELECT of the same rows."""
    keys = recipients(RECIPIENTS)
    requests = Requests(keys)
    missed = RECIPIENTS * MISSED_EACH
    pairs, server_cpu, load_cpu, size = [], [], [], 0
    async with (
        setting.server() as server,
        connections(server.address, 2) as (listening, sending),
    ):
        seen = await fill(sending, [requests.item() for _ in keys])
        positions = list(zip(requests.order, seen, strict=True))
        await fill(sending, [requests.item() for _ in range(missed)])
        for _ in range(setting.rounds):
            read, seconds = _select(server.database, keys)
            assert read == missed
            with undisturbed(), Busy([server.usage()]) as busy:
                started = time.monotonic()
                stream = Stream.attach(listening, positions)
                size = await _arrived(stream, missed)
            stream.close()
            pairs.append(Pair(missed / (_check(stream, missed) - started), read / seconds))
            server_cpu.append(busy.of_others[0])
            load_cpu.append(busy.own)
    return [
        row(
            "resume",
            "entries/s",
            pairs,
            "at least",
            0.2,
            entries=missed,
            stream_bytes=size,
            server_cpu=median(server_cpu),
            load_cpu=median(load_cpu),
        )
    ]


async def _arrived(stream: Stream, count: int) -> int:
    """Waits for so many entries, told by a field that each of them has; the bytes that came."""
    mark, found, size = b"\x0a\x24", 0, 0
    looked = 0

    def complete() -> bool:
        nonlocal found, size, looked
        for _, message in stream.arrivals[looked:]:
            found += message.count(mark)
            size += len(message)
        looked = len(stream.arrivals)
        return found >= count or bool(stream.problem)

    await eventually(complete, f"{count} entries", ARRIVAL_S)
    return size


def _check(stream: Stream, count: int) -> float:
    """The instant at which the last entry came. Raises NotArrived."""
    revisions, found, last = Revisions(), 0, 0.0
    for instant, event in stream.events():
        revisions.take(event)
        if event.HasField("notification"):
            found, last = found + 1, instant
    if found != count or set(revisions.latest.values()) != {MISSED_EACH + 1}:
        raise NotArrived(f"{count} entries were missed, {found} came: {stream.problem}")
    return last


def _select(database: Path, keys: list[str]) -> tuple[int, float]:
    """Rows, and the seconds that it took to read them."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA cache_size = -65536")
        with undisturbed():
            started = time.perf_counter()
            read = sum(len(connection.execute(_SELECT, (key,)).fetchall()) for key in keys)
            return read, time.perf_counter() - started
