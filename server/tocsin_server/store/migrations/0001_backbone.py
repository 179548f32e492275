"""The tables of the backbone. Each says what it keeps, for how long, and what removes its rows."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

from tocsin_server.store.tables import FOR_EVER, Table

TABLES = {
    "store_facts": Table(
        "facts about the store itself",
        FOR_EVER,
        (),
        """
            CREATE TABLE store_facts (
                name TEXT PRIMARY KEY,
                value BLOB NOT NULL
            ) WITHOUT ROWID
        """,
    ),
    "tenants": Table(
        "tenants, what they may use and what they use",
        "they are deleted",
        ("EraseTenant",),
        """
            CREATE TABLE tenants (
                name TEXT PRIMARY KEY,
                display_name TEXT NOT NULL,
                state INTEGER NOT NULL,
                quotas BLOB NOT NULL,
                recipient_count INTEGER NOT NULL DEFAULT 0,
                pending_count INTEGER NOT NULL DEFAULT 0,
                create_time INTEGER NOT NULL
            ) WITHOUT ROWID
        """,
    ),
    "api_keys": Table(
        "API keys by the hash of their secret, revoked ones too",
        "their tenant is deleted",
        ("EraseTenant",),
        """
            CREATE TABLE api_keys (
                id TEXT PRIMARY KEY,
                tenant TEXT NOT NULL,
                secret_hash BLOB NOT NULL UNIQUE,
                display_name TEXT NOT NULL,
                scopes TEXT NOT NULL,
                recipients TEXT NOT NULL,
                categories TEXT NOT NULL,
                create_time INTEGER NOT NULL,
                expire_time INTEGER,
                revoke_time INTEGER
            ) WITHOUT ROWID
        """,
    ),
    "recipients": Table(
        "profiles",
        "the recipient is deleted",
        ("EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE recipients (
                tenant TEXT NOT NULL,
                recipient TEXT NOT NULL,
                profile BLOB NOT NULL,
                create_time INTEGER NOT NULL,
                update_time INTEGER NOT NULL,
                PRIMARY KEY (tenant, recipient)
            ) WITHOUT ROWID
        """,
    ),
    "inboxes": Table(
        "counter rows: whoever writes to an inbox locks its row",
        "the recipient is deleted",
        ("EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE inboxes (
                tenant TEXT NOT NULL,
                recipient TEXT NOT NULL,
                incarnation BLOB NOT NULL,
                revision INTEGER NOT NULL,
                floor INTEGER NOT NULL,
                unread INTEGER NOT NULL,
                unseen INTEGER NOT NULL,
                total INTEGER NOT NULL,
                PRIMARY KEY (tenant, recipient)
            ) WITHOUT ROWID
        """,
    ),
    "notifications": Table(
        "notifications in every state; an entry of an inbox is one with a status and a revision",
        "`prune_after` its last change, of which the last one is that it expires, by `retention` at the latest",
        ("PruneInboxes", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE notifications (
                pk INTEGER PRIMARY KEY AUTOINCREMENT,
                tenant TEXT NOT NULL,
                id BLOB NOT NULL,
                recipient TEXT NOT NULL,
                category TEXT NOT NULL,
                priority INTEGER NOT NULL,
                thread TEXT NOT NULL,
                state INTEGER NOT NULL,
                status INTEGER,
                revision INTEGER NOT NULL,
                content_revision INTEGER NOT NULL,
                content_id INTEGER,
                envelope BLOB NOT NULL,
                trace BLOB NOT NULL,
                create_time INTEGER NOT NULL,
                change_time INTEGER NOT NULL,
                expire_time INTEGER,
                deliver_time INTEGER,
                seen_time INTEGER,
                read_time INTEGER,
                archived_time INTEGER,
                snoozed_until INTEGER,
                final_time INTEGER,
                interacted_time INTEGER
            )
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
            "EraseRecipient",
            "EraseTenant",
        ),
        """
            CREATE TABLE contents (
                id INTEGER PRIMARY KEY,
                body BLOB NOT NULL
            )
        """,
    ),
    "requests": Table(
        "request ids and their receipts",
        "`request_id_retention` has passed",
        ("PruneHistory", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE requests (
                pk INTEGER PRIMARY KEY,
                tenant TEXT NOT NULL,
                space INTEGER NOT NULL,
                request_id TEXT NOT NULL,
                fingerprint BLOB NOT NULL,
                receipt BLOB NOT NULL,
                recipient TEXT,
                create_time INTEGER NOT NULL
            )
        """,
    ),
    "events": Table(
        "every step of a notification's life but live pushes",
        "`event_retention` has passed",
        ("PruneHistory", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE events (
                pk INTEGER PRIMARY KEY,
                tenant TEXT NOT NULL,
                notification_id BLOB NOT NULL,
                kind INTEGER NOT NULL,
                time INTEGER NOT NULL,
                revision INTEGER NOT NULL,
                detail BLOB
            )
        """,
    ),
    "timers": Table(
        "what happens at a time",
        "it has happened, or its notification is removed",
        ("FireTimer", "PruneInboxes", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE timers (
                pk INTEGER PRIMARY KEY,
                tenant TEXT NOT NULL,
                kind INTEGER NOT NULL,
                due_time INTEGER NOT NULL,
                recipient TEXT NOT NULL,
                notification_id BLOB NOT NULL
            )
        """,
    ),
    "consumer_positions": Table(
        "how far named consumers have got",
        "`position_retention` after the last acknowledgement",
        ("PruneHistory", "EraseRecipient", "EraseTenant"),
        """
            CREATE TABLE consumer_positions (
                tenant TEXT NOT NULL,
                consumer TEXT NOT NULL,
                recipient TEXT NOT NULL,
                filter BLOB NOT NULL,
                incarnation BLOB NOT NULL,
                revision INTEGER NOT NULL,
                update_time INTEGER NOT NULL,
                PRIMARY KEY (tenant, consumer, recipient, filter)
            ) WITHOUT ROWID
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


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Creates every table and index."""
    for statement in (*(table.create for table in TABLES.values()), *INDEXES):
        db.execute_sql(statement)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    """Drops every table, and with it everything that was stored."""
    for table in TABLES:
        db.execute_sql(f"DROP TABLE {table}")  # type: ignore[no-untyped-call]
