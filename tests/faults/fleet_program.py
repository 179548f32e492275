"""A fleet whose processes are small: the real supervisor, and in the place of the server one that says who it is.

    python fleet_program.py            the supervisor, with what it shares with `tocsin serve` from the environment
    python fleet_program.py member     one of its processes

A member joins its fleet with the real code. It reads the file `member` in its folder, as a server does its settings: a
JSON object with `says`, which it answers every call with, and `fails`: the numbers of those that end at once, and
`stuck`: those that do not drain.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc.aio
from grpc_health.v1 import health_pb2

from tocsin_server import logs
from tocsin_server.bootstrap.fleet import FleetPlan, supervise
from tocsin_server.bootstrap.member import Member

SIZE = 3
DRAIN_TIMEOUT_S = 5
GRACE_S = 2
CANNOT_START = 7
WORK_S = 0.02

MEMBER_FILE, OBJECTION_FILE = Path("member"), Path("objection")


def main() -> int:
    """Either of the two."""
    member = Member.of(os.environ)
    logs.configure("json", "info", worker=None if member is None else member.number)
    if member is not None:
        settings = json.loads(MEMBER_FILE.read_text()) if MEMBER_FILE.exists() else {}
        asyncio.run(serve(member, settings))
        return 0
    return supervise(
        FleetPlan(
            command=(sys.executable, __file__, "member"),
            environ=os.environ,
            size=SIZE,
            listen=os.environ["TOCSIN_LISTEN"],
            drain_timeout=DRAIN_TIMEOUT_S,
            port_file=Path(os.environ["TOCSIN_PORT_FILE"]),
            objection=lambda: OBJECTION_FILE.read_text() if OBJECTION_FILE.exists() else "",
        )
    )


async def serve(member: Member, settings: Mapping[str, Any]) -> None:
    """Answers until told to stop, then what it has begun."""
    if member.number in settings.get("fails", ()):
        sys.stderr.write("the member cannot start\n")
        sys.exit(CANNOT_START)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    member.until_told(stop.set)

    async def check(request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def who(request: Any, context: Any) -> bytes:
        # The caller knows from now on that its call is in work.
        await context.send_initial_metadata(())
        await asyncio.sleep(WORK_S)
        return json.dumps(
            {"number": member.number, "pid": os.getpid(), "says": settings.get("says", "")}
        ).encode()

    server = grpc.aio.server(options=(("grpc.so_reuseport", 1),))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "grpc.health.v1.Health",
                {
                    "Check": grpc.unary_unary_rpc_method_handler(
                        check,
                        health_pb2.HealthCheckRequest.FromString,
                        health_pb2.HealthCheckResponse.SerializeToString,
                    )
                },
            ),
            grpc.method_handlers_generic_handler(
                "tests.Fleet", {"Who": grpc.unary_unary_rpc_method_handler(who)}
            ),
        )
    )
    server.add_insecure_port(member.listen)
    await server.start()
    member.tell_ready()
    await stop.wait()
    if member.number in settings.get("stuck", ()):
        signal.pause()
    await server.stop(GRACE_S)


if __name__ == "__main__":
    sys.exit(main())
