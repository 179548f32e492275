"""Applies migrations. Never two processes at once: the store's lock file is held meanwhile."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from peewee import Database
from playhouse.migrations import Runner

_DIRECTORY = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration and when it was applied; None: it was not."""

    name: str
    applied_time: datetime | None


def migrate_up(database: Database) -> list[str]:
    """Applies what is pending; the names of what was applied."""
    return list(_runner(database).up())


def migrate_down(database: Database) -> list[str]:
    """Reverts the latest migration, and what it stored; its name."""
    return list(_runner(database).down())


def migration_status(database: Database) -> list[MigrationStatus]:
    """Every migration in order."""
    return [MigrationStatus(migration.name, migration.applied) for migration in _runner(database).status()]


def schema_version(database: Database) -> int:
    """Number of the latest applied migration; 0: none."""
    applied = _runner(database).applied()
    return max((int(name.partition("_")[0]) for name in applied), default=0)


def _runner(database: Database) -> Runner:
    return Runner(database, str(_DIRECTORY), table_name="schema_migrations")
