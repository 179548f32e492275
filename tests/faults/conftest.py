"""What the fault tests share: a seed to replay them by, and the shims."""

import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import Servers
from tests.support.shims import compile_shim

SEED_VARIABLE = "TOCSIN_FAULTS_SEED"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The test's randomness. Its seed is printed, which pytest shows of a failed test; the environment can set it."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().getrandbits(32))
    sys.stdout.write(f"to run it again: {SEED_VARIABLE}={seed} pytest '{request.node.nodeid}'\n")
    return random.Random(seed)


@pytest.fixture(scope="session")
def powercut_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/faults/powercut.c, compiled."""
    return shim("powercut", tmp_path_factory)


@pytest.fixture(scope="session")
def diskfull_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/faults/diskfull.c, compiled."""
    return shim("diskfull", tmp_path_factory)


@pytest.fixture(scope="session")
def clockskew_shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/faults/clockskew.c, compiled."""
    return shim("clockskew", tmp_path_factory)


def shim(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if sys.platform != "linux":
        pytest.skip("the shims are preloaded as Linux does it, and look into /proc")
    return compile_shim(name, tmp_path_factory.mktemp("shim"))


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    """Starts servers, and leaves none behind."""
    async with Servers(tmp_path) as servers:
        yield servers
