"""Profiles, and erasing and exporting all there is of a recipient, on a real store."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.contents import simple
from tests.support.senders import sending_on
from tests.support.stores import QUOTAS, START, TurnedClock, stored
from tocsin_server.domain.access import Principal, Scope
from tocsin_server.domain.commands import AcknowledgePositions, Answer
from tocsin_server.domain.cursor import UNFILTERED
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.errors import (
    PageTokenInvalid,
    QuotaExceeded,
    RecipientNotAllowed,
    RecipientNotFound,
    RequestIdReused,
)
from tocsin_server.domain.inbox import Counts, InboxErased
from tocsin_server.domain.notification import Channel, EventKind, NotificationSpec
from tocsin_server.domain.recipient import PROFILE_FIELDS, Address, Profile, Recipient
from tocsin_server.domain.time import HOUR, SECOND
from tocsin_server.domain.value import replace
from tocsin_server.rpc.codec import WireCodec
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.paging import PageTokens
from tocsin_server.service.ports import Committed
from tocsin_server.service.recipients import (
    ExportedNotification,
    ExportedPosition,
    Recipients,
    UpsertRequest,
)
from tocsin_server.service.sending import SendRequest, SendResult
from tocsin_server.store.store import Store

ANY = Principal("default", "", frozenset(Scope))
ADA = Profile("pt-PT", "Europe/Lisbon", {"plan": "gold"}, (Address(Channel.EMAIL, "ada@example.com"),))


class World:
    def __init__(self, store: Store, clock: TurnedClock, path: Path) -> None:
        self.path = path
        codec, self.cursors = WireCodec(), Cursors(store.facts)
        self.store = store
        self.clock = clock
        self.recipients = Recipients(
            store.writer,
            store.recipients,
            store.readers,
            store.readers,
            codec,
            self.cursors,
            PageTokens(store.facts.cursor_key),
        )
        self.sending = sending_on(store, self.cursors, clock)

    async def upsert(
        self,
        key: str,
        profile: Profile = ADA,
        fields: frozenset[str] = PROFILE_FIELDS,
        request_id: str = "",
        by: Principal = ANY,
    ) -> Answer[Recipient]:
        request = UpsertRequest(request_id, key, profile, fields)
        (outcome,) = await self.recipients.upsert(by, [request])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def send(self, recipient: str, count: int = 1, **changes: object) -> list[bytes]:
        spec = NotificationSpec(recipient, "orders")
        spec = replace(spec, **changes)
        sent = await self.sending.send(ANY, [SendRequest("", spec, simple("Hello", "World"))] * count)
        assert all(isinstance(result, SendResult) for result in sent)
        return [result.receipt.notification_id for result in sent if isinstance(result, SendResult)]

    def rows(self, query: str, *parameters: object) -> list[tuple[int, ...]]:
        """What somebody sees who looks at the file."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query, parameters).fetchall()

    def left(self, recipient: str) -> dict[str, int]:
        """How many rows of each table speak of a recipient, or of anybody where they do not say."""
        of_recipient = ("recipients", "inboxes", "notifications", "timers", "consumer_positions")
        counts = {
            table: self.rows(f"SELECT count(*) FROM {table} WHERE recipient = ?", recipient)[0][0]
            for table in of_recipient
        }
        return counts | {
            table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("contents", "events")
        }


@pytest.fixture
def commits() -> list[Committed]:
    return []


@pytest.fixture
async def world(tmp_path: Path, commits: list[Committed]) -> AsyncIterator[World]:
    clock = TurnedClock()
    async with stored(tmp_path, clock, quotas=replace(QUOTAS, max_recipients=20), commits=commits) as store:
        yield World(store, clock, tmp_path / "tocsin.db")


async def test_a_recipient_is_created_and_found(world: World) -> None:
    made = await world.upsert("ada")
    assert made == Answer(Recipient("ada", ADA, START, START))
    assert await world.recipients.get(ANY, "ada") == made.receipt
    with pytest.raises(RecipientNotFound) as refused:
        await world.recipients.get(ANY, "eve")
    assert refused.value.metadata == {"recipient": "eve"}


async def test_only_named_fields_change(world: World) -> None:
    await world.upsert("ada")
    world.clock.time += SECOND
    changed = await world.upsert("ada", Profile(locale="fr"), frozenset({"locale", "addresses"}))
    wanted = Profile("fr", "Europe/Lisbon", {"plan": "gold"}, ())
    assert changed.receipt == Recipient("ada", wanted, START, START + SECOND)
    world.clock.time += SECOND
    assert (await world.upsert("ada", Profile(locale="fr"), frozenset({"locale"}))).receipt == changed.receipt


async def test_a_recipient_that_was_only_sent_to_has_an_empty_profile(world: World) -> None:
    await world.send("bob")
    assert await world.recipients.get(ANY, "bob") == Recipient("bob", Profile(), START, START)
    await world.upsert("bob")
    assert (await world.recipients.get(ANY, "bob")).profile == ADA


async def test_items_of_one_call_are_independent_and_in_order(world: World) -> None:
    restricted = Principal("default", "k", frozenset(Scope), recipients=("user-*",))
    outcomes = await world.recipients.upsert(
        restricted,
        [
            UpsertRequest("", "user-1", Profile(locale="de"), frozenset({"locale"})),
            UpsertRequest("", "ada", ADA, PROFILE_FIELDS),
            UpsertRequest("", "user-1", Profile(time_zone="UTC"), frozenset({"time_zone"})),
        ],
    )
    assert isinstance(outcomes[1], RecipientNotAllowed)
    assert isinstance(outcomes[2], Answer)
    assert outcomes[2].receipt.profile == Profile(locale="de", time_zone="UTC")
    assert await world.recipients.upsert(restricted, []) == []


async def test_a_repeated_item_gets_its_first_answer(world: World) -> None:
    first = await world.upsert("ada", request_id="r1")
    await world.upsert("ada", Profile())
    again = await world.upsert("ada", request_id="r1")
    assert again == Answer(first.receipt, replayed=True)
    assert (await world.recipients.get(ANY, "ada")).profile == Profile()
    with pytest.raises(RequestIdReused):
        await world.upsert("bob", request_id="r1")


async def test_a_full_quota_refuses_only_new_recipients(world: World) -> None:
    for number in range(20):
        await world.upsert(f"user-{number}", Profile())
    with pytest.raises(QuotaExceeded) as refused:
        await world.upsert("one-more")
    assert refused.value.metadata == {"quota": "max_recipients", "limit": "20"}
    assert (await world.upsert("user-7")).receipt.profile == ADA
    await world.recipients.delete(ANY, "", "user-7")
    assert (await world.upsert("one-more")).receipt.key == "one-more"


async def test_recipients_are_listed_by_key_and_prefix(world: World) -> None:
    keys = ["a", "user", "user-", "user-1", "user-10", "user-2", "user-\U0010ffff", "users", "z"]
    for key in keys:
        await world.upsert(key, Profile())
    listed, token = [], ""
    for _ in range(3):
        page = await world.recipients.list(ANY, "user-", 2, token)
        listed += [recipient.key for recipient in page.items]
        token = page.next_page_token
    assert listed == ["user-", "user-1", "user-10", "user-2", "user-\U0010ffff"]
    assert token == ""
    assert [recipient.key for recipient in (await world.recipients.list(ANY, "", 0, "")).items] == keys
    of_another_prefix = (await world.recipients.list(ANY, "", 1, "")).next_page_token
    with pytest.raises(PageTokenInvalid):
        await world.recipients.list(ANY, "user-", 1, of_another_prefix)


async def test_a_restricted_caller_sees_and_touches_only_its_own(world: World) -> None:
    restricted = Principal("default", "k", frozenset(Scope), recipients=("user-*",))
    for key in ("ada", "user-1"):
        await world.upsert(key)
    assert [recipient.key for recipient in (await world.recipients.list(restricted, "", 0, "")).items] == [
        "user-1"
    ]
    for forbidden in (
        world.recipients.get(restricted, "ada"),
        world.recipients.delete(restricted, "", "ada"),
        anext(world.recipients.export(restricted, "ada")),
    ):
        with pytest.raises(RecipientNotAllowed):
            await forbidden


async def test_another_tenant_sees_nothing(world: World) -> None:
    elsewhere = Principal("acme", "k", frozenset(Scope))
    await world.upsert("ada")
    assert (await world.recipients.list(elsewhere, "", 0, "")).items == []
    with pytest.raises(RecipientNotFound):
        await world.recipients.get(elsewhere, "ada")
    with pytest.raises(RecipientNotFound):
        await world.recipients.delete(elsewhere, "", "ada")


async def acknowledge(world: World, recipient: str) -> ConsumerPosition:
    inbox = (await world.store.readers.heads("default", [recipient]))[recipient]
    position = ConsumerPosition("phone", recipient, inbox.incarnation, UNFILTERED, 1, START)
    await world.store.writer.submit([AcknowledgePositions(tenant="default", positions=(position,))])
    return position


async def test_erasing_leaves_nothing(world: World, commits: list[Committed]) -> None:
    await world.upsert("ada")
    await world.send("ada", 3)
    await world.send("ada", 1, deliver_time=START + HOUR)
    await world.send("ada", 1, expire_time=START + HOUR)
    await acknowledge(world, "ada")
    before = world.left("ada")
    assert all(before.values())
    inbox = (await world.store.readers.heads("default", ("ada",)))["ada"]
    erased = await world.recipients.delete(ANY, "r1", "ada")
    assert (erased.receipt.erased_count, erased.receipt.more) == (5, False)
    assert set(world.left("ada").values()) == {0}
    assert commits[-1].changes == (InboxErased("default", "ada", inbox.incarnation),)
    assert (await world.recipients.delete(ANY, "r1", "ada")).replayed
    with pytest.raises(RecipientNotFound):
        await world.recipients.delete(ANY, "r2", "ada")


async def test_erasing_touches_nobody_else(world: World) -> None:
    for key in ("ada", "bob"):
        await world.upsert(key)
        await world.send(key, 2)
    await world.recipients.delete(ANY, "", "ada")
    assert world.left("bob") == {
        "recipients": 1,
        "inboxes": 1,
        "notifications": 2,
        "timers": world.left("bob")["timers"],
        "consumer_positions": 0,
        "contents": 2,
        "events": 2,
    }


async def test_a_large_inbox_is_erased_in_chunks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_server.store.recipients.ENTRIES_PER_TRANSACTION", 4)
    monkeypatch.setattr(
        "tocsin_server.store.recipients._ERASED_NEXT",
        "tenant = ? AND recipient = ? ORDER BY revision LIMIT 4",
    )
    await world.send("ada", 10)
    assert (await world.recipients.delete(ANY, "", "ada")).receipt.erased_count == 10
    assert set(world.left("ada").values()) == {0}
    await world.send("bob", 8)  # a full last chunk
    assert (await world.recipients.delete(ANY, "", "bob")).receipt.erased_count == 8
    assert set(world.left("bob").values()) == {0}


async def test_sending_to_an_erased_recipient_makes_a_new_one(world: World) -> None:
    await world.send("ada", 3)
    before = (await world.store.readers.heads("default", ["ada"]))["ada"]
    await world.recipients.delete(ANY, "", "ada")
    await world.send("ada")
    after = (await world.store.readers.heads("default", ["ada"]))["ada"]
    assert after.incarnation != before.incarnation
    assert (after.revision, after.counts) == (1, Counts(1, 1, 1))


async def test_an_erased_recipient_gives_back_what_it_used(world: World) -> None:
    await world.send("ada", 2, deliver_time=START + HOUR)
    await world.recipients.delete(ANY, "", "ada")
    used = world.rows("SELECT recipient_count, pending_count FROM tenants WHERE name = 'default'")
    assert used == [(0, 0)]


async def test_an_export_holds_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tocsin_server.service.recipients._EXPORTED_PER_READ", 2)
    await world.upsert("ada")
    sent = []
    for _ in range(5):
        sent += await world.send("ada")
        world.clock.time += SECOND
    sent += await world.send("ada", deliver_time=START + HOUR)
    await world.send("bob")
    position = await acknowledge(world, "ada")
    parts = [part async for part in world.recipients.export(ANY, "ada")]
    profile, counts, *notifications, last = parts
    assert profile == await world.recipients.get(ANY, "ada")
    assert counts == Counts(5, 5, 5)
    exported = [part for part in notifications if isinstance(part, ExportedNotification)]
    assert [part.entry.id for part in exported] == sent[::-1]
    assert [event.kind for event in exported[0].timeline] == [EventKind.SCHEDULED]
    assert [event.kind for event in exported[1].timeline] == [EventKind.STORED]
    cursor = world.cursors.token("default", "ada", position.incarnation, 1)
    assert isinstance(last, ExportedPosition)
    assert (last.consumer, last.cursor) == ("phone", cursor)


async def test_an_export_leaves_out_categories_that_the_caller_may_not_use(world: World) -> None:
    await world.send("ada")
    await world.send("ada", category="salary")
    restricted = Principal("default", "k", frozenset(Scope), categories=("orders",))
    parts = [part async for part in world.recipients.export(restricted, "ada")]
    seen = [part.entry.category for part in parts if isinstance(part, ExportedNotification)]
    assert seen == ["orders"]


async def test_there_is_no_export_of_nobody(world: World) -> None:
    with pytest.raises(RecipientNotFound):
        await anext(world.recipients.export(ANY, "nobody"))
