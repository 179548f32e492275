"""`python -m tests.bench`: measures each line beside its yardstick, prints a table and keeps the results.

It fails on nothing that it measures: it says what is missed. An error in the measuring itself is one.
"""

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench import (
    broadcasting,
    fanout,
    growth,
    idling,
    live,
    resuming,
    sending,
    starting,
    telemetry,
    templated,
)
from tests.bench.results import Row, details, save, table
from tests.bench.setting import Setting

Line = Callable[[Setting], Awaitable[list[Row]]]

LINES: dict[str, Line] = {
    "send_unary": sending.send_unary,
    "send_template": templated.send_template,
    "send_latency": sending.send_latency,
    "send_bulk": sending.send_bulk,
    "send_postgres": sending.send_postgres,
    "fanout_gateway": fanout.fanout_gateway,
    "fanout_gateway.two_workers": fanout.fanout_gateway_two_workers,
    "fanout_streams": fanout.fanout_streams,
    "fanout_streams.two_workers": fanout.fanout_streams_two_workers,
    "live_latency": live.live_latency,
    "live_latency.replicas": live.live_latency_replicas,
    "broadcast": broadcasting.broadcast,
    "broadcast.postgres": broadcasting.broadcast_postgres,
    "resume": resuming.resume,
    "idle_memory": idling.idle_memory,
    "growth": growth.growth,
    "growth.postgres": growth.growth_postgres,
    "otel": telemetry.otel,
    "start": starting.start,
}

QUICK_LINES = ("send_unary", "send_latency", "send_bulk", "fanout_gateway", "live_latency")
"""What a quick run measures unless it is told otherwise."""


async def measure(names: list[str], *, quick: bool, rounds: int) -> None:
    """Measures lines one after the other; what was measured is kept even if a later one fails."""
    rows: list[Row] = []
    for name in names:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as folder:
            measured = await LINES[name](Setting(quick, rounds, Path(folder)))
        save(measured)
        rows += measured
        print(f"{name}: {time.monotonic() - started:.0f} s")
        for each in measured:
            print(
                f"  {each.name}: {each.value:,.6g} {each.unit}, ratio {each.ratio:g} ({details(each)})",
                flush=True,
            )
    print(f"\n{table(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME,…", default="", help=f"lines to measure: {', '.join(LINES)}")
    parser.add_argument(
        "--size", choices=("quick", "full"), default="full", help="how much is sent and stored"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each line is measured")
    asked = parser.parse_args()
    quick = asked.size == "quick"
    names = asked.only.split(",") if asked.only else list(QUICK_LINES if quick else LINES)
    unknown = sorted(set(names) - set(LINES))
    if unknown:
        parser.error(f"there is no line {', '.join(unknown)}")
    uvloop.run(measure(names, quick=quick, rounds=asked.rounds))


if __name__ == "__main__":
    main()
