"""The tables of the backbone. Each says what it keeps, for how long, and what removes its rows."""

from peewee import Database, PostgresqlDatabase
from playhouse.migrate import SchemaMigrator

from tocsin_server.store.tables import FOR_EVER, POSTGRES_WORDS, SQLITE_WORDS, Table

TABLES = {
    "store_facts": Table(
        "facts about the store itself",
        FOR_EVER,
        (),
        """
            CREATE TABLE store_facts (
                name {text} PRIMARY KEY,
                value {blob} NOT NULL
            ) {keyed}
        """,
    ),
    "tenants": Table(
        "tenants, what they may use and what they use",
        "they are deleted",
        ("EraseTenant",),
        """
            CREATE TABLE tenants (
                name {text} PRIMARY KEY,
                display_name {text} NOT NULL,
                state {integer} NOT NULL,
                quotas {blob} NOT NULL,
                recipient_count {integer} NOT NULL DEFAULT 0,
                pending_count {integer} NOT NULL DEFAULT 0,
                create_time {integer} NOT NULL
            ) {keyed}
        """,
    ),
    "api_keys": Table(
        "API keys by the hash of their secret, revoked ones too",
        "their tenant is deleted",
        ("EraseTenant",),
        """
            CREATE TABLE api_keys (
                id {text} PRIMARY KEY,
                tenant {text} NOT NULL,
                secret_hash {blob} NOT NULL UNIQUE,
                display_name {text} NOT NULL,
                scopes {text} NOT NULL,
                recipients {text} NOT NULL,
                categories {text} NOT NULL,
                create_time {integer} NOT NULL,
                expire_time {integer},
                revoke_time {integer}
            ) {keyed}
        """,
    ),
    "recipients": Table(
        "profiles",
        "the recipient is deleted",
        ("EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE recipients (
                tenant {text} NOT NULL,
                recipient {text} NOT NULL,
                profile {blob} NOT NULL,
                create_time {integer} NOT NULL,
                update_time {integer} NOT NULL,
                PRIMARY KEY (tenant, recipient)
            ) {keyed}
        """,
    ),
    "inboxes": Table(
        "counter rows: whoever writes to an inbox locks its row",
        "the recipient is deleted",
        ("EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE inboxes (
                tenant {text} NOT NULL,
                recipient {text} NOT NULL,
                incarnation {blob} NOT NULL,
                revision {integer} NOT NULL,
                floor {integer} NOT NULL,
                unread {integer} NOT NULL,
                unseen {integer} NOT NULL,
                total {integer} NOT NULL,
                PRIMARY KEY (tenant, recipient)
            ) {keyed}
        """,
    ),
    "notifications": Table(
        "notifications in every state; an entry of an inbox is one with a status and a revision",
        "`prune_after` its last change, of which the last one is that it expires, by `retention` at the latest",
        ("PruneInboxes", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE notifications (
                pk {ever_rising},
                tenant {text} NOT NULL,
                id {blob} NOT NULL,
                recipient {text} NOT NULL,
                category {text} NOT NULL,
                priority {integer} NOT NULL,
                thread {text} NOT NULL,
                state {integer} NOT NULL,
                status {integer},
                revision {integer} NOT NULL,
                content_revision {integer} NOT NULL,
                content_id {integer},
                envelope {blob} NOT NULL,
                trace {blob} NOT NULL,
                create_time {integer} NOT NULL,
                change_time {integer} NOT NULL,
                expire_time {integer},
                deliver_time {integer},
                seen_time {integer},
                read_time {integer},
                archived_time {integer},
                snoozed_until {integer},
                final_time {integer},
                interacted_time {integer}
            ) {changing}
        """,
    ),
    "contents": Table(
        "encoded contents",
        "its notification does not show it any more",
        (
            "CancelNotifications",
            "ReviseNotification",
            "FireTimer",
            "ExpireEntries",
            "PruneBroadcasts",
            "EraseRecipient",
            "EraseTenant",
        ),
        """
            CREATE TABLE contents (
                id {key},
                body {blob} NOT NULL
            )
        """,
    ),
    "requests": Table(
        "request ids and their receipts",
        "`request_id_retention` has passed",
        ("PruneHistory", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE requests (
                pk {rising},
                tenant {text} NOT NULL,
                space {integer} NOT NULL,
                request_id {text} NOT NULL,
                fingerprint {blob} NOT NULL,
                receipt {blob} NOT NULL,
                recipient {text},
                create_time {integer} NOT NULL
            )
        """,
    ),
    "events": Table(
        "every step of a notification's life but live pushes",
        "`event_retention` has passed, or its notification is removed",
        ("PruneHistory", "PruneInboxes", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE events (
                pk {rising},
                tenant {text} NOT NULL,
                notification_id {blob} NOT NULL,
                kind {integer} NOT NULL,
                time {integer} NOT NULL,
                revision {integer} NOT NULL,
                detail {blob}
            )
        """,
    ),
    "timers": Table(
        "what happens at a time",
        "it has happened, or its notification is removed",
        ("FireTimer", "PruneInboxes", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE timers (
                pk {rising},
                tenant {text} NOT NULL,
                kind {integer} NOT NULL,
                due_time {integer} NOT NULL,
                recipient {text} NOT NULL,
                notification_id {blob} NOT NULL
            )
        """,
    ),
    "consumer_positions": Table(
        "how far named consumers have got",
        "`position_retention` after the last acknowledgement",
        ("PruneHistory", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE consumer_positions (
                tenant {text} NOT NULL,
                consumer {text} NOT NULL,
                recipient {text} NOT NULL,
                filter {blob} NOT NULL,
                incarnation {blob} NOT NULL,
                revision {integer} NOT NULL,
                update_time {integer} NOT NULL,
                PRIMARY KEY (tenant, consumer, recipient, filter)
            ) {keyed}
        """,
    ),
}

INDEXES = (
    "CREATE UNIQUE INDEX notifications_by_id ON notifications (tenant, id)",
    "CREATE INDEX notifications_by_revision ON notifications (tenant, recipient, revision)",
    """CREATE INDEX notifications_by_status ON notifications (tenant, recipient, status, content_revision)
        WHERE status IS NOT NULL""",
    "CREATE INDEX notifications_by_thread ON notifications (tenant, recipient, thread) WHERE thread <> ''",
    "CREATE UNIQUE INDEX requests_by_id ON requests (tenant, space, request_id)",
    "CREATE INDEX requests_by_recipient ON requests (tenant, recipient) WHERE recipient IS NOT NULL",
    "CREATE INDEX events_by_notification ON events (tenant, notification_id)",
    "CREATE INDEX timers_by_due_time ON timers (due_time)",
    "CREATE INDEX timers_by_notification ON timers (tenant, notification_id)",
    "CREATE INDEX api_keys_by_tenant ON api_keys (tenant, id)",
    "CREATE INDEX consumer_positions_by_recipient ON consumer_positions (tenant, recipient)",
    "CREATE INDEX consumer_positions_by_time ON consumer_positions (update_time)",
)


POSTGRES_SEQUENCE = "CREATE SEQUENCE content_ids AS bigint INCREMENT BY 1000"
"""Each value stands for as many ids of contents, which a writer then gives out by itself."""


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Creates every table and index."""
    postgres = isinstance(db, PostgresqlDatabase)
    words = POSTGRES_WORDS if postgres else SQLITE_WORDS
    tables = (table.create.format(**words) for table in TABLES.values())
    for statement in (*tables, *INDEXES, *((POSTGRES_SEQUENCE,) if postgres else ())):
        db.execute_sql(statement)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    """Drops every table, and with it everything that was stored."""
    for table in TABLES:
        db.execute_sql(f"DROP TABLE {table}")  # type: ignore[no-untyped-call]
    if isinstance(db, PostgresqlDatabase):
        db.execute_sql("DROP SEQUENCE content_ids")  # type: ignore[no-untyped-call]
