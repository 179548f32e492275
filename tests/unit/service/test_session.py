"""A session: live while it keeps up, served from storage while it does not, and nothing lost or doubled between."""

import asyncio
import time
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import pytest

from tests.support.desk import CODEC, Desk
from tests.support.stores import START, TurnedClock, stored
from tests.support.streams import ANYONE, Exchange, Follower, exchange
from tests.support.waiting import eventually
from tocsin_server.domain.access import END_USER_SCOPES, Principal
from tocsin_server.domain.commands import ByIds, Command
from tocsin_server.domain.errors import (
    QueueFull,
    ServerDraining,
    SessionTerminated,
    StorageUnavailable,
    TooManyStreams,
)
from tocsin_server.domain.inbox import Counts, Inbox, InboxChange, Mark
from tocsin_server.domain.time import MINUTE, SECOND
from tocsin_server.service import session, submitting
from tocsin_server.service.live import LiveBuffer
from tocsin_server.service.placing import Start
from tocsin_server.service.position import Position
from tocsin_server.store.store import Store


def position_of(follower: Follower, recipient: str = "ada") -> Position:
    return follower.session.positions[recipient]


# --- live -------------------------------------------------------------------------------------------------------------


async def test_the_first_message_names_the_session(streams: Exchange, desk: Desk) -> None:
    await desk.send()
    follower = await streams.live("ada")
    assert follower.messages[0].session_id == follower.session.id
    await follower.at_head((await desk.inbox()).counts)
    assert [message.session_id for message in follower.messages[1:] if message.session_id] == []


async def test_what_is_exactly_next_is_taken_live(streams: Exchange, desk: Desk) -> None:
    """Without a look at storage."""
    await desk.send()
    follower = await streams.live("ada")
    before = streams.parts.metrics.catch_ups
    for number in range(5):
        await desk.send(text=f"No {number}")
    await follower.has(2, 3, 4, 5, 6)
    assert follower.texts() == [f"No {number}" for number in range(5)]
    assert streams.parts.metrics.catch_ups == before
    assert streams.parts.metrics.hub_deliveries == 5


async def test_the_first_entry_of_an_inbox_is_read_from_storage(streams: Exchange, desk: Desk) -> None:
    """There is no position yet that a hint could be the next of."""
    follower = await streams.live("ada")
    assert position_of(follower).incarnation is None
    await desk.send()
    await follower.has(1)
    await desk.send()
    await follower.has(1, 2)
    inbox = await desk.inbox()
    assert position_of(follower).incarnation == inbox.incarnation


async def test_a_change_of_an_entry_is_read_from_storage(streams: Exchange, desk: Desk) -> None:
    first = (await desk.send()).notification_id
    follower = await streams.live("ada")
    await desk.mark(Mark.READ, ByIds((first,)))
    await desk.send()
    await desk.revise(first, "Anew")
    await desk.cancel(first)
    await eventually(lambda: 5 in follower.revisions(), "the last change")
    revisions = follower.revisions()
    assert revisions == sorted(set(revisions))
    assert set(revisions) >= {3, 5}, "states in between may merge; the last of each entry comes"
    assert follower.events[-1].notification.state.retracted or follower.summaries()


async def test_messages_hold_what_gathered_and_cursors_stand_on_the_last(
    streams: Exchange, desk: Desk
) -> None:
    for name in ("ada", "bob"):
        await desk.send(name)
    follower = await streams.live("ada", "bob")
    follower.stop_reading()
    await desk.send()
    await eventually(lambda: len(follower.revisions()) == 1, "the message under way")
    before = len(follower.messages)
    for _ in range(3):
        await desk.send()
        await desk.send("bob")
    follower.read_on()
    await follower.has(2, 3, 4, 5)
    await follower.has(2, 3, 4, recipient="bob")
    message = follower.messages[before]
    entries = [event for event in message.events if event.HasField("notification")]
    assert len(entries) == 6
    assert [bool(event.cursor) for event in entries] == [False] * 4 + [True] * 2
    for name, revision in (("ada", 5), ("bob", 4)):
        (cursor,) = {event.cursor for event in entries if event.cursor and event.recipient == name}
        assert cursor == await streams.token(revision, name)


async def test_a_stream_that_does_not_read_overflows_into_storage(
    opened_store: Store, turned_clock: TurnedClock
) -> None:
    """And then is live again: nothing lost, nothing twice, and its neighbour notices nothing."""
    async with exchange(opened_store, turned_clock, buffer_bytes=4_000) as streams:
        desk = streams.desk
        await desk.send()
        slow, fast = await streams.live("ada"), await streams.live("ada")
        slow.stop_reading()
        for number in range(60):
            await desk.send(text=f"No {number} {'x' * 100}")
        await eventually(lambda: len(fast.revisions()) == 60, "the fast one")
        assert slow.session.drop_count > 0
        assert slow.session.buffered_bytes == 0
        assert len(slow.revisions()) <= 1
        assert slow.session.behind_count == 1
        slow.read_on()
        await slow.has(*range(2, 62))
        await fast.has(*range(2, 62))
        await streams.settled(slow)
        before = streams.parts.metrics.catch_ups
        await desk.send()
        await slow.has(*range(2, 63))
        assert streams.parts.metrics.catch_ups == before, "it is live again"
        await slow.at_head((await desk.inbox()).counts)


async def test_a_removed_recipient_comes_no_more_and_an_added_one_does(streams: Exchange, desk: Desk) -> None:
    for name in ("ada", "bob"):
        await desk.send(name)
    follower = await streams.live("ada")
    follower.session.add([("bob", "")])
    follower.session.remove(["ada", "nobody"])
    await streams.settled(follower)
    await desk.send("ada")
    await desk.send("bob")
    await follower.has(2, recipient="bob")
    assert follower.revisions("ada") == []
    assert set(streams.hub.inboxes) == {("default", "bob")}


async def test_what_is_removed_while_it_is_read_does_not_come(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(20)
    for _ in range(20):
        follower = streams.open("ada", start=Start.BEGINNING)
        await asyncio.sleep(0)
        follower.session.remove(["ada"])
        follower.session.add([("ada", await streams.token(18))])
        await follower.has(19, 20)
        await follower.close()


async def test_a_known_recipient_that_is_added_starts_anew(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(3)
    follower = await streams.live("ada")
    follower.session.add([("ada", await streams.token(1)), ("ada", await streams.token(2))])
    await follower.has(3)
    await desk.send()
    await follower.has(3, 4)
    assert follower.resets() == []
    assert len(follower.session.positions) == 1


async def test_many_that_start_anew_are_one_look_at_what_has_gathered(
    streams: Exchange, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand of them, a look each, kept the event loop for seconds."""
    names = ("ada", "bob", "cleo")
    follower = await streams.live(*names)
    forget, looks = LiveBuffer.forget, list[set[str]]()

    def counted(buffer: LiveBuffer, positions: Set[Position]) -> None:
        if positions:
            looks.append({position.recipient for position in positions})
        forget(buffer, positions)

    monkeypatch.setattr(LiveBuffer, "forget", counted)
    follower.session.add([(name, "") for name in names])
    await streams.settled(follower)
    await follower.session.acknowledge([(name, "forged") for name in names])
    assert looks == [set(names), set(names)]
    await follower.until(lambda f: all(f.resets(name) for name in names), "resets")


async def test_too_many_recipients_are_left_out_one_by_one(streams: Exchange, desk: Desk) -> None:
    for name in ("ada", "bob", "cleo"):
        await desk.send(name)
    limited = Principal("default", "key", ANYONE.scopes, recipients=("a*", "c*"))
    follower = await streams.live("ada", "bob", "cleo", max_recipients=2, principal=limited)
    assert follower.resets("bob") == ["RECIPIENT_NOT_ALLOWED"]
    follower.session.add([("carl", "")])
    await follower.until(lambda f: f.resets("carl"), "a reset")
    assert follower.resets("carl") == ["LIMIT_REACHED"]
    assert set(follower.session.positions) == {"ada", "cleo"}
    await desk.send("bob")
    await desk.send("cleo")
    await follower.has(2, recipient="cleo")
    assert follower.revisions("bob") == []


async def test_whoever_does_not_read_what_it_is_told_is_not_listened_to(
    streams: Exchange, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asks for in vain is kept until it reads it, and so must have an end."""
    monkeypatch.setattr(session, "MOST_UNTOLD", 3)
    limited = Principal("default", "key", ANYONE.scopes, recipients=("a*",))
    follower = await streams.live("ada", principal=limited)
    follower.stop_reading()
    await desk.send()
    await follower.has(1)
    follower.session.add([(name, "") for name in ("bob", "cleo", "dan")])
    await asyncio.wait_for(follower.session.told(), 5)
    follower.session.add([("eve", "")])
    telling = asyncio.create_task(follower.session.told())
    await asyncio.sleep(0.05)
    assert not telling.done()
    follower.read_on()
    await asyncio.wait_for(telling, 5)
    await follower.until(lambda f: f.resets("eve"), "the last reset")


# --- expiry -----------------------------------------------------------------------------------------------------------


async def test_what_has_expired_is_not_pushed(
    streams: Exchange, desk: Desk, turned_clock: TurnedClock
) -> None:
    """It waits in the buffer past its time, its timer does not fire, and its neighbours come in order."""
    await desk.send()
    follower = await streams.live("ada")
    follower.stop_reading()
    await desk.send(text="under way")
    await eventually(lambda: follower.revisions() == [2], "the message under way")
    await desk.send(text="before")
    await desk.send(text="late", expire_time=START + MINUTE)
    await desk.send(text="after")
    turned_clock.time += MINUTE
    follower.read_on()
    await follower.has(2, 3, 4, 5)
    assert follower.texts() == ["under way", "before", "", "after"]
    expired = [event for event in follower.events if event.notification.revision == 4]
    assert expired[0].notification.state.expired
    # Wherever a message ends, each recipient's last entry in it has the cursor.
    for message in follower.messages:
        entries = [event for event in message.events if event.HasField("notification")]
        assert not entries or entries[-1].cursor


# --- summaries --------------------------------------------------------------------------------------------------------


async def test_a_summary_comes_at_the_head_with_its_cursor(streams: Exchange, desk: Desk) -> None:
    ids = await desk.send_many(3)
    follower = await streams.live("ada", start=Start.BEGINNING)
    await follower.at_head(Counts(3, 3, 3))
    assert follower.events[-1].cursor == await streams.token(3)
    await desk.mark(Mark.READ, ByIds((ids[0],)))
    await follower.at_head(Counts(2, 2, 3))
    assert follower.events[-1].cursor == await streams.token(4)
    # What does not change them is not told.
    count = len(follower.summaries())
    await desk.revise(ids[0])
    await eventually(lambda: 5 in follower.revisions(), "the revision")
    await desk.send()
    await follower.at_head(Counts(3, 3, 4))
    assert len(follower.summaries()) == count + 1


async def test_summaries_of_a_busy_inbox_are_few(streams: Exchange, desk: Desk) -> None:
    follower = await streams.live("ada")
    began = time.monotonic()
    for _ in range(200):
        await desk.send()
    await follower.at_head(Counts(200, 200, 200))
    elapsed = time.monotonic() - began
    assert len(follower.summaries()) <= elapsed / 0.1 + 2
    revisions = follower.revisions()
    assert revisions == list(range(1, 201))
    for event in follower.events:
        if event.HasField("summary") and event.summary.total:
            # The entries were counted one by one, so that a count is a revision.
            assert event.cursor == await streams.token(event.summary.total)


async def test_summaries_in_a_stream_follow_the_entries_that_they_count(
    streams: Exchange, desk: Desk
) -> None:
    follower = await streams.live("ada")
    for _ in range(50):
        await desk.send()
    await follower.at_head(Counts(50, 50, 50))
    seen = 0
    for event in follower.events:
        if event.HasField("notification"):
            seen = event.notification.revision
        if event.HasField("summary"):
            assert event.summary.total == seen


# --- filters and progress ---------------------------------------------------------------------------------------------


async def test_a_filter_hides_and_progress_passes_what_it_hides(streams: Exchange, desk: Desk) -> None:
    await desk.send(category="news")
    follower = await streams.live("ada", categories=("orders",), heartbeat=SECOND)
    await desk.send(category="orders")
    await follower.has(2)
    for _ in range(3):
        await desk.send(category="news")
    streams_filter = position_of(follower)
    await eventually(lambda: streams_filter.sent == 5, "the position to pass what is hidden")
    await beat(follower)
    await follower.until(lambda f: f.cursors.get("ada") == streams_filter.token(), "progress")
    resumed = await streams.live(("ada", follower.cursors["ada"]), categories=("orders",))
    await desk.send(category="orders")
    await resumed.has(6)
    await follower.has(2, 6)
    assert follower.resets() == resumed.resets() == []


async def test_what_is_hidden_does_not_overtake_what_is_buffered(streams: Exchange, desk: Desk) -> None:
    await desk.send()
    follower = await streams.live("ada", categories=("orders",), heartbeat=SECOND)
    follower.stop_reading()
    await desk.send(category="orders")
    await eventually(lambda: follower.revisions() == [2], "the message under way")
    await desk.send(category="orders")
    await desk.send(category="news")
    assert position_of(follower).sent == 2
    follower.read_on()
    await follower.has(2, 3)
    assert position_of(follower).sent == 4
    assert cursor_revision(streams, follower) == 4


def cursor_revision(streams: Exchange, follower: Follower, recipient: str = "ada") -> int:
    return streams.cursors.open("default", recipient, follower.cursors[recipient]).revision


async def beat(follower: Follower) -> None:
    """Has a heartbeat fall due."""
    before = len(follower.messages)
    follower.session.pulse(time.monotonic() + 3_600)
    # The session looks at the clock itself: what is due in an hour is not sent now, however often it is woken.
    reports = follower.session._reports
    reports.heartbeat_at = 0.0
    follower.session.pulse(time.monotonic())
    await eventually(lambda: any(m.HasField("progress") for m in follower.messages[before:]), "a heartbeat")


async def test_a_heartbeat_lists_only_what_moved(streams: Exchange, desk: Desk) -> None:
    for name in ("ada", "bob"):
        await desk.send(name)
    follower = await streams.live("ada", "bob", "nobody")
    await beat(follower)
    assert list(follower.messages[-1].progress.positions) == []
    assert follower.messages[-1].progress.time.ToMicroseconds() == START
    await desk.send("bob")
    await follower.has(2, recipient="bob")
    await beat(follower)
    progress = [m.progress for m in follower.messages if m.HasField("progress")]
    assert [(p.recipient, p.cursor) for p in progress[-1].positions] == [
        ("bob", await streams.token(2, "bob"))
    ]
    await beat(follower)
    assert list(follower.messages[-1].progress.positions) == []


# --- who listens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [True, False])
async def test_an_end_user_sees_no_trace(streams: Exchange, desk: Desk, live: bool) -> None:
    trace = CODEC.trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    user = Principal("default", "ada", END_USER_SCOPES, recipients=("ada",), end_user=True)
    await desk.send(trace=trace)
    start = Start.NOW if live else Start.BEGINNING
    theirs, ours = (
        await streams.live("ada", start=start, principal=user),
        await streams.live("ada", start=start),
    )
    if live:
        await desk.send(trace=trace)
    expected = [2] if live else [1]
    await theirs.has(*expected)
    await ours.has(*expected)
    assert [e.notification.trace_parent for e in theirs.events if e.HasField("notification")] == [""]
    assert [e.notification.trace_parent[:3] for e in ours.events if e.HasField("notification")] == ["00-"]


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_a_session_ends_with_the_error_it_is_given(streams: Exchange, desk: Desk) -> None:
    follower = await streams.live("ada")
    await streams.sessions.terminate(ANYONE, follower.session.id)
    await follower.until(lambda f: f.error, "the end")
    assert isinstance(follower.error, SessionTerminated)
    await follower.close()
    await follower.close()
    assert streams.sessions.count == 0
    assert streams.hub.followed_count == 0


async def test_credentials_that_end_take_their_sessions_along(streams: Exchange, desk: Desk) -> None:
    gone, kept = (
        await streams.live("ada"),
        await streams.live("ada", principal=Principal("default", "other", ANYONE.scopes)),
    )
    pulse = asyncio.create_task(streams.sessions.pulse())
    streams.refusals["key"] = SessionTerminated()
    await gone.until(lambda f: f.error, "the end")
    assert kept.error is None
    pulse.cancel()


async def test_a_drain_ends_all_and_lets_nobody_in(streams: Exchange) -> None:
    followers = [await streams.live("ada") for _ in range(5)]
    began = time.monotonic()
    await streams.sessions.drain(0.2)
    assert time.monotonic() - began >= 0.1, "spread over the time"
    for follower in followers:
        await follower.until(lambda f: f.error, "the end")
        assert isinstance(follower.error, ServerDraining)
        assert follower.error.retry_delay
    assert (
        len(
            {
                follower.error.retry_delay
                for follower in followers
                if isinstance(follower.error, ServerDraining)
            }
        )
        > 1
    )
    with pytest.raises(ServerDraining):
        streams.open("ada")


async def test_a_drain_without_sessions_is_over_at_once(streams: Exchange) -> None:
    await streams.sessions.drain(3_600)


async def test_streams_are_limited_by_key_and_tenant(streams: Exchange) -> None:
    followers = [streams.open() for _ in range(100)]
    with pytest.raises(TooManyStreams) as refused:
        streams.open()
    assert refused.value.metadata == {"limit": "100"}
    await followers[0].close()
    streams.open()


# --- storage that does not answer -------------------------------------------------------------------------------------


async def test_a_stream_outlives_trouble_with_storage(tmp_path: Path, turned_clock: TurnedClock) -> None:
    """While storage cannot be read the stream waits; then it goes on where it was."""
    async with stored(tmp_path, turned_clock) as store:
        reader = Faltering(store.readers)
        async with exchange(store, turned_clock, reader=reader) as streams:  # type: ignore[arg-type]
            await streams.desk.send_many(3)
            reader.faltering = True
            follower = streams.open("ada", start=Start.BEGINNING)
            await eventually(lambda: reader.refused, "a read that fails")
            reader.faltering = False
            await follower.has(1, 2, 3)
            reader.faltering = True
            refused = reader.refused
            streams.hub.offer([change_of(await streams.desk.inbox(), 9)])
            await streams.desk.send()
            await eventually(lambda: reader.refused > refused, "another read that fails")
            reader.faltering = False
            await follower.has(1, 2, 3, 4)
            assert follower.error is None


async def test_what_a_gateway_acknowledges_outlives_trouble_with_storage(
    opened_store: Store, streams: Exchange, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not answered, and so would not say it again."""
    follower = await streams.live("ada", consumer="app")
    await desk.send_many(3)
    await follower.has(1, 2, 3)
    submit = opened_store.writer.submit
    refused = [QueueFull(), StorageUnavailable()]

    async def falter(commands: Sequence[Command[Any]], **options: Any) -> list[Any]:
        return [refused.pop() for _ in commands] if refused else await submit(commands, **options)

    monkeypatch.setattr(opened_store.writer, "submit", falter)
    monkeypatch.setattr(submitting, "STORAGE_RETRY_SECONDS", 0.01)
    await follower.session.acknowledge([("ada", follower.cursors["ada"])])
    (position,) = await opened_store.readers.positions("default", "app", ["ada"])
    assert position.revision == 3
    assert follower.error is None


class Faltering:
    """Reads, or does not."""

    def __init__(self, reader: object) -> None:
        self._reader = reader
        self.faltering = False
        self.refused = 0

    def __getattr__(self, name: str) -> object:
        read = getattr(self._reader, name)

        async def falter(*args: object) -> object:
            if self.faltering:
                self.refused += 1
                raise StorageUnavailable
            return await read(*args)

        return falter


def change_of(inbox: Inbox, revision: int) -> InboxChange:
    return InboxChange(inbox.tenant, inbox.recipient, inbox.incarnation, revision, inbox.counts)
