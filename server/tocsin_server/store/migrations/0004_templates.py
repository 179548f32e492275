"""Templates and their versions."""

from peewee import Database, PostgresqlDatabase
from playhouse.migrate import SchemaMigrator

from tocsin_server.store.tables import POSTGRES_WORDS, SQLITE_WORDS, Table

TABLES = {
    "templates": Table(
        "templates, and which of their versions is sent",
        "the tenant is deleted",
        ("EraseTenant",),
        """
            CREATE TABLE templates (
                tenant {text} NOT NULL,
                name {text} NOT NULL,
                active_version {integer} NOT NULL,
                latest_version {integer} NOT NULL,
                activation {integer} NOT NULL,
                create_time {integer} NOT NULL,
                update_time {integer} NOT NULL,
                PRIMARY KEY (tenant, name)
            ) {keyed}
        """,
    ),
    "template_versions": Table(
        "what a version of a template says, encoded; never changed",
        "the tenant is deleted",
        ("EraseTenant",),
        """
            CREATE TABLE template_versions (
                tenant {text} NOT NULL,
                name {text} NOT NULL,
                version {integer} NOT NULL,
                definition {blob} NOT NULL,
                create_time {integer} NOT NULL,
                PRIMARY KEY (tenant, name, version)
            ) {changing}
        """,
    ),
}


def up(migrator: SchemaMigrator, db: Database) -> None:
    """Creates the tables."""
    words = POSTGRES_WORDS if isinstance(db, PostgresqlDatabase) else SQLITE_WORDS
    for table in TABLES.values():
        db.execute_sql(table.create.format(**words))  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    """Drops them."""
    for table in TABLES:
        db.execute_sql(f"DROP TABLE {table}")  # type: ignore[no-untyped-call]
