"""The supervisor of a fleet: several processes that serve on one port, kept running.

Each process is started anew, never forked, and listens on the port with SO_REUSEPORT; the kernel spreads connections
over them. The supervisor serves nothing and holds nothing but the port. The first process comes up alone, so that what
keeps it from serving, and every other, is told once; then the others follow.

- A process that ends is started again, after a pause that grows while it keeps failing.
- SIGHUP: the processes are replaced, one after the other. Each drains, and its successor must serve before the next one
  drains, so that there are never more processes, nor connections to the database, than were planned for.
- SIGTERM, SIGINT: all drain, at the same time. Once more: all are killed.
"""

import asyncio
import random
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from tocsin_server.bootstrap.member import READY, Member
from tocsin_server.bootstrap.port import announce, held
from tocsin_server.settings import Settings

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0

STEADY_SECONDS = 10.0
"""A process that has served for so long did not fail because of how it was started."""

KILL_MARGIN_SECONDS = 2.0
"""A process ends by itself within `drain_timeout`; one that has not by so much more is stuck."""

_OF_THE_SUPERVISOR = ("listen", "workers", "drain_timeout")
"""Settings that it reads once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What a supervisor runs."""

    command: Sequence[str]
    """Starts one process; see `member` for what it is told and what it must do."""
    environ: Mapping[str, str]
    size: int
    listen: str
    drain_timeout: float
    port_file: Path | None
    objection: Callable[[], str]
    """Asked before processes are replaced: why new ones could not serve; empty if nothing is known to be wrong."""


def supervise(plan: FleetPlan) -> int:
    """Runs the fleet until a signal ends it. Its exit code: 0 when all have drained.

    If the first process ends before it has served, that is the end of the fleet, with its exit code. Raises OSError
    where the port cannot be had.
    """
    with held(plan.listen) as (listen, port):
        return asyncio.run(Fleet(plan, listen, port).run())


def objection_to(now: Settings, started_with: Settings) -> str:
    """Why new processes cannot run with these settings beside a supervisor that was started with others; empty: they
    can."""
    changed = [name for name in _OF_THE_SUPERVISOR if getattr(now, name) != getattr(started_with, name)]
    return f"Only a start of the whole fleet changes {' and '.join(changed)}." if changed else ""


def pause_before_restart(failures: int) -> float:
    """Seconds to wait after so many failures in a row: twice as long each time, and never the same for all."""
    bound = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_PAUSE_SECONDS)
    return random.uniform(bound / 2, bound)  # noqa: S311  # jitter, not a secret


class Fleet:
    """The processes, and what is done with all of them."""

    def __init__(self, plan: FleetPlan, listen: str, port: int) -> None:
        self._plan = plan
        self._port = port
        self._state = _State()
        self._hung_up = asyncio.Event()
        self._places = [_Place(plan, Member(number, listen), self._state) for number in range(plan.size)]

    async def run(self) -> int:
        """Until a signal ends it; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up.set)

        first, *others = self._places
        tasks = [asyncio.create_task(first.keep())]
        await _either(self._state.has_served.wait(), tasks[0])
        if not self._state.has_served.is_set():
            return await tasks[0]
        if self._plan.port_file is not None:
            announce(self._plan.port_file, self._port)
        log.info("the fleet serves", port=self._port, workers=self._plan.size)
        tasks += [asyncio.create_task(place.keep()) for place in others]
        replacing = asyncio.create_task(self._replace_when_asked())
        try:
            codes = await asyncio.gather(*tasks)
        finally:
            replacing.cancel()
        log.info("the fleet has stopped")
        return int(any(codes))

    def _on_signal(self) -> None:
        if self._state.stopping.is_set():
            log.warning("told to stop again: the workers are killed")
            for place in self._places:
                place.kill()
            return
        log.info("the fleet drains")
        self._state.stopping.set()
        for place in self._places:
            place.drain()

    async def _replace_when_asked(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            if objection := self._plan.objection():
                log.error("the workers are not replaced", reason=objection)
            else:
                await self._replace()

    async def _replace(self) -> None:
        log.info("the workers are replaced, one after the other")
        remaining = list(self._places)
        while remaining:
            # First those that serve nobody: so at most one is missing, also while the fleet is still coming up.
            place = min(remaining, key=lambda place: place.serving)
            remaining.remove(place)
            if not await place.replace():
                log.error("a new worker does not serve: the others are not replaced", worker=place.number)
                return
        log.info("the workers are replaced")


class _State:
    """What all places know of the fleet."""

    def __init__(self) -> None:
        self.has_served = asyncio.Event()
        """Some process has: the fleet can serve as it is set up."""
        self.stopping = asyncio.Event()


class _Place:
    """One of the fleet's numbers, and the process that has it at the moment."""

    def __init__(self, plan: FleetPlan, member: Member, state: _State) -> None:
        self.number = member.number
        self.serving = False
        self._plan = plan
        self._member = member
        self._state = state
        self._process: _Process | None = None
        self._successor: asyncio.Future[bool] | None = None
        """Asked for and not started yet; told whether it serves."""
        self._hurry = asyncio.Event()
        """Nobody is to wait before a restart."""

    async def keep(self) -> int:
        """Keeps a process running until the fleet stops, or fails before it has served. The last one's exit code."""
        failures, code = 0, 0
        while not self._state.stopping.is_set():
            self._hurry.clear()
            code, served_seconds = await self._run_one()
            if self._state.stopping.is_set() or not self._state.has_served.is_set():
                return code
            if self._process is not None and self._process.draining:
                failures = 0
                continue
            failures = 1 if served_seconds >= STEADY_SECONDS else failures + 1
            pause = pause_before_restart(failures)
            log.warning(
                "a worker ended and is started again",
                worker=self.number,
                exit_code=code,
                failures=failures,
                pause_seconds=round(pause, 3),
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause)
        return code

    async def replace(self) -> bool:
        """Drains the process, and starts the next one once it has ended. Whether that serves."""
        successor: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._successor = successor
        self.drain()
        return await successor

    def drain(self) -> None:
        """Asks the process to drain and end; if there is none at the moment, ends the pause before the next one."""
        self._hurry.set()
        if self._process is not None:
            self._process.drain()

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None:
            self._process.kill()

    async def _run_one(self) -> tuple[int, float]:
        """One process from its start to its end: the exit code, and for how long it has served."""
        successor, self._successor = self._successor, None
        serves, since, loop = False, 0.0, asyncio.get_running_loop()
        self._process = None
        try:
            self._process = process = await _Process.start(self._plan, self._member)
            # Whoever asked for that while it was being started had nothing to ask yet.
            if self._state.stopping.is_set() or self._successor is not None:
                process.drain()
            if serves := await process.serves():
                self.serving, since = True, loop.time()
                self._state.has_served.set()
                log.info("a worker serves", worker=self.number, pid=process.pid)
        except OSError as error:  # the machine is out of something, which may pass
            if not self._state.has_served.is_set():
                raise
            log.error("a worker cannot be started", worker=self.number, error=str(error))
            return 1, 0.0
        finally:
            if successor is not None:
                successor.set_result(serves)
        code = await process.ended()
        self.serving = False
        return code, loop.time() - since if serves else 0.0


class _Process:
    """One process, and our end of what joins us."""

    def __init__(self, process: asyncio.subprocess.Process, link: socket.socket, plan: FleetPlan) -> None:
        self.draining = False
        self.pid = process.pid
        self._process = process
        self._link = link
        self._patience = plan.drain_timeout + KILL_MARGIN_SECONDS
        self._too_late: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, plan: FleetPlan, member: Member) -> "_Process":
        """Starts it, in a session of its own: Ctrl-C in a terminal is for the supervisor alone."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    *plan.command,
                    env={**plan.environ, **member.environ()},
                    stdin=theirs.fileno(),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return cls(process, ours, plan)

    async def serves(self) -> bool:
        """Waits until it serves; False if it ends before."""
        with suppress(ConnectionError):
            told: bytes = await asyncio.get_running_loop().sock_recv(self._link, len(READY))
            return told == READY
        return False

    async def ended(self) -> int:
        """Waits for its end. The exit code; as a shell says it, if a signal was the end."""
        code = await self._process.wait()
        if self._too_late is not None:
            self._too_late.cancel()
        self._link.close()
        return code if code >= 0 else 128 - code

    def drain(self) -> None:
        """Asks it to drain, and kills it when it has not ended long after it should have."""
        if not self.draining and self._process.returncode is None:
            self.draining = True
            with suppress(OSError):  # it has ended already
                self._link.shutdown(socket.SHUT_WR)
            self._too_late = asyncio.get_running_loop().call_later(self._patience, self._give_up)

    def kill(self) -> None:
        """Ends it at once."""
        if self._process.returncode is None:
            self._process.kill()

    def _give_up(self) -> None:
        log.error("a worker did not end in time and is killed", pid=self.pid)
        self.kill()


async def _either(one: Coroutine[Any, Any, Any], other: "asyncio.Task[Any]") -> None:
    """Waits until one of them is done; the task goes on."""
    waiting = asyncio.ensure_future(one)
    await asyncio.wait((waiting, other), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
