"""Positions of named consumers, incarnations that a rewound store gives up, and the store's epoch."""

import shutil
from pathlib import Path

import pytest

from tests.support.desk import Desk
from tests.support.stores import TurnedClock, stored
from tocsin_server.domain.commands import AcknowledgePositions, BumpEpoch, RenewIncarnation
from tocsin_server.domain.cursor import UNBORN, UNFILTERED, filter_digest
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.inbox import Inbox
from tocsin_server.domain.time import HOUR
from tocsin_server.service.ports import Committed
from tocsin_server.store.sqlite.commits import CommitCountFile
from tocsin_server.store.store import Store

FOREIGN = b"foreign."
"""The incarnation of no inbox here."""
ORDERS = filter_digest(("orders",))


async def test_the_highest_position_wins(desk: Desk) -> None:
    await desk.send_many(5)
    inbox = await desk.inbox()
    assert [await desk.acknowledge(inbox, revision) for revision in (2, 4, 3, 4)] == [2, 4, 4, 4]


async def test_consumers_filters_and_recipients_are_apart(
    desk: Desk, store: Store, clock: TurnedClock
) -> None:
    for name in ("ada", "bob"):
        await desk.send_many(5, name)
    ada, bob = await desk.inbox("ada"), await desk.inbox("bob")
    await desk.acknowledge(ada, 1)
    clock.time += HOUR
    await desk.acknowledge(ada, 2, filter=ORDERS)
    await desk.acknowledge(ada, 3, consumer="other")
    await desk.acknowledge(bob, 4)
    found = await store.readers.positions("default", "app", ("ada", "bob", "nobody"))
    assert {(p.recipient, p.filter): p.revision for p in found} == {
        ("ada", UNFILTERED): 1,
        ("ada", ORDERS): 2,
        ("bob", UNFILTERED): 4,
    }
    assert await store.readers.positions("other", "app", ("ada", "bob")) == []
    times = {p.filter: p.update_time for p in found if p.recipient == "ada"}
    assert times[ORDERS] - times[UNFILTERED] == HOUR


async def test_many_positions_in_one_command(desk: Desk) -> None:
    await desk.send_many(5)
    await desk.send_many(5, "bob")
    ada, bob = await desk.inbox("ada"), await desk.inbox("bob")
    places = [(ada, 2), (bob, 1), (ada, 4), (ada, 3)]
    positions = [
        ConsumerPosition("app", inbox.recipient, inbox.incarnation, UNFILTERED, revision)
        for inbox, revision in places
    ]
    positions.append(ConsumerPosition("app", "ada", FOREIGN, UNFILTERED, 5))
    positions.append(ConsumerPosition("app", "nobody", FOREIGN, UNFILTERED, 5))
    receipt = await desk.submit(AcknowledgePositions(tenant="default", positions=tuple(positions)))
    assert receipt.revisions == (4, 1, 4, 4, None, None)


async def test_a_position_from_before_there_was_an_inbox(desk: Desk, store: Store) -> None:
    """It is one as long as there is none; then it is behind everything, and no more worth recording."""
    unborn = Inbox("default", "ada", UNBORN)
    assert await desk.acknowledge(unborn, 0) == 0
    (position,) = await store.readers.positions("default", "app", ("ada",))
    assert (position.incarnation, position.revision) == (UNBORN, 0)
    await desk.send_many(3)
    inbox = await desk.inbox()
    assert await desk.acknowledge(inbox, 2) == 2
    assert await desk.acknowledge(unborn, 0) == 0
    (position,) = await store.readers.positions("default", "app", ("ada",))
    assert (position.incarnation, position.revision) == (inbox.incarnation, 2)


async def test_another_incarnation_replaces_a_position(desk: Desk, store: Store) -> None:
    """Even a higher one: the revisions of two incarnations cannot be compared."""
    await desk.send_many(5)
    before = await desk.inbox()
    assert await desk.acknowledge(before, 5) == 5
    # Erasing removes positions; a renewed incarnation keeps them.
    await desk.submit(
        RenewIncarnation(tenant="default", recipient="ada", incarnation=before.incarnation, revision=6)
    )
    after = await desk.inbox()
    assert await desk.acknowledge(before, 5) is None
    assert await desk.acknowledge(after, 2) == 2
    (position,) = await store.readers.positions("default", "app", ("ada",))
    assert (position.incarnation, position.revision) == (after.incarnation, 2)


@pytest.mark.parametrize(
    ("known", "ahead", "renewed"),
    [
        (True, 1, True),  # a cursor of this incarnation is ahead of the counter
        (True, 0, False),  # at the counter: nothing was lost
        (False, 1, False),  # somebody else has noticed before
    ],
)
async def test_an_incarnation_is_renewed_only_where_it_must_be(
    desk: Desk, commits: list[Committed], known: bool, ahead: int, renewed: bool
) -> None:
    await desk.send_many(3)
    before = await desk.inbox()
    incarnation = before.incarnation if known else FOREIGN
    command = RenewIncarnation(
        tenant="default", recipient="ada", incarnation=incarnation, revision=before.revision + ahead
    )
    await desk.submit(command)
    after = await desk.inbox()
    assert (after.incarnation != before.incarnation) is renewed
    assert (after.revision, after.counts) == (before.revision, before.counts)
    assert [change.incarnation for change in commits[-1].changes] == [after.incarnation] * renewed


async def test_a_position_ahead_of_the_counter_is_of_what_was_lost(
    desk: Desk, store: Store, commits: list[Committed]
) -> None:
    """The store was set back. Were it recorded, its consumer would miss what gets these revisions next."""
    await desk.send_many(3)
    before = await desk.inbox()
    assert await desk.acknowledge(before, 4) is None
    after = await desk.inbox()
    assert after.incarnation != before.incarnation
    assert [change.incarnation for change in commits[-1].changes] == [after.incarnation]
    assert await store.readers.positions("default", "app", ("ada",)) == []
    assert await desk.acknowledge(before, 3) is None
    assert await desk.acknowledge(after, 3) == 3


async def test_nobody_has_no_incarnation(desk: Desk) -> None:
    await desk.submit(RenewIncarnation(tenant="default", recipient="nobody", incarnation=FOREIGN, revision=1))


# --- the epoch of an embedded store -----------------------------------------------------------------------------------


async def write(folder: Path, clock: TurnedClock, commits: int) -> tuple[bytes, bytes]:
    """Opens the store, commits so often, and closes it; the epoch and the key of its cursors."""
    async with stored(folder, clock) as store:
        desk = Desk(store, clock)
        for _ in range(commits):
            await desk.send()
        return store.facts.epoch, store.facts.cursor_key


async def test_sqlite_keeps_its_epoch_when_it_is_opened_again(tmp_path: Path, clock: TurnedClock) -> None:
    first = await write(tmp_path, clock, 3)
    assert await write(tmp_path, clock, 0) == first
    assert await write(tmp_path, clock, 3) == first


async def test_sqlite_notices_that_it_was_set_back(tmp_path: Path, clock: TurnedClock) -> None:
    """Once: the epoch that begins then is kept."""
    database = tmp_path / "tocsin.db"
    epoch, key = await write(tmp_path, clock, 1)
    backup = shutil.copy(database, tmp_path / "backup.db")
    assert await write(tmp_path, clock, 5) == (epoch, key)

    shutil.copy(backup, database)
    renewed, same_key = await write(tmp_path, clock, 0)
    assert same_key == key
    assert renewed != epoch
    assert await write(tmp_path, clock, 0) == (renewed, key)
    assert await write(tmp_path, clock, 9) == (renewed, key)
    assert await write(tmp_path, clock, 0) == (renewed, key)


async def test_sqlite_takes_a_side_file_that_lags_or_is_missing(tmp_path: Path, clock: TurnedClock) -> None:
    first = await write(tmp_path, clock, 3)
    side_file = CommitCountFile(tmp_path / "tocsin.db")
    side_file.write(1)
    assert await write(tmp_path, clock, 1) == first
    (tmp_path / "tocsin.db.commits").unlink()
    assert side_file.read() == 0
    assert await write(tmp_path, clock, 1) == first


async def test_the_epoch_can_be_bumped(tmp_path: Path, clock: TurnedClock, database_url: str | None) -> None:
    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        epoch = await desk.submit(BumpEpoch(tenant=""))
        assert epoch != store.facts.epoch
        assert (await store.readers.facts()).epoch == epoch
    async with stored(tmp_path, clock, url=database_url) as store:
        assert store.facts.epoch == epoch
