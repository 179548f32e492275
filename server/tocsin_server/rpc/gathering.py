"""Calls of one RPC, served many at a time while there are many.

Between two steps of one call the processor does so much else that neither code nor data are in its caches by the next:
checking a Send takes three to four times as long as in a loop. So calls wait until several are at hand, and go through
each step one after the other; the writer then gets them together too. See ADR 0019 for what that gives.

How long the first one waits depends on how many are under way: not at all while they are few, and among hundreds, each
of which takes tens of milliseconds, a fraction of that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tocsin_server.domain.errors import TocsinError
from tocsin_server.rpc.context import CallContext

FEW = 8
"""So many calls under way are served as they come."""

WAIT_SECONDS_A_CALL = 0.0005
"""For each call under way beyond those few: by then they can have been served, one after the other."""

LONGEST_WAIT_SECONDS = 0.03

_CALLS_AT_ONE_GO = 32
"""A millisecond or two of work, after which others have their turn."""

Serve = Callable[[Sequence[tuple[Any, CallContext]]], Awaitable[Sequence[bytes | TocsinError]]]
"""Serves calls; an encoded response or an error for each, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    raw: bytes
    context: CallContext
    answered: asyncio.Future[bytes]

    def answer(self, answer: bytes | BaseException) -> None:
        """Whoever gave up waits no more."""
        if self.answered.done():
            return
        if isinstance(answer, BaseException):
            self.answered.set_exception(answer)
        else:
            self.answered.set_result(answer)


class Gathering:
    """The calls of one RPC."""

    def __init__(self, accept: Callable[[bytes], Any], serve: Serve) -> None:
        """`accept` makes a request of bytes, and raises a TocsinError for what is none."""
        self._accept = accept
        self._serve = serve
        self._waiting: list[_Call] = []
        self._under_way = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, raw: bytes, context: CallContext) -> bytes:
        """The response to one call. Raises what it fails with."""
        loop = asyncio.get_running_loop()
        call = _Call(raw, context, loop.create_future())
        self._waiting.append(call)
        self._under_way += 1
        if len(self._waiting) == 1:
            if self._under_way <= FEW:
                loop.call_soon(self._begin)
            else:
                wait = min((self._under_way - FEW) * WAIT_SECONDS_A_CALL, LONGEST_WAIT_SECONDS)
                loop.call_later(wait, self._begin)
        try:
            return await call.answered
        finally:
            self._under_way -= 1

    def _begin(self) -> None:
        calls, self._waiting = self._waiting, []
        task = asyncio.create_task(self._answer(calls))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, calls: Sequence[_Call]) -> None:
        try:
            accepted = await self._accepted(calls)
            answers = await self._serve([(request, call.context) for call, request in accepted])
            for (call, _), answer in zip(accepted, answers, strict=True):
                call.answer(answer)
        except BaseException as error:
            for call in calls:
                call.answer(error)
            if not isinstance(error, Exception):
                raise

    async def _accepted(self, calls: Sequence[_Call]) -> list[tuple[_Call, Any]]:
        accepted = []
        for count, call in enumerate(calls, 1):
            try:
                accepted.append((call, self._accept(call.raw)))
            except TocsinError as error:
                # Its traceback holds this frame, which holds the error: such cycles wait for the garbage collector.
                call.answer(error.with_traceback(None))
            if count % _CALLS_AT_ONE_GO == 0:
                await asyncio.sleep(0)
        return accepted
