"""Categories, and what a tenant says for all of its recipients."""

from peewee import Database, PostgresqlDatabase
from playhouse.migrate import SchemaMigrator

from tocsin_server.store.tables import POSTGRES_WORDS, SQLITE_WORDS, Table

TABLES = {
    "categories": Table(
        "categories that are defined",
        "they are deleted",
        ("DeleteCategory", "EraseTenant"),
        """
            CREATE TABLE categories (
                tenant {text} NOT NULL,
                name {text} NOT NULL,
                category {blob} NOT NULL,
                PRIMARY KEY (tenant, name)
            ) {keyed}
        """,
    ),
    "tenant_policies": Table(
        "the version of all that decides about a tenant's notifications, and the tenant's default preferences",
        "their tenant is deleted",
        ("EraseTenant",),
        """
            CREATE TABLE tenant_policies (
                tenant {text} PRIMARY KEY,
                version {integer} NOT NULL,
                preferences {blob}
            ) {keyed}
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
