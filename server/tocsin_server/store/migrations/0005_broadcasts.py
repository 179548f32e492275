"""Topics and broadcasts, and what these need to know of recipients: what filters ask, classes, a part of their ids."""

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
        "who is, or was, a member of a topic, and from when to when",
        "it has ended and no unfinished broadcast is to reach it, or the topic or the recipient is deleted",
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
    "broadcasts": Table(
        "broadcasts, and how far they have got",
        "it has finished and none of its entries is left",
        ("PruneBroadcasts", "EraseTenant"),
        """
            CREATE TABLE broadcasts (
                pk {rising},
                tenant {text} NOT NULL,
                id {blob} NOT NULL,
                audience {blob} NOT NULL,
                topic_id {integer},
                filter {text},
                spec {blob} NOT NULL,
                content {blob},
                trace {blob} NOT NULL,
                state {integer} NOT NULL,
                progress {blob} NOT NULL,
                position {text} NOT NULL,
                create_time {integer} NOT NULL,
                start_time {integer} NOT NULL,
                finish_time {integer},
                wake_time {integer},
                retention {integer},
                failure {text} NOT NULL
            ) {changing}
        """,
    ),
    "broadcast_classes": Table(
        "what a broadcast decided about a class of recipients, and what their entries share; the latest is current",
        "the broadcast is removed",
        ("PruneBroadcasts", "EraseTenant"),
        """
            CREATE TABLE broadcast_classes (
                pk {rising},
                tenant {text} NOT NULL,
                broadcast_pk {integer} NOT NULL,
                class_id {integer} NOT NULL,
                current {integer} NOT NULL,
                valid_until {integer} NOT NULL,
                mode {integer} NOT NULL,
                decisions {blob} NOT NULL,
                category {text} NOT NULL,
                priority {integer} NOT NULL,
                thread {text} NOT NULL,
                expire_time {integer},
                content_id {integer},
                content_digest {blob},
                envelope {blob} NOT NULL,
                trace {blob} NOT NULL,
                recipient_count {integer} NOT NULL
            ) {changing}
        """,
    ),
    "broadcast_exceptions": Table(
        "whether a recipient whose profile has changed since is in a broadcast's audience",
        "the broadcast or the recipient is removed",
        ("PruneBroadcasts", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE broadcast_exceptions (
                broadcast_pk {integer} NOT NULL,
                recipient {text} NOT NULL,
                included {integer} NOT NULL,
                tenant {text} NOT NULL,
                PRIMARY KEY (broadcast_pk, recipient)
            ) {keyed}
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
    # Of an entry of a broadcast: the row of broadcast_classes that has what it shares with others.
    ("notifications", "broadcast_class_pk {integer}"),
)

INDEXES = (
    "CREATE UNIQUE INDEX topics_by_name ON topics (tenant, topic) WHERE delete_time IS NULL",
    "CREATE INDEX topics_by_tenant ON topics (tenant)",
    "CREATE INDEX topics_by_delete_time ON topics (delete_time) WHERE delete_time IS NOT NULL",
    "CREATE INDEX topic_members_by_recipient ON topic_members (tenant, recipient)",
    "CREATE INDEX topic_members_by_remove_time ON topic_members (topic_id, recipient) WHERE remove_time IS NOT NULL",
    "CREATE UNIQUE INDEX broadcasts_by_id ON broadcasts (tenant, id)",
    # It wakes when it begins, while it is carried out, and when its entries expire.
    "CREATE INDEX broadcasts_by_wake_time ON broadcasts (wake_time) WHERE wake_time IS NOT NULL",
    "CREATE INDEX broadcasts_by_topic ON broadcasts (topic_id) WHERE finish_time IS NULL",
    "CREATE INDEX broadcasts_unfinished ON broadcasts (tenant) WHERE finish_time IS NULL",
    "CREATE INDEX broadcasts_by_finish_time ON broadcasts (finish_time) WHERE finish_time IS NOT NULL",
    "CREATE UNIQUE INDEX broadcast_classes_current ON broadcast_classes (broadcast_pk, class_id) WHERE current = 1",
    "CREATE INDEX broadcast_classes_by_broadcast ON broadcast_classes (tenant, broadcast_pk)",
    "CREATE INDEX broadcast_exceptions_by_recipient ON broadcast_exceptions (tenant, recipient)",
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
