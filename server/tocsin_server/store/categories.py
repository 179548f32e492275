"""Categories: UpsertCategory and DeleteCategory, and what is read about categories."""

from collections.abc import Sequence

from msgspec import msgpack

from tocsin_server.domain.category import MAX_CATEGORIES, Category
from tocsin_server.domain.commands import DeleteCategory, UpsertCategory
from tocsin_server.domain.errors import CategoryNotFound, LimitReached, TocsinError
from tocsin_server.domain.value import replace
from tocsin_server.store.policies import category_of, locked_defaults
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Blob, Connection, Select
from tocsin_server.store.transaction import Transaction

_SELECT = Select((Blob("category"),), "FROM categories WHERE tenant = ? AND name {in_keys}")

_LIST = "SELECT category FROM categories WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?"

_COUNT = "SELECT count(*) FROM categories WHERE tenant = ?"

_UPSERT = """
    INSERT INTO categories (tenant, name, category) VALUES (?, ?, ?)
    ON CONFLICT (tenant, name) DO UPDATE SET category = excluded.category"""

_DELETE = "DELETE FROM categories WHERE tenant = ? AND name = ?"


def upsert_categories(
    transaction: Transaction, commands: Sequence[UpsertCategory]
) -> list[Category | TocsinError]:
    """Applies each command in turn."""
    return [_upsert(transaction, command) for command in commands]


def delete_categories(
    transaction: Transaction, commands: Sequence[DeleteCategory]
) -> list[Category | TocsinError]:
    """Applies each command in turn."""
    return [_delete(transaction, command) for command in commands]


def _upsert(transaction: Transaction, command: UpsertCategory) -> Category | TocsinError:
    connection, name = transaction.connection, command.category.name
    locked_defaults(transaction, command.tenant)
    before = categories_named(connection, command.tenant, (name,)).get(name)
    if before is None:
        (count,) = connection.execute(_COUNT, (command.tenant,)).fetchone()
        if count >= MAX_CATEGORIES:
            return LimitReached(f"A tenant has at most {MAX_CATEGORIES} categories.", limit=MAX_CATEGORIES)
    said = {field: getattr(command.category, field) for field in command.fields}
    after = replace(before or Category(name, create_time=transaction.now), **said)
    if after == before:
        return before
    after = replace(after, update_time=transaction.now)
    connection.execute(_UPSERT, (command.tenant, name, msgpack.encode(after)))
    transaction.policy_changed(command.tenant)
    return after


def _delete(transaction: Transaction, command: DeleteCategory) -> Category | TocsinError:
    connection = transaction.connection
    locked_defaults(transaction, command.tenant)
    before = categories_named(connection, command.tenant, (command.name,)).get(command.name)
    if before is None:
        return CategoryNotFound(category=command.name)
    connection.execute(_DELETE, (command.tenant, command.name))
    transaction.policy_changed(command.tenant)
    return before


def categories_named(connection: Connection, tenant: str, names: Sequence[str]) -> dict[str, Category]:
    """Those of the categories that are defined, by name."""
    found = [category_of(stored) for (stored,) in connection.select_in(_SELECT, (tenant,), names)]
    return {category.name: category for category in found}


class CategoryRows:
    """Implements `ports.CategoryReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def categories(self, tenant: str, after: str, limit: int) -> list[Category]:
        """See `ports.CategoryReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(_LIST, (tenant, after, limit)).fetchall()
        )
        return [category_of(stored) for (stored,) in rows]

    async def category(self, tenant: str, name: str) -> Category | None:
        """See `ports.CategoryReader`."""
        found = await self._pool.run(lambda connection: categories_named(connection, tenant, (name,)))
        return found.get(name)
