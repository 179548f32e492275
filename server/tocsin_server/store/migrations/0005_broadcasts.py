"""Topics, and what broadcasts need to know of recipients: what filters ask, their classes, a part of their ids."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any
from zlib import crc32

from msgspec import json, msgpack
from peewee import Database, PostgresqlDatabase
from playhouse.migrate import SchemaMigrator

from tocsin_server.store.tables import POSTGRES_WORDS, SQLITE_WORDS, Table

TABLES = {
    "topics": Table(
        "topics; one that is deleted is here until its members are removed",
        "it is deleted",
        ("EraseTopic", "EraseTenant"),
        """
            CREATE TABLE topics (
                id {rising},
                tenant {text} NOT NULL,
                topic {text} NOT NULL,
                display_name {text} NOT NULL,
                member_count {integer} NOT NULL DEFAULT 0,
                create_time {integer} NOT NULL,
                delete_time {integer}
            )
        """,
    ),
    "topic_members": Table(
        "who is a member of a topic, and since when",
        "it ends, or the topic or the recipient is deleted",
        ("RemoveMembers", "EraseTopic", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE topic_members (
                topic_id {integer} NOT NULL,
                recipient {text} NOT NULL,
                create_time {integer} NOT NULL,
                remove_time {integer},
                tenant {text} NOT NULL,
                PRIMARY KEY (topic_id, recipient, create_time)
            ) {keyed}
        """,
    ),
    "recipient_classes": Table(
        "what many recipients have in common that decides what reaches them",
        "the tenant is deleted",
        ("EraseTenant",),
        """
            CREATE TABLE recipient_classes (
                id {rising},
                tenant {text} NOT NULL,
                digest {blob} NOT NULL,
                value {blob} NOT NULL
            )
        """,
    ),
}

COLUMNS = (
    # The ninth and tenth byte of the ids of a recipient's notifications, for ids that are made by SQL.
    ("recipients", "id_part {blob}"),
    # Of recipient_classes; 0: nothing was said that decides anything.
    ("recipients", "class_id {integer} NOT NULL DEFAULT 0"),
    # What filters ask for, from the profile: JSON, and texts; NULL where nothing was said.
    ("recipients", "attributes {text}"),
    ("recipients", "locale {text}"),
    ("recipients", "time_zone {text}"),
)

INDEXES = (
    "CREATE UNIQUE INDEX topics_by_name ON topics (tenant, topic) WHERE delete_time IS NULL",
    "CREATE INDEX topics_by_tenant ON topics (tenant)",
    "CREATE INDEX topics_by_delete_time ON topics (delete_time) WHERE delete_time IS NOT NULL",
    "CREATE INDEX topic_members_by_recipient ON topic_members (tenant, recipient)",
    "CREATE INDEX topic_members_by_remove_time ON topic_members (topic_id, recipient) WHERE remove_time IS NOT NULL",
    "CREATE UNIQUE INDEX recipient_classes_by_digest ON recipient_classes (tenant, digest)",
)

_ROWS_AT_ONCE = 1_000

_SELECT = """
    SELECT tenant, recipient, profile FROM recipients WHERE tenant > {p} OR (tenant = {p} AND recipient > {p})
    ORDER BY tenant, recipient LIMIT {limit}"""

_UPDATE = """
    UPDATE recipients SET id_part = {p}, class_id = {p}, attributes = {p}, locale = {p}, time_zone = {p}
    WHERE tenant = {p} AND recipient = {p}"""

_FIND_CLASS = "SELECT id FROM recipient_classes WHERE tenant = {p} AND digest = {p}"
_ADD_CLASS = "INSERT INTO recipient_classes (tenant, digest, value) VALUES ({p}, {p}, {p}) RETURNING id"


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Creates the tables, columns and indexes, and fills the columns of recipients that there are."""
    words = POSTGRES_WORDS if isinstance(db, PostgresqlDatabase) else SQLITE_WORDS
    columns = (f"ALTER TABLE {table} ADD COLUMN {column}" for table, column in COLUMNS)
    for statement in (*(table.create for table in TABLES.values()), *columns, *INDEXES):
        db.execute_sql(statement.format(**words))  # type: ignore[no-untyped-call]
    _fill(db)


def down(migrator: SchemaMigrator, db: Database) -> None:
    """Drops them."""
    for table in TABLES:
        db.execute_sql(f"DROP TABLE {table}")  # type: ignore[no-untyped-call]
    for table, column in COLUMNS:
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column.partition(' ')[0]}")  # type: ignore[no-untyped-call]


def _fill(db: Database) -> None:
    """As the store of this version does it, which later ones may do otherwise."""
    classes: dict[tuple[str, bytes], int] = {}
    for tenant, recipient, encoded in _recipients(db):
        profile = msgpack.decode(encoded)
        locale, time_zone = profile.get("locale", ""), profile.get("time_zone", "")
        channels = {each["channel"] for each in profile.get("addresses", ()) if each.get("state", 1) == 1}
        class_id = 0
        if locale or time_zone or channels:
            said: dict[str, Any] = {"locale": locale, "time_zone": time_zone, "channels": sorted(channels)}
            value = msgpack.encode({name: each for name, each in said.items() if each})
            digest = blake2b(value, digest_size=16).digest()
            class_id = classes.get((tenant, digest)) or _class_id(db, tenant, digest, value)
            classes[tenant, digest] = class_id
        hashed = crc32(f"{tenant}\0{recipient}".encode()) >> 20
        attributes = profile.get("attributes")
        _run(
            db,
            _UPDATE,
            (0b10 << 14 | hashed << 2).to_bytes(2, "big"),
            class_id,
            json.encode(attributes).decode() if attributes else None,
            locale or None,
            time_zone or None,
            tenant,
            recipient,
        )


def _recipients(db: Database) -> Iterator[tuple[str, str, bytes]]:
    place = ("", "")
    while True:
        rows = _run(db, _SELECT, place[0], *place)
        yield from ((tenant, recipient, bytes(profile)) for tenant, recipient, profile in rows)
        if len(rows) < _ROWS_AT_ONCE:
            return
        place = rows[-1][:2]


def _class_id(db: Database, tenant: str, digest: bytes, value: bytes) -> int:
    rows = _run(db, _FIND_CLASS, tenant, digest) or _run(db, _ADD_CLASS, tenant, digest, value)
    return int(rows[0][0])


def _run(db: Database, statement: str, *values: object) -> list[Any]:
    text = statement.format(p="%s" if isinstance(db, PostgresqlDatabase) else "?", limit=_ROWS_AT_ONCE)
    cursor = db.execute_sql(text, values)  # type: ignore[no-untyped-call]
    return list(cursor.fetchall()) if cursor.description else []
