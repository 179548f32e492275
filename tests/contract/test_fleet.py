"""A server that shares Redis with other replicas, as its callers see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.contract.conftest import Refusal, Start, Tocsin, reason
from tests.support.replicas import Replica, Replicas
from tests.support.stores import TurnedClock
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from tocsin.v1 import inbox_service_pb2, system_service_pb2
from tocsin.v1.broadcast_service_pb2 import Audience, CreateBroadcastRequest
from tocsin.v1.notification_pb2 import Content, NotificationSpec, SimpleContent
from tocsin_server.bootstrap.optional import Refused
from tocsin_server.domain.errors import SessionTerminated


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[Valkey]:
    async with Valkey(tmp_path / "valkey") as server:
        yield server


@pytest.fixture
async def tocsin(start: Start, valkey: Valkey) -> Tocsin:
    """One that has joined."""
    tocsin = await start(redis_url=valkey.url, quota_max_sends_per_second=50)
    await bus_is(tocsin, system_service_pb2.COMPONENT_STATE_OK)
    return tocsin


@pytest.fixture
async def other(tocsin: Tocsin, valkey: Valkey) -> AsyncIterator[Replica]:
    """Another replica, which has the same store and never commits."""
    async with AsyncExitStack() as stack:
        fleet = Replicas(tocsin.server.store, TurnedClock(), stack, first_commits=False)
        yield await fleet.join(valkey.url)


async def status(tocsin: Tocsin) -> system_service_pb2.GetStatusResponse:
    return await tocsin.system.GetStatus(system_service_pb2.GetStatusRequest())


async def bus_is(tocsin: Tocsin, state: int) -> system_service_pb2.GetStatusResponse:
    """The status in which it is; while the bus is well, polling is slow."""

    async def look() -> system_service_pb2.GetStatusResponse | None:
        found = await status(tocsin)
        (bus,) = (component for component in found.components if component.name == "bus")
        healthy = found.poll_interval.ToMilliseconds() > 50
        return found if bus.state == state and healthy == (bus.state == 1) else None

    found = await eventually(look, f"the bus to be {state}")
    assert found is not None
    return found


async def test_a_send_reaches_a_session_on_another_replica(tocsin: Tocsin, other: Replica) -> None:
    follower = await other.follows("ada")
    await tocsin.send()
    await tocsin.send()
    await follower.has(1, 2)
    assert other.fleet.bus.figures.received == 2


async def test_sessions_on_another_replica_are_listed_and_ended(tocsin: Tocsin, other: Replica) -> None:
    follower = await other.follows("ada")
    listed = await tocsin.system.ListSessions(system_service_pb2.ListSessionsRequest(recipient="ada"))
    (session,) = listed.sessions
    assert session.session_id == follower.session.id
    assert session.instance_id == other.name
    assert (session.recipient_count, list(session.recipients)) == (1, ["ada"])
    request = system_service_pb2.TerminateSessionRequest(session_id=session.session_id)
    await tocsin.system.TerminateSession(request)
    await follower.until(lambda f: f.error, "its end")
    assert isinstance(follower.error, SessionTerminated)
    nobodys = system_service_pb2.TerminateSessionRequest(session_id="nobody's")
    assert await reason(tocsin.system.TerminateSession(nobodys)) == "SESSION_NOT_FOUND"


async def test_without_redis_everything_goes_on_and_the_status_says_what_is_worse(
    tocsin: Tocsin, valkey: Valkey
) -> None:
    await tocsin.send()
    await valkey.kill()
    found = await bus_is(tocsin, system_service_pb2.COMPONENT_STATE_DEGRADED)
    (bus,) = (component for component in found.components if component.name == "bus")
    assert bus.detail
    assert "arrive within 0.05 s" in bus.consequence
    assert "well within 0.5 s" in bus.consequence
    assert found.poll_interval.ToMilliseconds() == 50
    for _ in range(3):
        await tocsin.send()
    request = inbox_service_pb2.GetSummaryRequest(recipients=["ada"])
    request.max_staleness.FromSeconds(60)
    (summary,) = (await tocsin.inbox.GetSummary(request)).summaries
    assert summary.summary.unread == 4, "the row"
    await valkey.start()
    await bus_is(tocsin, system_service_pb2.COMPONENT_STATE_OK)


async def test_a_server_starts_without_redis(start: Start, valkey: Valkey) -> None:
    await valkey.kill()
    tocsin = await start(redis_url=valkey.url)
    await bus_is(tocsin, system_service_pb2.COMPONENT_STATE_DEGRADED)
    await tocsin.send()
    assert await tocsin.titles() == ["t"]


async def test_a_url_that_is_not_understood_is_refused(start: Start) -> None:
    with pytest.raises(Refused, match=r"redis_url: redis\+sentinel://host,…/service: the service is missing"):
        await start(redis_url="redis+sentinel://:secret@a,b")


async def test_the_quota_of_sends_holds(tocsin: Tocsin) -> None:
    """50 at once, and 50 a second."""
    calls = [tocsin.send() for _ in range(300)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [error for error in results if isinstance(error, grpc.aio.AioRpcError)]
    assert {Refusal.of_error(error).reason for error in refusals} == {"RATE_LIMITED"}
    assert 50 <= len(results) - len(refusals) < 200


async def test_a_broadcast_reaches_a_session_on_another_replica(tocsin: Tocsin, other: Replica) -> None:
    for recipient in ("ada", "bob", "carol"):
        await tocsin.send(recipient)
    follower = await other.follows("ada", "bob")
    before = other.catch_ups
    content = Content(simple=SimpleContent(title="To all"))
    request = CreateBroadcastRequest(
        audience=Audience(everyone=True), notification=NotificationSpec(category="news", content=content)
    )
    await tocsin.broadcasts.CreateBroadcast(request)
    await follower.has(2, recipient="ada")
    await follower.has(2, recipient="bob")
    assert other.catch_ups == before, "what came was enough"
