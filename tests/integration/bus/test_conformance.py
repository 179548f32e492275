"""What every bus does: what one replica commits reaches the sessions of the others, and sessions are known to all."""

import pytest

from tests.integration.bus.conftest import Join
from tests.support.desk import Desk
from tests.support.replicas import Replica, Replicas
from tests.support.streams import ANYONE
from tests.support.waiting import eventually
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.errors import SessionNotFound, SessionTerminated
from tocsin_server.domain.inbox import BroadcastChunk, BroadcastEntry, InboxChange
from tocsin_server.service.ports import Committed
from tocsin_server.service.session import SessionKind
from tocsin_server.store.store import Store

STRANGER = Principal("other", "key", frozenset({Scope.ADMIN}))
OPERATOR = Principal("other", "root", frozenset(Scope))


async def pair(join: Join) -> tuple[Replica, Replica]:
    return await join(), await join()


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_a_change_reaches_sessions_of_another_replica_with_its_bytes(join: Join, desk: Desk) -> None:
    await desk.send()
    here, there = await pair(join)
    follower = await there.follows("ada", "bob")
    before = there.catch_ups
    for _ in range(3):
        await desk.send()
    await desk.send("bob", text="of Bob")
    await follower.has(2, 3, 4)
    await follower.has(1, recipient="bob")
    assert follower.texts("ada")[-1] == "Hello"
    # The first entry of an inbox that did not exist is read: nobody knew its incarnation.
    assert there.catch_ups - before <= 1
    assert here.fleet.bus.figures.published >= 4
    assert there.fleet.bus.figures.received >= 4
    assert there.fleet.bus.figures.dropped == 0


async def test_changes_keep_their_order(join: Join, desk: Desk) -> None:
    await join()
    others = [await join(), await join()]
    followers = [await other.follows("ada") for other in others]
    await desk.send()
    for follower in followers:
        await follower.has(1)
    before = [other.catch_ups for other in others]
    await desk.send_many(300)
    for follower in followers:
        await follower.has(*range(1, 302))
    assert [other.catch_ups for other in others] == before


async def test_a_large_entry_is_told_of(join: Join, desk: Desk) -> None:
    _, there = await pair(join)
    follower = await there.follows("ada")
    await desk.send(text="x" * 20_000)
    await follower.has(1)
    assert follower.texts()[0].startswith("x" * 1_000)


async def test_an_erased_inbox_is_told_of(join: Join, desk: Desk) -> None:
    _, there = await pair(join)
    follower = await there.follows("ada")
    await desk.send()
    await follower.has(1)
    await desk.erase()
    await follower.until(lambda f: f.resets() == ["INCARNATION_CHANGED"], "a reset")


async def test_a_replica_does_not_act_on_its_own_messages(join: Join, desk: Desk) -> None:
    here, there = await pair(join)
    own, other = await here.follows("ada"), await there.follows("ada")
    await desk.send_many(20)
    await other.has(*range(1, 21))
    await own.has(*range(1, 21))
    assert here.streams.parts.metrics.hub_deliveries == 20
    assert here.fleet.bus.figures.received == 0


async def test_a_broadcast_chunk_is_changes_of_those_who_follow(
    join: Join, desk: Desk, store: Store, fleet: Replicas
) -> None:
    """One message; content that is shared, and of each entry what is its own."""
    names = ("ada", "bob", "cleo")
    for name in names:
        await desk.send(name)
    here, there = await pair(join)
    follower = await there.follows("ada", "bob")
    store.writer._listeners.remove(here.fleet.bus)
    sent: list[InboxChange] = []

    def note(committed: Committed) -> None:
        sent.extend(change for change in committed.changes if isinstance(change, InboxChange))

    store.writer.listen(note)
    for name in names:
        await desk.send(name, text="To all")
    before, published = there.catch_ups, here.fleet.bus.figures.published
    here.fleet.bus.publish_chunk(
        BroadcastChunk(
            "default",
            "orders",
            sent[0].content or b"",
            b"",
            b"",
            None,
            tuple(
                BroadcastEntry(
                    change.recipient, change.incarnation, change.revision, change.counts, bytes([number] * 16)
                )
                for number, change in enumerate(sent, 1)
            ),
        )
    )
    await follower.has(2, recipient="ada")
    await follower.has(2, recipient="bob")
    assert follower.texts("bob") == ["To all"]
    assert there.catch_ups == before, "what came was enough"
    assert here.fleet.bus.figures.published == published + 1


# --- sessions ---------------------------------------------------------------------------------------------------------


async def listed(replica: Replica, principal: Principal = ANYONE, recipient: str = "") -> dict[str, str]:
    """The id of each session and who holds it."""
    page = await replica.streams.sessions.list(principal, recipient, False, 0, "")
    return {session.id: session.instance_id for session in page.items}


async def test_sessions_of_all_replicas_are_listed(join: Join) -> None:
    here, there = await pair(join)
    own = await here.follows("ada")
    other = await there.follows("ada", *(f"r{number}" for number in range(50)))
    expected = {own.session.id: here.name, other.session.id: there.name}
    assert await listed(here) == await listed(there) == expected
    assert await listed(here, recipient="r33") == {other.session.id: there.name}
    assert await listed(here, STRANGER) == {}
    page = await here.streams.sessions.list(OPERATOR, "", True, 1, "")
    rest = await here.streams.sessions.list(OPERATOR, "", True, 1, page.next_page_token)
    assert [session.id for session in (*page.items, *rest.items)] == sorted(expected)
    assert not rest.next_page_token
    (session,) = (session for session in (*page.items, *rest.items) if session.instance_id == there.name)
    assert (session.recipient_count, len(session.recipients), session.kind) == (51, 10, SessionKind.ATTACH)


@pytest.mark.parametrize("by", [ANYONE, OPERATOR], ids=["tenant", "operator"])
async def test_a_session_is_ended_from_another_replica(join: Join, by: Principal) -> None:
    here, there = await pair(join)
    follower = await there.follows("ada")
    id = follower.session.id

    async def known() -> bool:
        """What a replica holds is known to the others a moment later."""
        try:
            await here.streams.sessions.terminate(by, id)
        except SessionNotFound:
            return False
        return True

    await eventually(known, "the session to be known")
    await follower.until(lambda f: f.error, "the end")
    assert isinstance(follower.error, SessionTerminated)
    await follower.close()

    async def forgotten() -> bool:
        return not await here.fleet.presence.terminate(id, None)

    await eventually(forgotten, "the session to be forgotten")
    assert await listed(here) == {}


async def test_nobody_else_ends_a_session(join: Join) -> None:
    here, there = await pair(join)
    follower = await there.follows("ada")
    for by, id in ((STRANGER, follower.session.id), (ANYONE, "nobody's")):
        with pytest.raises(SessionNotFound):
            await here.streams.sessions.terminate(by, id)
    assert follower.error is None
