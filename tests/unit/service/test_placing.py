"""Where a stream starts for a recipient, what resets it, and how it goes on then."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.support.desk import Desk
from tests.support.stores import TurnedClock
from tests.support.streams import Exchange, Follower, exchange
from tests.support.waiting import eventually
from tocsin_server.domain.commands import ByIds, RenewIncarnation
from tocsin_server.domain.cursor import UNFILTERED, filter_digest
from tocsin_server.domain.entry import ChangesPage, ConsumerPosition, Wanted
from tocsin_server.domain.errors import SessionTerminated, StorageUnavailable
from tocsin_server.domain.inbox import Counts, Inbox, Mark
from tocsin_server.domain.time import HOUR
from tocsin_server.service import catchup
from tocsin_server.service.placing import Placing, Start, Subscription
from tocsin_server.service.ports import InboxReader, Writer
from tocsin_server.store.store import Store

# --- without a position -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "revisions"),
    [
        (Start.NOW, []),
        (Start.UNREAD, [1, 6]),  # the one that was not touched, and the one that was only seen
        (Start.BEGINNING, [1, 6, 7, 8, 9]),  # the others were read, archived, retracted
    ],
)
async def test_where_a_stream_starts(
    streams: Exchange, desk: Desk, start: Start, revisions: list[int]
) -> None:
    _, seen, read, archived, gone = await desk.send_many(5)
    await desk.mark(Mark.SEEN, ByIds((seen,)))
    await desk.mark(Mark.READ, ByIds((read,)))
    await desk.mark(Mark.ARCHIVED, ByIds((archived,)))
    await desk.cancel(gone)
    follower = await streams.live("ada", start=start)
    await follower.has(*revisions)
    await desk.send()
    await follower.has(*revisions, 10)
    assert follower.resets() == []


async def test_unread_means_unread_when_it_began(streams: Exchange, desk: Desk) -> None:
    """What is read later is a change like any other, also of what was left out."""
    ids = await desk.send_many(3)
    await desk.mark(Mark.READ, ByIds((ids[0],)))
    follower = await streams.live("ada", start=Start.UNREAD)
    await follower.has(2, 3)
    await desk.mark(Mark.READ, ByIds((ids[1],)))
    await desk.mark(Mark.UNREAD, ByIds((ids[0],)))
    await follower.until(lambda f: f.revisions()[-1] == 6, "both changes")
    assert follower.revisions() in ([2, 3, 5, 6], [2, 3, 6])
    assert follower.resets() == []


@pytest.mark.parametrize("start", Start)
async def test_an_inbox_that_comes_to_be_is_all_new(streams: Exchange, desk: Desk, start: Start) -> None:
    follower = await streams.live("ada", start=start)
    await desk.send_many(3)
    await follower.has(1, 2, 3)
    assert follower.resets() == []
    await follower.at_head(Counts(3, 3, 3))


async def test_a_cursor_from_before_there_was_an_inbox_resumes_at_its_beginning(
    streams: Exchange, desk: Desk
) -> None:
    follower = await streams.live("ada")
    await follower.until(lambda f: "ada" in f.cursors, "a cursor")
    cursor = follower.cursors["ada"]
    await follower.close()
    await desk.send_many(2)
    resumed = await streams.live(("ada", cursor))
    await resumed.has(1, 2)
    assert resumed.resets() == []


async def test_a_consumer_acknowledges_that_there_was_nothing_yet(streams: Exchange, desk: Desk) -> None:
    follower = await streams.live("ada", consumer="app")
    await follower.until(lambda f: "ada" in f.cursors, "a cursor")
    await acknowledge(follower)
    await follower.close()
    await desk.send_many(2)
    resumed = await streams.live("ada", consumer="app")
    await resumed.has(1, 2)
    assert resumed.resets() == []


# --- resuming ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize("revision", [0, 1, 4, 5])
async def test_a_cursor_resumes_exactly_there(
    streams: Exchange, desk: Desk, start: Start, revision: int
) -> None:
    await desk.send_many(5)
    follower = await streams.live(("ada", await streams.token(revision)), start=start)
    await follower.has(*range(revision + 1, 6))
    await desk.send()
    await follower.has(*range(revision + 1, 7))
    assert follower.resets() == []


async def reset_by_another_filter(streams: Exchange, desk: Desk) -> str:
    return await streams.token(3)


async def reset_by_another_recipient(streams: Exchange, desk: Desk) -> str:
    await desk.send("bob")
    return await streams.token(1, "bob")


async def reset_by_forgery(streams: Exchange, desk: Desk) -> str:
    token = await streams.token(3)
    return token[:20] + ("A" if token[20] != "A" else "B") + token[21:]


async def reset_by_erasure(streams: Exchange, desk: Desk) -> str:
    token = await streams.token(3)
    await desk.erase()
    await desk.send_many(5)
    return token


async def reset_by_pruning(streams: Exchange, desk: Desk) -> str:
    token = await streams.token(3)
    *gone, kept = [entry.id for entry in await desk.changes()]
    await desk.cancel(*gone)
    await desk.mark(Mark.SEEN, ByIds((kept,)))
    await desk.prune(streams.clock.time + 1)
    return token


async def reset_by_rewind(streams: Exchange, desk: Desk) -> str:
    """A cursor ahead of the counter: the store has lost what it was given out for."""
    return await streams.token(9)


REASONS = {
    reset_by_another_filter: "CURSOR_MISMATCH",
    reset_by_another_recipient: "CURSOR_MISMATCH",
    reset_by_forgery: "CURSOR_INVALID",
    reset_by_erasure: "INCARNATION_CHANGED",
    reset_by_pruning: "CURSOR_EXPIRED",
    reset_by_rewind: "INCARNATION_CHANGED",
}


@pytest.mark.parametrize("start", Start)
@pytest.mark.parametrize("arrange", REASONS, ids=lambda arrange: arrange.__name__)
async def test_a_position_that_cannot_be_kept_is_reset_once(
    streams: Exchange, desk: Desk, arrange: object, start: Start
) -> None:
    """The stream goes on, for this recipient as `start` says, for the others as if nothing had happened."""
    await desk.send_many(5)
    await desk.send("cleo")
    cursor = await arrange(streams, desk)  # type: ignore[operator]
    categories = ("orders",) if arrange is reset_by_another_filter else ()
    follower = await streams.live(("ada", cursor), ("cleo", ""), start=start, categories=categories)
    inbox = await desk.inbox()
    kept = [entry.revision for entry in await desk.changes()]
    expected = {Start.NOW: [], Start.UNREAD: kept, Start.BEGINNING: kept}[start]
    await follower.has(*expected)
    await desk.send()
    await follower.has(*expected, inbox.revision + 1)
    assert follower.resets() == [REASONS[arrange]]  # type: ignore[index]
    (reset,) = [event for event in follower.events if event.HasField("reset")]
    filter = filter_digest(categories)
    mint = streams.cursors.mint("default", "ada", inbox.incarnation, filter)
    assert reset.reset.oldest_cursor == mint.token(inbox.floor)
    assert reset.cursor == mint.token(inbox.revision if start is Start.NOW else inbox.floor)
    assert follower.events.index(reset) == min(
        index for index, event in enumerate(follower.events) if event.recipient == "ada"
    ), "before anything else of the recipient's"
    assert follower.resets("cleo") == []


async def test_a_rewound_inbox_is_made_anew_for_everybody(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(3)
    old = await desk.inbox()
    behind = await streams.token(2)
    follower = await streams.live(("ada", await streams.token(9)))
    renewed = await desk.inbox()
    assert renewed.incarnation != old.incarnation
    other = await streams.live(("ada", behind))
    assert follower.resets() == other.resets() == ["INCARNATION_CHANGED"]
    assert streams.cursors.open("default", "ada", follower.cursors["ada"]).incarnation == renewed.incarnation


async def test_a_reset_comes_before_what_is_sent_after_it(streams: Exchange, desk: Desk) -> None:
    """Whoever forgets at a reset what it knows would forget that too."""
    await desk.send()
    follower = streams.open(("ada", "forged"))
    follower.stop_reading()
    await follower.until(lambda f: f.messages, "the first message")
    await desk.send()
    follower.read_on()
    await follower.has(2)
    assert [event.WhichOneof("event") for event in follower.events[:2]] == ["reset", "notification"]


async def test_many_resets_are_several_messages(
    streams: Exchange, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may have a hundred thousand recipients that all start anew: more than clients take at once."""
    monkeypatch.setattr(catchup, "POSITIONS_PER_READ", 2)
    names = [f"r{number}" for number in range(9)]
    follower = await streams.live(*((name, "forged") for name in names))
    await follower.until(lambda f: all(f.resets(name) for name in names), "all resets")
    assert [len(f) for f in map(follower.resets, names)] == [1] * 9
    most = max(sum(event.HasField("reset") for event in message.events) for message in follower.messages)
    assert most == 2


class Refusing:
    """A writer that has trouble with storage at first."""

    def __init__(self, writer: Writer, refusals: int) -> None:
        self._writer = writer
        self.refusals = refusals

    async def submit(self, commands: Sequence[Any], **options: Any) -> list[Any]:
        if self.refusals:
            self.refusals -= 1
            return [StorageUnavailable() for _ in commands]
        return await self._writer.submit(commands, **options)


async def test_a_rewound_inbox_is_made_anew_before_anybody_goes_on(
    opened_store: Store, streams: Exchange, desk: Desk
) -> None:
    """Else it would count up to cursors that stand for what it has lost, and skip in silence."""
    await desk.send_many(3)
    before = await desk.inbox()
    ahead = streams.cursors.token("default", "ada", before.incarnation, 5)
    placing = Placing(opened_store.readers, Refusing(opened_store.writer, 1), streams.cursors)  # type: ignore[arg-type]
    subscription = Subscription("default", "", (), Start.NOW)
    with pytest.raises(StorageUnavailable):
        await placing.place(subscription, [("ada", ahead, "")])
    (placed,) = await placing.place(subscription, [("ada", ahead, "")])
    assert placed.reset == "INCARNATION_CHANGED"
    assert placed.inbox is not None
    assert placed.inbox.incarnation != before.incarnation


# --- what happens while it is followed --------------------------------------------------------------------------------


@pytest.mark.parametrize("start", Start)
async def test_an_erased_inbox_is_another_one_afterwards(streams: Exchange, desk: Desk, start: Start) -> None:
    await desk.send_many(3)
    follower = await streams.live("ada", start=start)
    already = follower.revisions()
    await desk.erase()
    await follower.until(lambda f: f.resets(), "a reset")
    await streams.settled(follower)
    await desk.send_many(2)
    await follower.has(*already, 1, 2)
    assert follower.resets() == ["INCARNATION_CHANGED"]
    inbox = await desk.inbox()
    await follower.at_head(Counts(2, 2, 2))
    assert streams.cursors.open("default", "ada", follower.cursors["ada"]).incarnation == inbox.incarnation


async def test_what_is_buffered_of_an_erased_inbox_is_not_sent(streams: Exchange, desk: Desk) -> None:
    await desk.send()
    follower = await streams.live("ada")
    follower.stop_reading()
    await desk.send(text="under way")
    await eventually(lambda: follower.texts() == ["under way"], "the message under way")
    await desk.send(text="erased")
    await desk.erase()
    follower.read_on()
    await follower.until(lambda f: f.resets(), "a reset")
    await desk.send(text="anew")
    await follower.until(lambda f: "anew" in f.texts(), "what is sent to the new inbox")
    assert follower.texts() == ["under way", "anew"]


async def test_erased_and_made_again_between_two_looks(streams: Exchange, desk: Desk) -> None:
    """Whatever of it the stream is told, it ends in the new inbox."""
    await desk.send_many(5)
    follower = await streams.live("ada", start=Start.BEGINNING)
    await follower.has(1, 2, 3, 4, 5)
    follower.stop_reading()
    for inbox in range(3):
        await desk.erase()
        await desk.send(text=f"inbox {inbox}")
    follower.read_on()
    await follower.until(lambda f: f.texts()[-1:] == ["inbox 2"], "the last inbox")
    assert follower.resets()
    await desk.send(text="what follows")
    await follower.until(lambda f: f.texts()[-2:] == ["inbox 2", "what follows"], "what follows")
    assert follower.revisions()[-2:] == [1, 2]


async def test_a_renewed_incarnation_resets_whoever_follows(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(3)
    follower = await streams.live("ada")
    inbox = await desk.inbox()
    renew = RenewIncarnation(tenant="default", recipient="ada", incarnation=inbox.incarnation, revision=9)
    await desk.submit(renew)
    await follower.until(lambda f: f.resets() == ["INCARNATION_CHANGED"], "a reset")
    await desk.send()
    await follower.has(4)


async def test_pruning_passes_a_stream_that_stands_still(
    streams: Exchange, desk: Desk, turned_clock: TurnedClock
) -> None:
    """What it was too slow for is gone, and it is told so."""
    await desk.send_many(10)
    follower = await streams.live("ada", max_in_flight=2)
    ids = await desk.send_many(6)
    await follower.has(11, 12)
    await desk.cancel(*ids[:4])
    turned_clock.time += HOUR
    await desk.cancel(*(entry.id for entry in await desk.entries() if entry.content is not None))
    await desk.prune(turned_clock.time + 1)
    await desk.send()
    follower.session.grant(0)
    await follower.until(lambda f: f.resets() == ["CURSOR_EXPIRED"], "a reset")
    await desk.send()
    head = (await desk.inbox()).revision
    await follower.until(lambda f: f.revisions()[-1] == head, "to go on")


async def test_pruning_leaves_a_stream_at_the_head_alone(
    streams: Exchange, desk: Desk, turned_clock: TurnedClock
) -> None:
    ids = await desk.send_many(5)
    follower = await streams.live("ada")
    await desk.cancel(*ids)
    await follower.until(lambda f: f.revisions() and f.revisions()[-1] == 10, "the end of all")
    turned_clock.time += HOUR
    assert await desk.prune(turned_clock.time) == 5
    await desk.send()
    await follower.until(lambda f: f.revisions()[-1] == 11, "what follows")
    resumed = await streams.live(("ada", await streams.token(10)))
    await resumed.has(11)
    expired = await streams.live(("ada", await streams.token(9)))
    assert follower.resets() == resumed.resets() == []
    assert expired.resets() == ["CURSOR_EXPIRED"]


class Meddled:
    """Reads, and has something happen between the look at the counter row and the reading of changes, or between that
    and their arrival."""

    def __init__(self, reader: InboxReader) -> None:
        self._reader = reader
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.afterwards: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    async def changes(self, tenant: str, wanted: Sequence[Wanted], max_bytes: int) -> ChangesPage:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        page = await self._reader.changes(tenant, wanted, max_bytes)
        afterwards, self.afterwards = self.afterwards, None
        if afterwards is not None:
            await afterwards()
        return page


@pytest.mark.parametrize("start", [Start.NOW, Start.BEGINNING])
async def test_pruning_between_the_check_of_a_cursor_and_the_reading(
    opened_store: Store, turned_clock: TurnedClock, start: Start
) -> None:
    """The cursor was good when it was looked at; what came after it is gone when it is read. Never a silent skip."""
    reader = Meddled(opened_store.readers)
    async with exchange(opened_store, turned_clock, reader=reader) as streams:  # type: ignore[arg-type]
        desk = streams.desk
        ids = await desk.send_many(4)
        await desk.cancel(*ids[:3])
        cursor = await streams.token(4)
        turned_clock.time += HOUR
        await desk.mark(Mark.SEEN, ByIds(tuple(ids[3:])))
        reader.meanwhile = lambda: desk.prune(turned_clock.time)
        follower = await streams.live(("ada", cursor), start=start)
        assert (await desk.inbox()).floor == 7
        assert follower.resets() == ["CURSOR_EXPIRED"]
        await follower.has(*([8] if start is Start.BEGINNING else []))
        await desk.send()
        await follower.until(lambda f: f.revisions()[-1:] == [9], "what follows")


async def test_erasure_between_the_check_of_a_cursor_and_the_reading(
    opened_store: Store, turned_clock: TurnedClock
) -> None:
    reader = Meddled(opened_store.readers)
    async with exchange(opened_store, turned_clock, reader=reader) as streams:  # type: ignore[arg-type]
        desk = streams.desk
        await desk.send_many(4)

        async def erase() -> None:
            await desk.erase()
            await desk.send_many(2)

        reader.meanwhile = erase
        follower = await streams.live(("ada", await streams.token(1)), start=Start.BEGINNING)
        await follower.has(1, 2)
        assert follower.resets() == ["INCARNATION_CHANGED"]


async def test_what_was_read_of_an_inbox_that_is_erased_by_then_is_not_sent(
    opened_store: Store, turned_clock: TurnedClock
) -> None:
    """Also where the stream did not know yet that there was one."""
    reader = Meddled(opened_store.readers)
    async with exchange(opened_store, turned_clock, reader=reader) as streams:  # type: ignore[arg-type]
        desk = streams.desk
        follower = await streams.live("ada", start=Start.BEGINNING)
        reader.afterwards = desk.erase
        await desk.send(text="erased")
        await eventually(lambda: reader.afterwards is None, "the reading")
        await streams.settled(follower)
        await desk.send(text="anew")
        await follower.until(lambda f: "anew" in f.texts(), "what is sent to the new inbox")
        assert follower.texts() == ["anew"]


class Held:
    """A reader of inboxes that tells heads only when it is let go."""

    def __init__(self, reader: InboxReader) -> None:
        self._reader = reader
        self.let_go = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._reader, name)

    async def heads(self, tenant: str, recipients: Sequence[str]) -> dict[str, Inbox]:
        await self.let_go.wait()
        return await self._reader.heads(tenant, recipients)


async def test_what_is_committed_after_the_first_message_is_told(
    opened_store: Store, turned_clock: TurnedClock
) -> None:
    """Else whoever opens a stream and then sends could wait in vain."""
    reader = Held(opened_store.readers)
    async with exchange(opened_store, turned_clock, reader=reader) as streams:  # type: ignore[arg-type]
        follower = streams.open("ada")
        await streams.desk.send()
        await asyncio.sleep(0.05)
        assert follower.messages == []
        reader.let_go.set()
        await follower.until(lambda follower: follower.messages, "the first message")
        await streams.desk.send()
        await follower.has(2)


async def test_a_session_that_ends_before_it_knows_where_to_start(
    opened_store: Store, turned_clock: TurnedClock
) -> None:
    reader = Held(opened_store.readers)
    async with exchange(opened_store, turned_clock, reader=reader) as streams:  # type: ignore[arg-type]
        follower = streams.open("ada")
        await asyncio.sleep(0)
        follower.session.end(SessionTerminated())
        await follower.until(lambda follower: isinstance(follower.error, SessionTerminated), "the end")
        assert follower.messages == []


# --- named consumers --------------------------------------------------------------------------------------------------


async def acknowledge(follower: Follower, recipient: str = "ada") -> None:
    await follower.session.acknowledge([(recipient, follower.cursors[recipient])])


@pytest.mark.parametrize("start", Start)
async def test_a_consumer_goes_on_where_it_has_acknowledged(
    streams: Exchange, desk: Desk, start: Start
) -> None:
    first = await streams.live("ada", "bob", consumer="app", start=start)
    await desk.send_many(3)
    await first.has(1, 2, 3)
    await acknowledge(first)
    await first.close()
    await desk.send_many(2)
    await desk.send("bob")
    again = await streams.live("ada", "bob", consumer="app", start=start)
    await again.has(4, 5)
    assert again.resets() == []
    # It never acknowledged anything of bob's, so `start` holds.
    await again.has(*([] if start is Start.NOW else [1]), recipient="bob")
    # A cursor goes before what was acknowledged.
    rewound = await streams.live(("ada", await streams.token(1)), consumer="app", start=start)
    await rewound.has(2, 3, 4, 5)
    # Others have positions of their own.
    other = await streams.live("ada", consumer="other", start=Start.NOW)
    assert other.revisions() == []


async def test_several_sessions_of_a_consumer_each_receive_everything(streams: Exchange, desk: Desk) -> None:
    await desk.send()
    followers = [await streams.live("ada", consumer="app") for _ in range(3)]
    await desk.send()
    for follower in followers:
        await follower.has(2)


async def test_a_consumer_with_another_filter_is_reset(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(3)
    first = await streams.live("ada", consumer="app", start=Start.BEGINNING)
    await first.has(1, 2, 3)
    await acknowledge(first)
    other = await streams.live("ada", consumer="app", categories=("orders",), start=Start.BEGINNING)
    await other.has(1, 2, 3)
    assert other.resets() == ["CURSOR_MISMATCH"]
    await acknowledge(other)
    for categories in ((), ("orders",)):
        again = await streams.live("ada", consumer="app", categories=categories, start=Start.BEGINNING)
        await desk.send()
        await eventually(again.revisions, "what follows")
        assert again.resets() == []
        await again.close()


async def test_a_consumer_of_another_incarnation_is_reset(streams: Exchange, desk: Desk) -> None:
    await desk.send_many(3)
    inbox = await desk.inbox()
    await desk.acknowledge(inbox, 3)
    renew = RenewIncarnation(tenant="default", recipient="ada", incarnation=inbox.incarnation, revision=9)
    await desk.submit(renew)
    follower = await streams.live("ada", consumer="app", start=Start.BEGINNING)
    await follower.has(1, 2, 3)
    assert follower.resets() == ["INCARNATION_CHANGED"]


async def test_a_consumer_of_an_erased_inbox_starts_as_it_says(streams: Exchange, desk: Desk) -> None:
    """Its position was personal, too."""
    await desk.send_many(3)
    await desk.acknowledge(await desk.inbox(), 3)
    await desk.erase()
    await desk.send()
    follower = await streams.live("ada", consumer="app", start=Start.BEGINNING)
    await follower.has(1)
    assert follower.resets() == []


async def test_what_is_acknowledged_meanwhile_is_not_taken_for_a_rewind(
    streams: Exchange, desk: Desk, opened_store: Store
) -> None:
    """Between two reads another session of the consumer takes an entry and acknowledges it."""
    await desk.send()
    await desk.acknowledge(await desk.inbox(), 1)

    class Between:
        """Reads heads and positions, and has the world move on before the second of them."""

        def __init__(self, reader: InboxReader) -> None:
            self.reads = 0
            self._reader = reader

        async def moved_on(self) -> None:
            self.reads += 1
            if self.reads == 2:
                await desk.send()
                await desk.acknowledge(await desk.inbox(), 2)

        async def heads(self, tenant: str, recipients: list[str]) -> dict[str, Inbox]:
            await self.moved_on()
            return await self._reader.heads(tenant, recipients)

        async def positions(
            self, tenant: str, consumer: str, recipients: list[str]
        ) -> list[ConsumerPosition]:
            await self.moved_on()
            return await self._reader.positions(tenant, consumer, recipients)

    reader = Between(opened_store.readers)
    placing = Placing(reader, opened_store.writer, streams.cursors)  # type: ignore[arg-type]
    (placed,) = await placing.place(Subscription("default", "app", (), Start.NOW), [("ada", "", "")])
    assert (placed.reset, placed.revision) == ("", 1)
    assert placed.inbox is not None
    assert placed.inbox.revision == 2
    assert filter_digest(()) == UNFILTERED
