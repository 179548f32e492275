"""What decisions need: versions of profiles, preferences of recipients, slots of throttles, and deliveries."""

from peewee import Database, PostgresqlDatabase
from playhouse.migrate import SchemaMigrator

from tocsin_server.store.tables import POSTGRES_WORDS, SQLITE_WORDS, Table

TABLES = {
    "throttle_slots": Table(
        "what throttles count: a row for each interrupting channel of a notification, at its due time",
        "the longest window of a throttle has passed since",
        ("PruneHistory", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE throttle_slots (
                tenant {text} NOT NULL,
                recipient {text} NOT NULL,
                due_time {integer} NOT NULL,
                notification_id {blob} NOT NULL,
                channel {integer} NOT NULL,
                category {text} NOT NULL,
                PRIMARY KEY (tenant, recipient, due_time, notification_id, channel)
            ) {keyed}
        """,
    ),
    "deliveries": Table(
        "what goes out on channels other than the inbox, and how far it has got; a row an address",
        "its notification is removed",
        ("PruneInboxes", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE deliveries (
                pk {rising},
                tenant {text} NOT NULL,
                notification_id {blob} NOT NULL,
                recipient {text} NOT NULL,
                channel {integer} NOT NULL,
                address {text} NOT NULL,
                provider {text} NOT NULL,
                state {integer} NOT NULL,
                due_time {integer} NOT NULL,
                claim_time {integer},
                fence {integer} NOT NULL,
                attempts {integer} NOT NULL,
                body_id {integer},
                expire_time {integer},
                detail {text} NOT NULL,
                message_id {text} NOT NULL,
                create_time {integer} NOT NULL,
                change_time {integer} NOT NULL
            ) {changing}
        """,
    ),
}

COLUMNS = (
    ("inboxes", "profile_version {integer} NOT NULL DEFAULT 0"),
    ("recipients", "preferences {blob}"),
    # What a sender said, kept whole while parts of it wait for a time.
    ("notifications", "spec {blob}"),
    # Whether it was ever given deliveries: what ends a notification that has none need not look for them.
    ("notifications", "has_deliveries {integer} NOT NULL DEFAULT 0"),
)

INDEXES = (
    # A delivery can be claimed from its claim time on: when it is due, when it is to be tried again, when the lease of
    # whoever claimed it is over. Without one it waits for a timer, or is done with.
    "CREATE INDEX deliveries_by_claim_time ON deliveries (claim_time) WHERE claim_time IS NOT NULL",
    "CREATE INDEX deliveries_by_notification ON deliveries (tenant, notification_id)",
    "CREATE INDEX throttle_slots_by_time ON throttle_slots (due_time)",
)


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Creates the tables, columns and indexes."""
    words = POSTGRES_WORDS if isinstance(db, PostgresqlDatabase) else SQLITE_WORDS
    columns = (f"ALTER TABLE {table} ADD COLUMN {column}" for table, column in COLUMNS)
    for statement in (*(table.create for table in TABLES.values()), *columns, *INDEXES):
        db.execute_sql(statement.format(**words))  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    """Drops them."""
    for table in TABLES:
        db.execute_sql(f"DROP TABLE {table}")  # type: ignore[no-untyped-call]
    for table, column in COLUMNS:
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column.partition(' ')[0]}")  # type: ignore[no-untyped-call]
