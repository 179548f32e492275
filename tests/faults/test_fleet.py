"""Fault 12 for a fleet: its processes end, are replaced one after the other under load, and are never left behind.

The supervisor is the real one. Its processes are stand-ins: what is tested is who runs and who is connected, and that
needs neither a database nor a bus.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import psutil
import pytest

from tests.faults.fleet_program import (
    CANNOT_START,
    DRAIN_TIMEOUT_S,
    MEMBER_FILE,
    OBJECTION_FILE,
    SIZE,
)
from tests.support.calls import answered, channel_to
from tests.support.processes import ServerEnded, ServerProcess, Servers
from tests.support.waiting import eventually
from tocsin_server.bootstrap.fleet import (
    FIRST_PAUSE_SECONDS,
    KILL_MARGIN_SECONDS,
)

PROGRAM = (sys.executable, str(Path(__file__).with_name("fleet_program.py")))
# For a machine that is busy with other things.
MARGIN_S = 5
ASK_TIMEOUT_S = 10


class Fleet:
    """A running supervisor, and who answers on its port."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    def is_told(self, **settings: object) -> None:
        """What members that start from now on read."""
        (self.server.folder / MEMBER_FILE).write_text(json.dumps(settings))

    async def who(self) -> Mapping[str, Any]:
        """Who answers a call on a connection of its own."""
        async with channel_to(self.server.address) as channel:
            return await ask(channel)

    async def all_who(self) -> dict[int, Mapping[str, Any]]:
        """Every member by its number; waits until all answer."""
        found: dict[int, Mapping[str, Any]] = {}

        async def complete() -> bool:
            answer = await self.who()
            found[answer["number"]] = answer
            return len(found) == SIZE

        await eventually(complete, f"an answer from each; so far {found}")
        return found

    def processes(self) -> list[psutil.Process]:
        """The members' processes."""
        return self.server.usage().children()

    def events(self, event: str) -> list[dict[str, Any]]:
        """What the supervisor has logged of this kind."""
        lines = (json.loads(line) for line in self.server.log().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    async def logged(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        """Waits until it has logged that."""
        await eventually(lambda: len(self.events(event)) >= times, f"{times} × {event!r}")
        return self.events(event)


def call(channel: grpc.aio.Channel) -> Any:
    method: Any = channel.unary_unary("/tests.Fleet/Who")
    return method(b"", timeout=ASK_TIMEOUT_S)


async def ask(channel: grpc.aio.Channel) -> Mapping[str, Any]:
    """An answer, asked again as every client does where a connection was closed under it."""
    return cast(Mapping[str, Any], json.loads(await answered(lambda: call(channel))))


@pytest.fixture
async def fleet(servers: Servers) -> Fleet:
    return Fleet(await servers.start(command=PROGRAM))


@asynccontextmanager
async def calls_without_end(fleet: Fleet) -> AsyncIterator[list[Mapping[str, Any]]]:
    """Calls, on connections that last, none of which may stay without an answer for long. The answers so far."""
    answers: list[Mapping[str, Any]] = []
    going = True

    async def caller() -> None:
        async with channel_to(fleet.server.address) as channel:
            while going:
                async with asyncio.timeout(ASK_TIMEOUT_S):
                    answers.append(await ask(channel))

    async with asyncio.TaskGroup() as callers:
        for _ in range(4 * SIZE):
            callers.create_task(caller())
        try:
            yield answers
        finally:
            going = False


def of(answers: Mapping[int, Mapping[str, Any]], key: str) -> dict[int, Any]:
    return {number: answer[key] for number, answer in answers.items()}


async def test_all_processes_answer_on_one_port(fleet: Fleet) -> None:
    members = await fleet.all_who()
    assert set(members) == set(range(SIZE))
    assert set(of(members, "pid").values()) == {process.pid for process in fleet.processes()}


async def test_a_killed_process_comes_back_and_the_others_stay(fleet: Fleet) -> None:
    before = of(await fleet.all_who(), "pid")
    psutil.Process(before[1]).kill()
    (told,) = await fleet.logged("a worker ended and is started again")
    assert (told["worker"], told["exit_code"]) == (1, 128 + signal.SIGKILL)
    await fleet.logged("a worker serves", SIZE + 1)
    after = of(await fleet.all_who(), "pid")
    assert after[1] != before[1]
    assert (after[0], after[2]) == (before[0], before[2])


async def test_one_that_fails_again_and_again_is_started_more_and_more_seldom(servers: Servers) -> None:
    fleet = Fleet(await servers.prepare(command=PROGRAM))
    fleet.is_told(fails=[2])
    await fleet.server.start()
    told = await fleet.logged("a worker ended and is started again", 4)
    assert [line["failures"] for line in told[:4]] == [1, 2, 3, 4]
    assert {(line["worker"], line["exit_code"]) for line in told} == {(2, CANNOT_START)}
    for line in told:
        bound = FIRST_PAUSE_SECONDS * 2 ** (line["failures"] - 1)
        assert bound / 2 <= line["pause_seconds"] <= bound

    assert (await fleet.who())["number"] in (0, 1)
    fleet.is_told()
    await fleet.all_who()


async def test_a_fleet_whose_first_process_cannot_start_ends_as_it_does(servers: Servers) -> None:
    fleet = Fleet(await servers.prepare(command=PROGRAM))
    fleet.is_told(fails=list(range(SIZE)))
    with pytest.raises(ServerEnded):
        await fleet.server.start()
    assert await fleet.server.wait() == CANNOT_START
    assert fleet.server.log().count("the member cannot start") == 1


async def test_hanging_up_replaces_one_after_the_other_and_no_call_fails(fleet: Fleet) -> None:
    before = of(await fleet.all_who(), "pid")
    fleet.is_told(says="new")
    async with calls_without_end(fleet) as answers:
        await eventually(lambda: len(answers) > 100, "some calls")
        fleet.server.send_signal(signal.SIGHUP)
        await eventually(
            lambda: len(fleet.processes()) >= SIZE - 1 and fleet.events("the workers are replaced"),
            "new processes",
        )
        count = len(answers)
        await eventually(lambda: len(answers) > count + 100, "some more calls")
    after = await fleet.all_who()
    assert of(after, "says") == dict.fromkeys(range(SIZE), "new")
    assert not set(of(after, "pid").values()) & set(before.values())
    served = [line["worker"] for line in fleet.events("a worker serves")]
    assert served[SIZE:] == list(range(SIZE))


async def test_one_that_does_not_serve_is_replaced_first(servers: Servers) -> None:
    fleet = Fleet(await servers.prepare(command=PROGRAM))
    fleet.is_told(fails=[2])
    await fleet.server.start()
    await fleet.logged("a worker ended and is started again", 4)
    fleet.is_told()
    fleet.server.send_signal(signal.SIGHUP)
    await fleet.logged("the workers are replaced")
    assert [line["worker"] for line in fleet.events("a worker serves")][2:] == [2, 0, 1]


async def test_a_successor_that_does_not_serve_leaves_the_others_as_they_are(fleet: Fleet) -> None:
    before = of(await fleet.all_who(), "pid")
    fleet.is_told(fails=[1])
    fleet.server.send_signal(signal.SIGHUP)
    (told,) = await fleet.logged("a new worker does not serve: the others are not replaced")
    assert told["worker"] == 1
    fleet.is_told()
    after = of(await fleet.all_who(), "pid")
    assert after[0] != before[0]
    assert after[2] == before[2]


async def test_nothing_is_replaced_while_the_settings_are_wrong(fleet: Fleet) -> None:
    before = of(await fleet.all_who(), "pid")
    objection = fleet.server.folder / OBJECTION_FILE
    objection.write_text("retention: is not a number")
    fleet.server.send_signal(signal.SIGHUP)
    (told,) = await fleet.logged("the workers are not replaced")
    assert told["reason"] == "retention: is not a number"
    assert of(await fleet.all_who(), "pid") == before

    objection.unlink()
    fleet.server.send_signal(signal.SIGHUP)
    await fleet.logged("the workers are replaced")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_all_drain_in_time(fleet: Fleet, number: signal.Signals) -> None:
    await fleet.all_who()
    processes = fleet.processes()
    async with channel_to(fleet.server.address) as channel:
        in_work = call(channel)
        await in_work.initial_metadata()
        fleet.server.send_signal(number)
        await in_work
    assert await fleet.server.wait(DRAIN_TIMEOUT_S + MARGIN_S) == 0
    assert not [process for process in processes if process.is_running()]


async def test_one_that_is_told_twice_over_still_drains(fleet: Fleet) -> None:
    # As systemd does it, which sends the signal to every process of a service.
    await fleet.all_who()
    for process in fleet.processes():
        process.terminate()
    fleet.server.send_signal(signal.SIGTERM)
    assert await fleet.server.wait(DRAIN_TIMEOUT_S + MARGIN_S) == 0


async def test_a_second_signal_ends_all_at_once(servers: Servers) -> None:
    fleet = Fleet(await servers.prepare(command=PROGRAM))
    fleet.is_told(stuck=[0, 1, 2])
    await fleet.server.start()
    await fleet.all_who()
    processes = fleet.processes()
    fleet.server.send_signal(signal.SIGTERM)
    await fleet.logged("the fleet drains")
    fleet.server.send_signal(signal.SIGTERM)
    assert await fleet.server.wait(DRAIN_TIMEOUT_S - 1) == 1
    assert not [process for process in processes if process.is_running()]


async def test_one_that_does_not_drain_is_killed(servers: Servers) -> None:
    fleet = Fleet(await servers.prepare(command=PROGRAM))
    fleet.is_told(stuck=[1])
    await fleet.server.start()
    members = of(await fleet.all_who(), "pid")
    assert await fleet.server.stop(DRAIN_TIMEOUT_S + KILL_MARGIN_SECONDS + MARGIN_S) == 1
    (told,) = fleet.events("a worker did not end in time and is killed")
    assert told["pid"] == members[1]


async def test_no_process_outlives_a_killed_supervisor(fleet: Fleet) -> None:
    await fleet.all_who()
    processes = fleet.processes()
    await fleet.server.kill()
    await eventually(
        lambda: not [process for process in processes if process.is_running()], "their end", MARGIN_S
    )
