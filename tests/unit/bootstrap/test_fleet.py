"""What is decided about a fleet; what it does is in tests/faults/test_fleet.py."""

import asyncio
import os
import sys
from typing import Any

import msgspec
import pytest

from tocsin_server.bootstrap.fleet import (
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    FleetPlan,
    _Place,
    _Process,
    _State,
    objection_to,
    pause_before_restart,
)
from tocsin_server.bootstrap.member import Member
from tocsin_server.settings import Settings

STARTED_WITH = Settings(workers=3, listen="0.0.0.0:0", metrics_port=9464)


@pytest.mark.parametrize("failures", [1, 2, 5, 30, 1_000])
def test_the_pause_before_a_restart_grows_to_a_bound_and_differs(failures: int) -> None:
    pauses = {pause_before_restart(failures) for _ in range(50)}
    bound = min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS)
    assert all(bound / 2 <= pause <= bound for pause in pauses)
    assert len(pauses) > 10


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ""),
        ({"retention": 5.0, "metrics_port": 9465}, ""),
        ({"workers": 4}, "Only a start of the whole fleet changes workers."),
        (
            {"drain_timeout": 5.0, "listen": "0.0.0.0:1"},
            "Only a start of the whole fleet changes listen and drain_timeout.",
        ),
    ],
)
def test_what_the_supervisor_has_read_cannot_change_under_it(changed: dict[str, object], told: str) -> None:
    assert objection_to(msgspec.structs.replace(STARTED_WITH, **changed), STARTED_WITH) == told


def test_a_member_finds_itself_in_the_environment() -> None:
    member = Member(2, "[::1]:7700")
    assert Member.of({"PATH": "/bin", **member.environ()}) == member
    assert Member.of({"PATH": "/bin"}) is None


@pytest.mark.parametrize(("metrics_port", "own"), [(9464, 9466), (0, 0), (None, None)])
def test_a_member_has_the_port_of_the_fleet_and_one_of_its_own_for_metrics(
    metrics_port: int | None, own: int | None
) -> None:
    settings = msgspec.structs.replace(STARTED_WITH, metrics_port=metrics_port)
    found = Member(2, "0.0.0.0:4711").settings(settings)
    assert (found.listen, found.metrics_port, found.port_file) == ("0.0.0.0:4711", own, None)


MEMBER = (sys.executable, "-c", "import os; os.write(0, b'ready\\n'); os.read(0, 1)")


async def test_a_process_that_is_just_being_started_is_replaced_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have read the settings before they were changed, and nobody waits for its successor in vain."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    start: Any = _Process.start

    async def slowly(plan: FleetPlan, member: Member) -> _Process:
        process: _Process = await start(plan, member)
        begun.set()
        await go_on.wait()
        return process

    monkeypatch.setattr(_Process, "start", slowly)
    plan = FleetPlan(
        command=MEMBER,
        environ=os.environ,
        size=1,
        listen="127.0.0.1:0",
        drain_timeout=5.0,
        port_file=None,
        objection=lambda: "",
    )
    state = _State()
    place = _Place(plan, Member(0, "127.0.0.1:7700"), state)
    keeping = asyncio.create_task(place.keep())
    await begun.wait()
    replacing = asyncio.create_task(place.replace())
    await asyncio.sleep(0)
    go_on.set()
    try:
        async with asyncio.timeout(10):
            assert await replacing
    finally:
        state.stopping.set()
        place.drain()
        await keeping
