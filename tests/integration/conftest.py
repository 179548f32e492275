"""The databases that a store can be opened on."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import NOT_DURABLE, PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server of this test process, which answers but keeps nothing safe."""
    with postgres_server(*NOT_DURABLE) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Of a fresh database; None: the store is a file in the test's folder."""
    if request.param == "sqlite":
        yield None
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url
