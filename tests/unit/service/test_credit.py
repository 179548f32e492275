"""Credit: what is under way is bounded, the rest waits in storage, and acknowledgements let it come."""

import pytest

from tests.support.desk import CODEC, Desk
from tests.support.stores import START, TurnedClock
from tests.support.streams import ANYONE, Exchange, Follower
from tests.support.waiting import eventually
from tocsin_server.domain.access import Principal
from tocsin_server.service.credit import Credit
from tocsin_server.service.placing import Start
from tocsin_server.service.position import Position


def position() -> Position:
    return Position(None, "ada", CODEC.recipient("ada"), "")  # type: ignore[arg-type]


# --- the account ------------------------------------------------------------------------------------------------------


def test_use_and_free() -> None:
    credit, ada, bob = Credit(4), position(), position()
    for revision in (1, 3, 4):
        credit.use(ada, revision)
    credit.use(bob, 1)
    assert (credit.in_flight, credit.left) == (4, 0)
    credit.free(ada, 0)
    assert credit.left == 0
    credit.free(ada, 3)
    assert credit.left == 2
    credit.free(ada, 3)
    assert credit.left == 2, "it is cumulative"
    credit.release(ada)
    credit.release(ada)
    assert (credit.in_flight, credit.left) == (1, 3)
    credit.free(bob, 9)
    assert credit.in_flight == 0


def test_without_a_bound_nothing_is_counted() -> None:
    credit, ada = Credit(0), position()
    credit.use(ada, 1)
    assert (credit.in_flight, credit.left) == (0, None)
    credit.free(ada, 1)
    credit.release(ada)
    assert credit.in_flight == 0


def test_a_lower_bound_than_what_is_under_way_leaves_nothing() -> None:
    credit, ada = Credit(3), position()
    for revision in (1, 2, 3):
        credit.use(ada, revision)
    credit.max_in_flight = 1
    assert credit.left == 0
    credit.free(ada, 2)
    assert credit.left == 0
    credit.free(ada, 3)
    assert credit.left == 1


# --- on a stream ------------------------------------------------------------------------------------------------------


async def acknowledge(streams: Exchange, follower: Follower, revision: int, recipient: str = "ada") -> None:
    await follower.session.acknowledge([(recipient, await streams.token(revision, recipient))])


async def stalled(follower: Follower) -> None:
    await eventually(lambda: follower.session.stalled_since is not None, "the stall to show")


@pytest.mark.parametrize("live", [True, False])
async def test_at_the_bound_everything_waits_in_storage(
    streams: Exchange, desk: Desk, turned_clock: TurnedClock, live: bool
) -> None:
    if live:
        await desk.send_many(1)
        follower = await streams.live("ada", max_in_flight=3)
        await desk.send_many(6)
        first = 2
    else:
        await desk.send_many(6)
        follower = streams.open("ada", start=Start.BEGINNING, max_in_flight=3)
        first = 1
    await stalled(follower)
    await follower.has(first, first + 1, first + 2)
    assert follower.session.stalled_since == START
    assert follower.session.buffered_bytes == 0
    await acknowledge(streams, follower, first)
    await follower.has(*range(first, first + 4))
    await acknowledge(streams, follower, first + 3)
    await follower.has(*range(first, first + 6))
    await streams.settled(follower)
    await eventually(lambda: follower.session.stalled_since is None, "the stall to be over")
    await acknowledge(streams, follower, first + 5)
    await desk.send()
    await follower.has(*range(first, first + 7))


async def test_credit_is_the_stream_s_and_not_a_recipient_s(streams: Exchange, desk: Desk) -> None:
    for name in ("ada", "bob"):
        await desk.send_many(3, name)
    follower = streams.open("ada", "bob", start=Start.BEGINNING, max_in_flight=4)
    await stalled(follower)
    assert (follower.revisions("ada"), follower.revisions("bob")) == ([1, 2, 3], [1])
    await acknowledge(streams, follower, 2)
    await follower.has(1, 2, 3, recipient="bob")
    # Who is removed, or acknowledged from elsewhere, uses no credit.
    follower.session.remove(["ada"])
    await desk.send("bob")
    await follower.has(1, 2, 3, 4, recipient="bob")
    assert follower.session.credit.in_flight == 4


async def test_new_credit_wakes_a_stream(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(5)
    follower = streams.open("ada", start=Start.BEGINNING, max_in_flight=1)
    await follower.has(1)
    await stalled(follower)
    follower.session.grant(3)
    await follower.has(1, 2, 3)
    follower.session.grant(0)
    await follower.has(1, 2, 3, 4, 5)


async def test_what_the_filter_hides_costs_nothing(streams: Exchange, desk: Desk) -> None:
    for category in ("news", "news", "orders", "news", "orders", "news", "orders"):
        await desk.send(category=category)
    follower = streams.open("ada", start=Start.BEGINNING, categories=("orders",), max_in_flight=2)
    await follower.has(3, 5)
    await stalled(follower)
    assert follower.session.positions["ada"].sent == 6, "it stands before the next that costs"
    mint = streams.cursors.mint(
        "default", "ada", (await desk.inbox()).incarnation, follower.session._catch_up._filter
    )
    await follower.session.acknowledge([("ada", mint.token(3))])
    await follower.has(3, 5, 7)


async def test_a_foreign_cursor_resets_its_recipient(streams: Exchange, desk: Desk) -> None:
    """And one of nobody's concern does nothing."""
    for name in ("ada", "bob"):
        await desk.send_many(2, name)
    follower = await streams.live("ada", "bob", start=Start.BEGINNING, max_in_flight=10)
    await follower.session.acknowledge(
        [("bob", await streams.token(1, "ada")), ("ada", await streams.token(2)), ("cleo", "nonsense")]
    )
    await follower.until(lambda f: f.resets("bob"), "a reset")
    assert follower.resets("bob") == ["CURSOR_MISMATCH"]
    await follower.until(lambda f: f.revisions("bob") == [1, 2, 1, 2], "to begin anew")
    assert follower.session.credit.in_flight == 2
    await follower.session.acknowledge([("bob", "nonsense")])
    await follower.until(lambda f: len(f.resets("bob")) == 2, "another reset")
    assert follower.resets("bob")[1] == "CURSOR_INVALID"
    assert follower.resets("ada") == []


async def test_a_key_acknowledges_only_for_recipients_of_its_own(streams: Exchange, desk: Desk) -> None:
    for name in ("ada", "bob"):
        await desk.send(name)
    limited = Principal("default", "key", ANYONE.scopes, recipients=("ada",))
    follower = await streams.live("ada", consumer="app", principal=limited)
    await follower.session.acknowledge([(name, await streams.token(1, name)) for name in ("ada", "bob")])
    found = await streams.store.readers.positions("default", "app", ("ada", "bob"))
    assert [each.recipient for each in found] == ["ada"]


async def test_an_erased_inbox_gives_its_credit_back(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(5)
    follower = streams.open("ada", start=Start.BEGINNING, max_in_flight=3)
    await stalled(follower)
    old = await streams.token(3)
    await desk.erase()
    await follower.until(lambda f: f.resets(), "a reset")
    await desk.send_many(2)
    await follower.has(1, 2, 3, 1, 2)
    assert follower.session.credit.in_flight == 2
    await follower.session.acknowledge([("ada", old)])
    assert follower.session.credit.in_flight == 2, "the revisions of another inbox are none of these"
