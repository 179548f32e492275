"""Calls that are served together: all of them, each for itself, and none later than it must."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tocsin_server.domain.access import NOBODY
from tocsin_server.domain.errors import MalformedRequest, QueueFull, TocsinError
from tocsin_server.rpc.context import CallContext
from tocsin_server.rpc.gathering import FEW, Gathering

CALLER = CallContext(NOBODY, "", None, "")


class Server:
    """Answers with what it was asked, once its gate is open."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.gathering = Gathering(self._accept, self._serve)

    def ask(self, *requests: bytes) -> list["asyncio.Task[bytes]"]:
        return [asyncio.create_task(self.gathering.answer(request, CALLER)) for request in requests]

    def _accept(self, raw: bytes) -> Any:
        if raw == b"bad":
            raise MalformedRequest
        return raw

    async def _serve(self, calls: Sequence[tuple[Any, CallContext]]) -> list[bytes | TocsinError]:
        self.groups.append([request for request, _ in calls])
        self.began.set()
        await self.gate.wait()
        if any(request == b"defect" for request, _ in calls):
            raise KeyError("defect")
        return [QueueFull() if request == b"full" else request * 2 for request, _ in calls]


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_a_call_alone_is_served_at_once(server: Server) -> None:
    asked = server.ask(b"a")
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.groups == [[b"a"]], "after some turns of the event loop, and no time"
    assert await asyncio.gather(*asked) == [b"aa"]


async def test_calls_that_come_together_are_served_together_and_answered_each(server: Server) -> None:
    asked = [str(number).encode() for number in range(100)]
    assert await asyncio.gather(*server.ask(*asked)) == [each * 2 for each in asked]
    assert server.groups == [asked]


async def test_many_under_way_wait_for_others(server: Server) -> None:
    server.gate.clear()
    first = server.ask(*[b"x"] * FEW)
    await server.began.wait()
    second = server.ask(b"a")
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(server.groups) == 1, "it waits, as so many are under way"
    second += server.ask(b"b")
    server.gate.set()
    assert await asyncio.gather(*first, *second) == [b"xx"] * FEW + [b"aa", b"bb"]
    assert server.groups[1:] == [[b"a", b"b"]]


async def test_a_bad_call_does_not_touch_its_neighbours(server: Server) -> None:
    answers = await asyncio.gather(*server.ask(b"a", b"bad", b"full", b"b"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [bytes, MalformedRequest, QueueFull, bytes]
    assert server.groups == [[b"a", b"full", b"b"]]


async def test_a_defect_reaches_all_of_its_group_and_no_other(server: Server) -> None:
    answers = await asyncio.gather(*server.ask(b"a", b"defect"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [KeyError, KeyError]
    assert await server.ask(b"a")[0] == b"aa"


async def test_who_gives_up_leaves_the_others_alone(server: Server) -> None:
    server.gate.clear()
    gone, left = server.ask(b"a", b"b")
    await server.began.wait()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    server.gate.set()
    assert await left == b"bb"
    assert await asyncio.gather(*server.ask(*[b"x"] * FEW)) == [b"xx"] * FEW, "it does not count any more"
