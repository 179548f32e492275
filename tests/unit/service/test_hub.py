"""The hub and its hints: right ones are quick, and wrong ones change nothing."""

import asyncio
from typing import Any, cast

import pytest

from tests.support.desk import Desk
from tests.support.stores import TurnedClock
from tests.support.streams import Exchange, Follower
from tests.support.waiting import eventually
from tocsin_server.domain.inbox import (
    BroadcastChunk,
    BroadcastEntry,
    Counts,
    Inbox,
    InboxChange,
    InboxErased,
)
from tocsin_server.domain.value import replace
from tocsin_server.service.hub import MOST_WAITING, OFFERS_PER_TURN
from tocsin_server.service.offered import Offered
from tocsin_server.service.placing import Start
from tocsin_server.service.ports import Committed


@pytest.fixture
async def hints(streams: Exchange) -> list[InboxChange | InboxErased]:
    """What commits announce, to be told again."""
    heard: list[InboxChange | InboxErased] = []
    streams.store.writer.listen(lambda committed: heard.extend(committed.changes))
    return heard


async def quiet(streams: Exchange, follower: Follower) -> None:
    """Until the session is live, and has no reason to read."""
    await streams.settled(follower)
    session = follower.session
    await eventually(lambda: session._catch_up._reading is None, "the last read to end")
    catch_ups = streams.parts.metrics.catch_ups
    inbox = await streams.desk.inbox()
    await follower.at_head(inbox.counts)
    assert (streams.parts.metrics.catch_ups, session.behind_count) == (catch_ups, 0)


async def test_a_change_is_encoded_once_for_all(streams: Exchange, desk: Desk) -> None:
    await desk.send()
    followers = [await streams.live("ada") for _ in range(3)]
    made = 0
    encode = streams.parts.codec.fresh_notification

    def counting(change: InboxChange, *, with_trace: bool) -> bytes:
        nonlocal made
        made += 1
        return encode(change, with_trace=with_trace)

    streams.hub._codec = streams.parts.codec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(streams.parts.codec), "fresh_notification", staticmethod(counting))
        await desk.send()
        for follower in followers:
            await follower.has(2)
    assert made == 1


async def test_the_bus_hears_of_first_and_last_followers(
    streams: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str, str]] = []
    bus = streams.fleet.bus
    monkeypatch.setattr(bus, "follow", lambda *key: told.append(("follow", *key)))
    monkeypatch.setattr(bus, "unfollow", lambda *key: told.append(("unfollow", *key)))
    first, second = await streams.live("ada"), await streams.live("ada", "bob")
    assert told == [("follow", "default", "ada"), ("follow", "default", "bob")]
    await first.close()
    streams.hub.unfollow("default", second.session.positions["bob"])
    second.session.remove(["bob"])
    assert told[2:] == [("unfollow", "default", "bob")]
    await second.close()
    assert told[3:] == [("unfollow", "default", "ada")]


async def test_who_follows(streams: Exchange) -> None:
    first, second = await streams.live("ada", "bob"), await streams.live("ada")
    assert streams.hub.followed_count == 2
    assert set(streams.hub.inboxes) == {("default", "ada"), ("default", "bob")}
    await first.close()
    assert set(streams.hub.inboxes) == {("default", "ada")}
    await second.close()
    assert streams.hub.followed_count == 0


async def test_hints_told_again_change_nothing(
    streams: Exchange, desk: Desk, hints: list[InboxChange | InboxErased]
) -> None:
    follower = await streams.live("ada", start=Start.BEGINNING)
    for _ in range(3):
        await desk.send()
        streams.hub.offer(hints)
    streams.hub.offer(reversed(hints))
    await follower.has(1, 2, 3)
    await quiet(streams, follower)
    assert follower.revisions() == [1, 2, 3]
    assert follower.resets() == []


async def test_a_gap_in_the_hints_is_read_from_storage(
    streams: Exchange, desk: Desk, hints: list[InboxChange | InboxErased]
) -> None:
    await desk.send()
    follower = await streams.live("ada")
    streams.hub.unfollow("default", follower.session.positions["ada"])
    for _ in range(3):
        await desk.send()
    streams.hub.follow("default", follower.session.positions["ada"])
    streams.hub.offer(hints[-1:])
    await follower.has(2, 3, 4)
    await quiet(streams, follower)


async def test_a_late_hint_of_an_erased_inbox_is_not_its_return(
    streams: Exchange, desk: Desk, hints: list[InboxChange | InboxErased]
) -> None:
    """Nothing of it is pushed, no position moves into it, and what comes later comes."""
    await desk.send_many(5)
    await desk.erase()
    old = list(hints)
    follower = await streams.live("ada")
    streams.hub.offer(old)
    await streams.settled(follower)
    assert follower.revisions() == []
    await desk.send_many(2)
    streams.hub.offer(old)
    await follower.has(1, 2)
    # … nor does it keep the session busy with revisions that the present inbox will not have for long.
    await quiet(streams, follower)
    assert follower.resets() == []
    streams.hub.offer(old)
    await desk.send()
    await follower.has(1, 2, 3)
    await quiet(streams, follower)
    assert follower.resets() == []


async def test_a_late_hint_while_it_is_placed(
    streams: Exchange, desk: Desk, hints: list[InboxChange | InboxErased]
) -> None:
    await desk.send_many(9)
    await desk.erase()
    await desk.send()
    follower = streams.open("ada", start=Start.BEGINNING)
    streams.hub.offer(hints)
    await follower.has(1)
    await quiet(streams, follower)
    assert follower.resets() == []


async def test_a_hint_that_was_lost_is_found_by_comparing(streams: Exchange, desk: Desk) -> None:
    await desk.send()
    follower, unborn = await streams.live("ada"), await streams.live("bob")
    for each in (follower, unborn):
        for position in each.session.positions.values():
            streams.hub.unfollow("default", position)
    await desk.send()
    await desk.send("bob")
    await desk.erase("ada")
    await desk.send()
    for each in (follower, unborn):
        for position in each.session.positions.values():
            streams.hub.follow("default", position)
    inboxes = [("default", "ada"), ("default", "bob"), ("default", "nobody")]
    streams.hub.compare(inboxes, await streams.store.readers.heads_of(inboxes))
    await unborn.has(1, recipient="bob")
    await follower.until(lambda f: f.resets() == ["INCARNATION_CHANGED"], "a reset")
    await desk.send()
    await follower.until(lambda f: f.revisions()[-1:] == [2], "what follows")


@pytest.mark.parametrize("erased", [False, True])
async def test_comparing_finds_what_came_after_a_read_that_waits_for_its_stream(
    streams: Exchange, desk: Desk, erased: bool
) -> None:
    """Nobody looks a second time: what is compared while a position is read must not count as looked at."""
    first = (await desk.send()).notification_id
    follower = await streams.live("ada", "bob")
    session, position = follower.session, follower.session.positions["ada"]
    follower.stop_reading()
    await desk.send("bob")
    await follower.until(lambda f: f.revisions("bob") == [1], "the message under way")
    await desk.revise(first, "Anew")
    await desk.send("bob")
    # One message more, with which a read begins.
    follower.read_on()
    follower.stop_reading()
    await eventually(lambda: session._catch_up.has_found, "what was read to wait")
    streams.hub.unfollow("default", position)
    if erased:
        await desk.erase()
    await desk.send()
    streams.hub.follow("default", position)
    streams.hub.compare([("default", "ada")], await streams.store.readers.heads_of([("default", "ada")]))
    follower.read_on()
    if erased:
        await follower.until(lambda f: f.resets() == ["INCARNATION_CHANGED"], "a reset")
    else:
        await follower.has(2, 3)
    await quiet(streams, follower)


async def test_comparing_with_the_past_changes_nothing(streams: Exchange, desk: Desk) -> None:
    """The counter row was read before the last changes came."""
    before: dict[tuple[str, str], Inbox] = {}
    follower = await streams.live("ada")
    await desk.send()
    middle = await streams.store.readers.heads_of([("default", "ada")])
    await desk.send()
    await follower.has(1, 2)
    for heads in (before, middle):
        streams.hub.compare([("default", "ada")], heads)
        await quiet(streams, follower)
    assert (follower.revisions(), follower.resets()) == ([1, 2], [])


async def test_an_offer_knows_its_time(streams: Exchange, desk: Desk, turned_clock: TurnedClock) -> None:
    change = InboxChange("default", "ada", bytes(8), 1, Counts(), expire_time=turned_clock.time)
    offered = Offered(change, streams.parts.codec)
    assert offered.expires_by(turned_clock.time)
    assert not offered.expires_by(turned_clock.time - 1)
    assert not Offered(InboxChange("default", "ada", bytes(8), 1, Counts()), streams.parts.codec).expires_by(
        1 << 60
    )


async def test_an_empty_commit_is_no_news(streams: Exchange) -> None:
    streams.hub(Committed())
    assert streams.hub.followed_count == 0


class Listener:
    """Stands for a position and its session, and notes what it is offered."""

    def __init__(self, recipient: str) -> None:
        self.recipient = recipient
        self.session = self
        self.revisions: list[int] = []
        self.compared: list[tuple[int, int]] = []
        self.fails_at = -1

    def offer(self, position: object, offered: Offered) -> None:
        assert position is self
        self.revisions.append(offered.change.revision)
        if offered.change.revision == self.fails_at:
            raise RuntimeError

    def compare(self, position: object, head: Inbox) -> None:
        assert position is self
        self.compared.append((head.revision, self.revisions[-1]))

    def erased(self, position: object, incarnation: bytes) -> None:
        assert position is self
        self.revisions.append(0)


@pytest.fixture
def listener(streams: Exchange) -> Listener:
    made = Listener("ada")
    streams.hub.follow("default", cast(Any, made))
    return made


def changes(first: int, last: int) -> list[InboxChange]:
    return [
        InboxChange("default", "ada", b"i" * 8, revision, Counts()) for revision in range(first, last + 1)
    ]


async def test_many_changes_are_offered_a_few_at_a_time(streams: Exchange, listener: Listener) -> None:
    """In their order, whatever comes meanwhile, and with turns for others in between."""
    hub, seen = streams.hub, []
    hub.offer(changes(1, 2 * OFFERS_PER_TURN + 2))
    assert len(listener.revisions) == OFFERS_PER_TURN
    assert hub.backlog == OFFERS_PER_TURN + 2
    asyncio.get_running_loop().call_soon(lambda: seen.append(len(listener.revisions)))
    last = 2 * OFFERS_PER_TURN + 3
    hub.offer(changes(last, last))
    await eventually(lambda: not hub.backlog, "all to be offered")
    assert listener.revisions == [*range(1, last + 1)]
    assert seen == [2 * OFFERS_PER_TURN], "what was asked for meanwhile had its turn"


async def test_a_change_that_many_follow_is_as_much_as_many_changes(streams: Exchange) -> None:
    listeners = [Listener("ada") for _ in range(OFFERS_PER_TURN // 2)]
    for each in listeners:
        streams.hub.follow("default", cast(Any, each))
    streams.hub.offer(changes(1, 3))
    assert {tuple(each.revisions) for each in listeners} == {(1, 2)}
    await eventually(lambda: not streams.hub.backlog, "all to be offered")
    assert {tuple(each.revisions) for each in listeners} == {(1, 2, 3)}


async def test_nothing_waits_behind_what_is_erased(streams: Exchange, listener: Listener) -> None:
    """Who has it erased is answered next."""
    streams.hub.offer([*changes(1, 3 * OFFERS_PER_TURN), InboxErased("default", "ada", b"i" * 8)])
    assert listener.revisions == [*range(1, 3 * OFFERS_PER_TURN + 1), 0]


async def test_what_fails_keeps_nothing_from_its_turn(streams: Exchange, listener: Listener) -> None:
    listener.fails_at = 2
    with pytest.raises(RuntimeError):
        streams.hub.offer(changes(1, MOST_WAITING + 5))
    await eventually(lambda: not streams.hub.backlog, "all to be offered")
    assert listener.revisions == [*range(1, MOST_WAITING + 6)]


async def test_a_counter_row_is_compared_with_what_was_offered(streams: Exchange, listener: Listener) -> None:
    """Else what waits to be offered would be read from storage too."""
    last = 3 * OFFERS_PER_TURN
    streams.hub.offer(changes(1, last))
    ada = ("default", "ada")
    streams.hub.compare([ada], {ada: Inbox(*ada, b"i" * 8, last)})
    assert listener.compared == [(last, last)]


async def test_whoever_brings_too_much_waits_for_it(streams: Exchange, listener: Listener) -> None:
    streams.hub.offer(changes(1, MOST_WAITING + 3 * OFFERS_PER_TURN))
    assert streams.hub.backlog <= MOST_WAITING
    assert listener.revisions == [*range(1, len(listener.revisions) + 1)]
    await eventually(lambda: not streams.hub.backlog, "all to be offered")
    assert len(listener.revisions) == MOST_WAITING + 3 * OFFERS_PER_TURN


async def test_large_contents_count_as_many_changes(streams: Exchange, listener: Listener) -> None:
    content = bytes(64 * 4096)
    large = [replace(change, content=content) for change in changes(1, MOST_WAITING // 64 + OFFERS_PER_TURN)]
    streams.hub.offer(large)
    assert streams.hub.backlog <= MOST_WAITING
    await eventually(lambda: not streams.hub.backlog, "all to be offered")
    assert len(listener.revisions) == len(large)


async def test_of_a_broadcast_only_what_is_followed_is_offered(streams: Exchange, listener: Listener) -> None:
    names = [*(f"other{number}" for number in range(3 * OFFERS_PER_TURN)), "ada", "bob"]
    entries = tuple(BroadcastEntry(name, b"i" * 8, 1, Counts(), bytes(16)) for name in names)
    chunk = BroadcastChunk("default", "news", b"", b"", b"", None, entries)
    before = streams.parts.metrics.hub_deliveries
    streams.hub(Committed(tuple(changes(2, 2)), chunks=(chunk, chunk)))
    assert listener.revisions == [2, 1, 1]
    assert streams.hub.backlog == 0
    assert streams.parts.metrics.hub_deliveries == before + 3
