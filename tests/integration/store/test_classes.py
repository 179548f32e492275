"""Decision classes: written with the profile, once for all that are alike."""

import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import msgpack

from tests.integration.store.conftest import MakeDesk
from tests.support.desk import Desk
from tests.support.stores import TurnedClock, stored
from tocsin_server.domain.commands import ChangePreferences
from tocsin_server.domain.ids import hash_in_id, recipient_hash, recipient_part, time_part
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.preferences import Choice, Preferences, PreferencesChange
from tocsin_server.domain.recipient import Address, AddressState, Profile
from tocsin_server.domain.recipient_class import RecipientClass, class_of
from tocsin_server.domain.time import Micros
from tocsin_server.store import migrations

LISBON: Any = {"locale": "pt-PT", "time_zone": "Europe/Lisbon"}
MAIL = Address(Channel.EMAIL, "ada@example.com")
BOUNCED = Address(Channel.PUSH, "token", AddressState.BOUNCED)


def classes(folder: Path, url: str | None, tenant: str = "default") -> dict[str, RecipientClass]:
    """The class of each recipient of a tenant, as it is stored."""
    query = """SELECT r.recipient, c.value FROM recipients AS r
        LEFT JOIN recipient_classes AS c ON c.id = r.class_id AND c.tenant = r.tenant WHERE r.tenant = '{}'"""
    found = rows(folder, url, query.format(tenant))
    return {key: msgpack.decode(value or msgpack.encode({}), type=RecipientClass) for key, value in found}


def rows(folder: Path, url: str | None, query: str) -> list[tuple[Any, ...]]:
    if url is not None:
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()
    with closing(sqlite3.connect(folder / "tocsin.db")) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(
    ("profile", "preferences", "expected"),
    [
        # Nothing was said.
        (Profile(), Preferences(), RecipientClass()),
        # Attributes and the addresses themselves make no difference.
        (
            Profile("de", addresses=(MAIL,), attributes={"plan": "pro"}),
            Preferences(),
            RecipientClass("de", "", (Channel.EMAIL,)),
        ),
        # An address that cannot be used is none.
        (Profile("", "UTC", addresses=(BOUNCED,)), Preferences(), RecipientClass("", "UTC")),
        # Two addresses of a channel are as one, and their order is that of the channels.
        (
            Profile(addresses=(Address(Channel.SMS, "1"), MAIL, Address(Channel.EMAIL, "b"))),
            Preferences((Choice(False),)),
            RecipientClass(channels=(Channel.EMAIL, Channel.SMS), preferences=Preferences((Choice(False),))),
        ),
    ],
)
def test_a_class_is_what_decides(
    profile: Profile, preferences: Preferences, expected: RecipientClass
) -> None:
    assert class_of(profile, preferences) == expected
    # And a profile made from the class is of it.
    assert class_of(expected.profile, preferences) == expected


async def test_recipients_are_in_the_class_of_their_profile(
    desk: Desk, make_desk: MakeDesk, tmp_path: Path, database_url: str | None
) -> None:
    await desk.send("nobody")
    await desk.upsert("ada", **LISBON, addresses=(MAIL,))
    await desk.upsert("bob", **LISBON, addresses=(Address(Channel.EMAIL, "bob@example.com"), BOUNCED))
    await desk.upsert("carol", **LISBON)
    found = classes(tmp_path, database_url)
    assert found == {
        "nobody": RecipientClass(),
        "ada": RecipientClass(**LISBON, channels=(Channel.EMAIL,)),
        "bob": RecipientClass(**LISBON, channels=(Channel.EMAIL,)),
        "carol": RecipientClass(**LISBON),
    }
    assert len(rows(tmp_path, database_url, "SELECT id FROM recipient_classes")) == 2
    # A change of the profile is one of the class, and back again.
    await desk.upsert("ada", addresses=())
    assert classes(tmp_path, database_url)["ada"] == RecipientClass(**LISBON)
    await desk.upsert("ada", locale="", time_zone="")
    assert classes(tmp_path, database_url)["ada"] == RecipientClass()
    assert len(rows(tmp_path, database_url, "SELECT id FROM recipient_classes")) == 2


async def test_preferences_are_part_of_the_class(
    desk: Desk, tmp_path: Path, database_url: str | None
) -> None:
    muted = Preferences((Choice(False, "news"),))

    async def prefer(recipient: str) -> None:
        change = PreferencesChange(made=muted.choices)
        await desk.submit(
            ChangePreferences(tenant="default", recipient=recipient, change=change, undefined=True)
        )

    await desk.upsert("ada", **LISBON)
    for recipient in ("ada", "new"):
        await prefer(recipient)
    await desk.upsert("bob", locale="de")
    await prefer("bob")
    await desk.upsert("bob", locale="")
    assert classes(tmp_path, database_url) == {
        "ada": RecipientClass(**LISBON, preferences=muted),
        "new": RecipientClass(preferences=muted),
        "bob": RecipientClass(preferences=muted),
    }
    found = rows(tmp_path, database_url, "SELECT recipient, id_part FROM recipients")
    assert all(bytes(part) == recipient_part("default", key) for key, part in found)


async def test_a_database_can_make_ids(desk: Desk, tmp_path: Path, database_url: str | None) -> None:
    """From what it keeps of a recipient, however that came about."""
    await desk.send("ada")
    await desk.upsert("bob", locale="de")
    found = rows(tmp_path, database_url, "SELECT recipient, id_part FROM recipients ORDER BY recipient")
    assert [(key, bytes(part)) for key, part in found] == [
        (key, recipient_part("default", key)) for key in ("ada", "bob")
    ]
    now: Micros = 1_800_000_000_123_456
    id = time_part(now) + recipient_part("default", "ada") + bytes(6)
    assert hash_in_id(id) == recipient_hash("default", "ada")


async def test_what_was_there_before_is_filled_in(
    tmp_path: Path, clock: TurnedClock, database_url: str | None
) -> None:
    async with stored(tmp_path, clock, url=database_url) as store:
        desk = Desk(store, clock)
        await desk.upsert("ada", **LISBON, addresses=(MAIL, BOUNCED), attributes={"plan": "pro", "é": '"'})
        await desk.upsert("bob", **LISBON, addresses=(MAIL,))
        await desk.send("carol")
    asked = """SELECT r.recipient, r.id_part, r.attributes, r.locale, r.time_zone, c.digest, c.value
        FROM recipients r LEFT JOIN recipient_classes c ON c.id = r.class_id ORDER BY r.recipient"""
    before = rows(tmp_path, database_url, asked)
    undo(tmp_path, database_url)
    async with stored(tmp_path, clock, url=database_url):
        pass
    assert rows(tmp_path, database_url, asked) == before


def undo(folder: Path, url: str | None) -> None:
    """Makes the database what it was before the migration."""
    migration = import_module(f"{migrations.__name__}.0005_broadcasts")
    statements = [
        *(f"DROP TABLE {table}" for table in migration.TABLES),
        *(f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}" for table, column in migration.COLUMNS),
        "DELETE FROM schema_migrations WHERE name = '0005_broadcasts'",
    ]
    connection = psycopg.connect(url) if url is not None else sqlite3.connect(folder / "tocsin.db")
    with closing(connection):
        for statement in statements:
            connection.execute(statement)
        connection.commit()
