"""Calls from outside our own code: a real server, called by tools and libraries that know only the contract."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processes import Servers


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with Servers(tmp_path) as servers:
        yield servers
