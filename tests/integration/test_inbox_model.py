"""Anything in any order: two inboxes and those who follow them, against a model of plain Python.

Guarantees 3 (ordered, gapless), 4 (resumable), 8 (counts) and 16 (retention never breaks a resume silently).
"""

import asyncio
import random
import tempfile
from collections.abc import Coroutine
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.desk import CODEC, Desk
from tests.support.inbox_model import Entry, InboxModel, shown
from tests.support.postgres import PostgresServer
from tests.support.stores import TurnedClock, stored
from tests.support.streams import Exchange, Follower, exchange
from tests.support.waiting import eventually
from tocsin.v1.inbox_service_pb2 import InboxEvent
from tocsin_server.domain.commands import ByIds, ExpireEntries
from tocsin_server.domain.errors import NotificationFinal
from tocsin_server.domain.ids import parse_id
from tocsin_server.domain.inbox import Mark, Status
from tocsin_server.domain.time import DAY, HOUR, MINUTE, Micros
from tocsin_server.service import live
from tocsin_server.service.placing import Start

T = TypeVar("T")

RECIPIENTS = ("ada", "bob")
TIMES = st.sampled_from([MINUTE, HOUR, 2 * HOUR, DAY])
PICK = st.integers(0, 1 << 16)

SHELVES = ("inbox", "snoozed", "archived")


@dataclass
class Client:
    """One who follows an inbox on one stream after another, and believes what it is told."""

    name: str
    recipient: str
    start: Start
    base: int = 0
    """Of what changed last before this revision it need not know."""
    incarnation: int = 0
    follower: Follower | None = None
    reading: bool = True
    known: dict[bytes, tuple[int, str, frozenset[str]]] = field(default_factory=dict)
    cursors: list[tuple[int, int, str]] = field(default_factory=list)
    """(incarnation, revision, token)."""
    last: int = 0
    """The revision that the stream has got to."""
    taken: int = 0
    """How many of the follower's events it has looked at."""
    may_reset: set[str] = field(default_factory=set)
    """For reasons that have come about since it caught up."""
    received: set[int] = field(default_factory=set)


class InboxMachine(RuleBasedStateMachine):
    """The rules. All of them run on one event loop, which stands still in between."""

    def __init__(self, database: AbstractContextManager[str | None]) -> None:
        super().__init__()
        self.database = database
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = TurnedClock()
        self.patch = pytest.MonkeyPatch()
        self.streams: Exchange
        self.desk: Desk
        self.inboxes: dict[str, InboxModel] = {}
        self.incarnations = 0
        self.known_incarnations: dict[bytes, int] = {}
        """What the model calls those of the store."""
        self.clients: list[Client] = []
        self.texts = 0

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(doing)

    @initialize(
        buffer_bytes=st.sampled_from([600, 1 << 20]), entries_per_message=st.sampled_from([1, 3, 500])
    )
    def open(self, buffer_bytes: int, entries_per_message: int) -> None:
        self.patch.setattr(live, "ENTRIES_PER_MESSAGE", entries_per_message)

        async def opened() -> None:
            url = self.stack.enter_context(self.database)
            store = await self.stack.enter_async_context(stored(Path(self.folder.name), self.clock, url=url))
            self.streams = await self.stack.enter_async_context(
                exchange(store, self.clock, buffer_bytes=buffer_bytes)
            )
            self.desk = self.streams.desk

        self.run(opened())

    def teardown(self) -> None:
        try:
            if hasattr(self, "desk"):
                self.catch_up()
        finally:
            self.run(self.stack.aclose())
            self.runner.close()
            self.folder.cleanup()
            self.patch.undo()

    # --- senders ------------------------------------------------------------------------------------------------------

    @rule(
        recipient=st.sampled_from(RECIPIENTS),
        count=st.integers(1, 4),
        deliver_in=st.none() | TIMES,
        expire_in=st.none() | TIMES | st.just(-MINUTE),
    )
    def send(self, recipient: str, count: int, deliver_in: Micros | None, expire_in: Micros | None) -> None:
        inbox = self.inbox_of(recipient)
        for _ in range(count):
            now = self.tick()
            self.texts += 1
            text = f"No {self.texts}"
            deliver_time = None if deliver_in is None else now + deliver_in
            expire_time = None if expire_in is None else now + expire_in
            receipt = self.run(
                self.desk.send(recipient, text, deliver_time=deliver_time, expire_time=expire_time)
            )
            entry = Entry(receipt.notification_id, text, now, expire_time, deliver_time)
            inbox.send(entry, now)
            assert receipt.revision == entry.revision

    @rule(pick=PICK, renotify=st.booleans())
    @precondition(lambda self: any(i.entries or i.waiting for i in self.inboxes.values()))
    def revise(self, pick: int, renotify: bool) -> None:
        inbox, id = self.any_notification(pick)
        self.texts += 1
        now, text = self.tick(), f"No {self.texts}"
        if inbox.revise(id, text, renotify, now):
            self.run(self.desk.revise(id, text, renotify=renotify))
            return
        try:
            self.run(self.desk.revise(id, text, renotify=renotify))
        except NotificationFinal:
            return
        raise AssertionError("what is gone was revised")

    @rule(pick=PICK)
    @precondition(lambda self: any(i.entries or i.waiting for i in self.inboxes.values()))
    def cancel(self, pick: int) -> None:
        inbox, id = self.any_notification(pick)
        expected = inbox.cancel(id, self.tick())
        assert [outcome.name for outcome in self.run(self.desk.cancel(id))] == [expected]

    # --- recipients ---------------------------------------------------------------------------------------------------

    @rule(recipient=st.sampled_from(RECIPIENTS), mark=st.sampled_from(Mark), seed=PICK, snooze_for=TIMES)
    @precondition(lambda self: self.inboxes)
    def mark(self, recipient: str, mark: Mark, seed: int, snooze_for: Micros) -> None:
        inbox = self.inboxes.get(recipient)
        if inbox is None or not inbox.entries:
            return
        now = self.tick()
        until = now + snooze_for if mark is Mark.SNOOZED else None
        rng = random.Random(seed)
        ids = rng.sample(list(inbox.entries), rng.randint(1, len(inbox.entries)))
        receipt = self.run(self.desk.mark(mark, ByIds(tuple(ids)), recipient, snooze_until=until))
        assert receipt.changed_count == inbox.mark(ids, mark, until, now)

    @rule(recipient=st.sampled_from(RECIPIENTS), mark=st.sampled_from(Mark), share=st.floats(0, 1))
    @precondition(lambda self: self.inboxes)
    def mark_up_to(self, recipient: str, mark: Mark, share: float) -> None:
        inbox = self.inboxes.get(recipient)
        if inbox is None:
            return
        now = self.tick()
        until = now + HOUR if mark is Mark.SNOOZED else None
        revision = inbox.floor + round(share * (inbox.revision - inbox.floor))

        async def marked() -> int:
            up_to = await self.desk.up_to(revision, recipient)
            return (await self.desk.mark(mark, up_to, recipient, snooze_until=until)).changed_count

        ids = [entry.id for entry in inbox.entries.values() if entry.content_revision <= revision]
        assert self.run(marked()) == inbox.mark(ids, mark, until, now)

    @rule(recipient=st.sampled_from(RECIPIENTS))
    @precondition(lambda self: self.inboxes)
    def erase(self, recipient: str) -> None:
        if self.inboxes.pop(recipient, None) is None:
            return
        self.tick()
        self.run(self.desk.erase(recipient))
        for client in self.clients:
            if client.recipient == recipient:
                client.may_reset.add("INCARNATION_CHANGED")

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(by=TIMES)
    def pass_time(self, by: Micros) -> None:
        self.clock.time += by
        now = self.tick()
        self.run(self.desk.fire_due())
        for inbox in self.inboxes.values():
            inbox.fire(now)

    @rule(recipient=st.sampled_from(RECIPIENTS), older_than=st.sampled_from([0, HOUR, DAY]))
    @precondition(lambda self: self.inboxes)
    def expire_by_retention(self, recipient: str, older_than: Micros) -> None:
        """Entry by entry, as what happens in one transaction has no order between ids."""
        inbox = self.inboxes.get(recipient)
        if inbox is None:
            return
        cutoff = self.tick() - older_than
        for entry in [each for each in inbox.entries.values() if each.create_time < cutoff]:
            now = self.tick()
            self.run(self.desk.submit(ExpireEntries(tenant="", entries=(("default", entry.id),))))
            inbox.expire([entry.id], now)

    @rule(recipient=st.sampled_from(RECIPIENTS), older_than=st.sampled_from([0, HOUR, DAY]))
    @precondition(lambda self: self.inboxes)
    def prune(self, recipient: str, older_than: Micros) -> None:
        inbox = self.inboxes.get(recipient)
        if inbox is None:
            return
        cutoff = self.tick() - older_than
        self.run(self.desk.prune(cutoff, recipient))
        inbox.prune(cutoff)
        for client in self.clients:
            if client.recipient == recipient:
                client.may_reset.add("CURSOR_EXPIRED")

    # --- subscribers --------------------------------------------------------------------------------------------------

    @rule(recipient=st.sampled_from(RECIPIENTS), start=st.sampled_from([Start.NOW, Start.BEGINNING]))
    @precondition(lambda self: len(self.clients) < 6)
    def subscribe(self, recipient: str, start: Start) -> None:
        client = Client(f"client {len(self.clients)}", recipient, start)
        self.clients.append(client)
        inbox = self.inboxes.get(recipient)
        if inbox is not None and start is Start.NOW:
            client.base = inbox.revision
        self.run(self.follow(client, ""))

    @rule(recipient=st.sampled_from(RECIPIENTS))
    @precondition(lambda self: len(self.clients) < 6 and self.inboxes)
    def list_and_subscribe(self, recipient: str) -> None:
        """All pages, then Subscribe from the first one's cursor, is the full state."""
        inbox = self.inboxes.get(recipient)
        if inbox is None:
            return
        client = Client(f"client {len(self.clients)}", recipient, Start.NOW)
        self.clients.append(client)

        async def listed() -> None:
            entries = await self.desk.entries(recipient)
            token = await self.streams.token(inbox.revision, recipient)
            for entry in entries:
                notification = CODEC.stored_notification(entry, with_trace=True)
                event = InboxEvent()
                event.notification.MergeFromString(notification)
                client.known[entry.id] = shown(event.notification)
            await self.follow(client, token, inbox.revision)

        self.run(listed())

    @rule(pick=PICK)
    @precondition(lambda self: any(client.follower for client in self.clients))
    def disconnect(self, pick: int) -> None:
        client = self.any_client(pick, connected=True)
        self.take(client)
        assert client.follower is not None
        self.run(client.follower.close())
        client.follower = None
        client.reading = True

    @rule(pick=PICK, back=st.integers(0, 3))
    @precondition(lambda self: any(not client.follower for client in self.clients))
    def resume(self, pick: int, back: int) -> None:
        """From the latest cursor or an older one."""
        client = self.any_client(pick, connected=False)
        incarnation, revision, token = (
            client.cursors[-1 - min(back, len(client.cursors) - 1)] if client.cursors else (0, 0, "")
        )
        inbox = self.inboxes.get(client.recipient)
        client.may_reset.clear()
        expected = None
        if token and incarnation:
            if inbox is None or inbox.incarnation != incarnation:
                expected = "INCARNATION_CHANGED"
            elif revision < inbox.floor:
                expected = "CURSOR_EXPIRED"
        elif token and inbox is not None and inbox.floor:
            expected = "CURSOR_EXPIRED"
        if expected:
            client.may_reset.add(expected)
        if not token and inbox is not None and client.start is Start.NOW:
            client.base = inbox.revision
        self.run(self.follow(client, token, revision))
        assert client.follower is not None
        assert client.follower.resets(client.recipient) == ([expected] if expected else [])

    @rule(pick=PICK)
    @precondition(lambda self: any(client.follower for client in self.clients))
    def stop_or_go_on_reading(self, pick: int) -> None:
        client = self.any_client(pick, connected=True)
        client.reading = not client.reading
        assert client.follower is not None
        if client.reading:
            client.follower.read_on()
        else:
            client.follower.stop_reading()

    @rule()
    def catch_up(self) -> None:
        """Everyone who reads has everything."""

        async def caught_up() -> None:
            for client in self.clients:
                if client.follower is not None:
                    client.reading = True
                    client.follower.read_on()
            for client in self.clients:
                if client.follower is not None:
                    await self.arrived(client, client.follower)

        self.run(caught_up())
        for client in self.clients:
            if client.follower is not None:
                self.take(client)
                self.judge(client)
                client.may_reset.clear()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        if not hasattr(self, "desk"):
            return
        for recipient, inbox in self.inboxes.items():
            self.run(self.compare(recipient, inbox))

    async def compare(self, recipient: str, inbox: InboxModel) -> None:
        row = await self.desk.check_counts(recipient)
        self.known_incarnations[row.incarnation] = inbox.incarnation
        assert (row.revision, row.floor, row.counts) == (inbox.revision, inbox.floor, inbox.counts())
        changes = await self.desk.changes(inbox.floor, recipient)
        expected = inbox.changes(inbox.floor)
        assert [entry.id for entry in changes] == [entry.id for entry in expected]
        for entry, model in zip(changes, expected, strict=True):
            assert (entry.revision, entry.content_revision) == (model.revision, model.content_revision)
            assert entry.snoozed_until == model.snoozed_until
            attention = 2 if model.read else 1 if model.seen else 0
            shelf = "gone" if model.gone else model.shelf
            status = Status.GONE if shelf == "gone" else Status(SHELVES.index(shelf) * 3 + attention)
            assert entry.status == status

    def judge(self, client: Client) -> None:
        """A client that has caught up knows every entry that changed since it began, as it is."""
        inbox = self.inboxes.get(client.recipient)
        if inbox is None:
            return
        for entry in inbox.changes(client.base):
            assert client.known.get(entry.id) == entry.shown(), f"{client.name} does not know {entry}"
        assert client.follower is not None
        assert not inbox.revision or client.follower.summaries(client.recipient)[-1] == inbox.counts()

    # --- how it is done -----------------------------------------------------------------------------------------------

    async def follow(self, client: Client, token: str, revision: int = 0) -> None:
        client.follower = self.streams.open((client.recipient, token), start=client.start)
        client.taken, client.last, client.reading = 0, revision, True
        client.received = set()
        await self.arrived(client, client.follower)
        self.take(client)
        self.judge(client)

    async def arrived(self, client: Client, follower: Follower) -> None:
        """Until it is told the counts of the head, which is the last that comes."""
        inbox = self.inboxes.get(client.recipient)
        incarnation = b"" if inbox is None else (await self.desk.inbox(client.recipient)).incarnation

        def there() -> bool:
            position = follower.session.positions[client.recipient]
            if position.behind or not position.placed or follower.session.buffered_bytes:
                return False
            if inbox is None:
                return position.incarnation is None
            if not inbox.revision:
                return position.sent == 0  # that it exists is no news
            cursor = follower.cursors.get(client.recipient)
            return (
                position.incarnation == incarnation
                and position.sent == inbox.revision
                and follower.summaries(client.recipient)[-1:] == [inbox.counts()]
                and cursor is not None
                and self.streams.cursors.open("default", client.recipient, cursor).revision == inbox.revision
            )

        await eventually(there, f"{client.name} to have everything of {client.recipient}", within_s=5)

    def take(self, client: Client) -> None:
        """Looks at what has come since the last time."""
        assert client.follower is not None
        for event in client.follower.events[client.taken :]:
            if event.recipient == client.recipient:
                self.take_event(client, event)
        client.taken = len(client.follower.events)

    def take_event(self, client: Client, event: InboxEvent) -> None:
        if event.HasField("reset"):
            (reason,) = {client.follower.resets(client.recipient)[-1]} if client.follower else {""}
            note(f"{client.name} is reset: {reason}")
            assert client.may_reset, f"{client.name} was reset for no reason: {reason}"
            client.known.clear()
            client.cursors.clear()
            client.received.clear()
            client.last = self.revision_of(client, event.cursor)
            client.base = client.last if client.start is Start.NOW else 0
        if event.HasField("notification"):
            notification = event.notification
            assert notification.revision > client.last, (
                f"{client.name} got {notification} after {client.last}"
            )
            client.known[parse_id(notification.id)] = shown(notification)
            client.last = notification.revision
            client.received.add(notification.revision)
        if event.cursor:
            incarnation = self.incarnation_of(client, event.cursor)
            client.cursors.append((incarnation, self.revision_of(client, event.cursor), event.cursor))

    def revision_of(self, client: Client, token: str) -> int:
        return self.streams.cursors.open("default", client.recipient, token).revision

    def incarnation_of(self, client: Client, token: str) -> int:
        """As the model calls them; 0: from before there was an inbox."""
        raw = self.streams.cursors.open("default", client.recipient, token).incarnation
        if not any(raw):
            return 0
        return self.known_incarnations[raw]

    def inbox_of(self, recipient: str) -> InboxModel:
        if recipient not in self.inboxes:
            self.incarnations += 1
            self.inboxes[recipient] = InboxModel(self.incarnations)
        return self.inboxes[recipient]

    def any_notification(self, pick: int) -> tuple[InboxModel, bytes]:
        every = [(inbox, id) for inbox in self.inboxes.values() for id in (*inbox.entries, *inbox.waiting)]
        return every[pick % len(every)]

    def any_client(self, pick: int, *, connected: bool) -> Client:
        every = [client for client in self.clients if bool(client.follower) is connected]
        return every[pick % len(every)]

    def tick(self) -> Micros:
        """No two things happen at one time, so that their order is the model's."""
        self.clock.time += 1
        return self.clock.time


@pytest.mark.parametrize(("engine", "examples"), [("sqlite", 100), ("postgres", 25)])
def test_any_order_of_anything_keeps_the_promises(
    request: pytest.FixtureRequest, engine: str, examples: int
) -> None:
    def database() -> AbstractContextManager[str | None]:
        if engine == "sqlite":
            return nullcontext()
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.database()

    class Machine(InboxMachine):
        def __init__(self) -> None:
            super().__init__(database())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
