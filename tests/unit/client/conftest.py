"""A server to misbehave, a client that is quick to try again, and a clock to turn."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

import tocsin
from tests.unit.client.fake_server import FakeServer

QUICK = tocsin.RetryPolicy(initial_delay=0.001, max_delay=0.005)


class Clock:
    """The event loop's clock, which can be put forward: what waits for a time then finds that it has come."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._ahead = 0.0

    def time(self) -> float:
        return self._time() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    loop = asyncio.get_running_loop()
    turned = Clock(loop.time)
    monkeypatch.setattr(loop, "time", turned.time)
    return turned


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    fake = FakeServer()
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[tocsin.Client]:
    async with tocsin.connect(server.target, retry=QUICK) as connected:
        yield connected


async def until(condition: Callable[[], object]) -> None:
    """Let everybody else run until the condition, which nothing announces, is true."""
    while not condition():  # noqa: ASYNC110 (see above)
        await asyncio.sleep(0)
