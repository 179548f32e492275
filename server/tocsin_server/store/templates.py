"""Templates: CreateTemplateVersion and ActivateTemplateVersion, and what is read about them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tocsin_server.domain.commands import ActivateTemplateVersion, CreateTemplateVersion, TemplateReceipt
from tocsin_server.domain.errors import (
    TemplateLimitExceeded,
    TemplateNotFound,
    TemplateVersionNotFound,
    TocsinError,
)
from tocsin_server.domain.template import MAX_TEMPLATES, MAX_VERSIONS, StoredVersion, Template
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import replace
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Connection
from tocsin_server.store.transaction import Transaction

_COLUMNS = "name, active_version, latest_version, activation, create_time, update_time"

_SELECT = f"SELECT {_COLUMNS} FROM templates WHERE tenant = ?"

_LOCK = f"{_SELECT} AND name {{in_keys}} {{for_update}}"

_COUNT = "SELECT count(*) FROM templates WHERE tenant = ?"

_INSERT = f"""
    INSERT INTO templates (tenant, {_COLUMNS}) VALUES (?, ?, 0, 0, 0, ?, ?)
    ON CONFLICT DO NOTHING"""

_UPDATE = """
    UPDATE templates SET active_version = ?, latest_version = ?, activation = ?, update_time = ?
    WHERE tenant = ? AND name = ?"""

_INSERT_VERSION = """
    INSERT INTO template_versions (tenant, name, version, definition, create_time) VALUES (?, ?, ?, ?, ?)"""

_SELECT_VERSION = """
    SELECT version, definition, create_time FROM template_versions
    WHERE tenant = ? AND name = ? AND version = ?"""

_SELECT_VERSIONS = """
    SELECT version, create_time FROM template_versions WHERE tenant = ? AND name = ? ORDER BY version DESC"""


def create_template_versions(
    transaction: Transaction, commands: Sequence[CreateTemplateVersion]
) -> list[TemplateReceipt | TocsinError]:
    """Creates each."""
    locked = _Locked(transaction)
    locked.lock(commands, create=True)
    return [_create(locked, command) for command in commands]


def activate_template_versions(
    transaction: Transaction, commands: Sequence[ActivateTemplateVersion]
) -> list[Template | TocsinError]:
    """Activates each."""
    locked = _Locked(transaction)
    locked.lock(commands, create=False)
    return [_activate(locked, command) for command in commands]


class _Locked:
    """The templates of a transaction's commands, locked in sorted order."""

    def __init__(self, transaction: Transaction) -> None:
        self._now = transaction.now
        self.connection = transaction.connection
        self._templates: dict[tuple[str, str], Template] = {}
        self._full: set[tuple[str, str]] = set()

    def lock(
        self, commands: Sequence[CreateTemplateVersion | ActivateTemplateVersion], *, create: bool
    ) -> None:
        """Those of the commands; they are created if they are to be, and there is room for them."""
        for tenant, name in sorted({(command.tenant, command.name) for command in commands}):
            rows = self.connection.rows_in(_LOCK, (tenant,), (name,))
            if not rows and create:
                if self.connection.execute(_COUNT, (tenant,)).fetchone()[0] >= MAX_TEMPLATES:
                    self._full.add((tenant, name))
                    continue
                self.connection.execute(_INSERT, (tenant, name, self._now, self._now))
                rows = self.connection.rows_in(_LOCK, (tenant,), (name,))
            if rows:
                self._templates[tenant, name] = Template(*rows[0])

    def template(self, tenant: str, name: str) -> Template:
        """As the transaction has left it so far. Raises TemplateNotFound, TemplateLimitExceeded."""
        if (tenant, name) in self._full:
            raise TemplateLimitExceeded(
                "The tenant has as many templates as it may.", limit="templates", max=MAX_TEMPLATES
            )
        found = self._templates.get((tenant, name))
        if found is None:
            raise TemplateNotFound(template=name)
        return found

    def keep(self, tenant: str, template: Template) -> Template:
        """Makes the value the template's row."""
        kept = replace(template, update_time=self._now)
        self._templates[tenant, kept.name] = kept
        row = (kept.active_version, kept.latest_version, kept.activation, kept.update_time, tenant, kept.name)
        self.connection.execute(_UPDATE, row)
        return kept

    def add_version(self, tenant: str, template: Template, definition: bytes) -> None:
        """The latest version's row."""
        row = (tenant, template.name, template.latest_version, definition, self._now)
        self.connection.execute(_INSERT_VERSION, row)


def _create(locked: _Locked, command: CreateTemplateVersion) -> TemplateReceipt | TocsinError:
    tenant = command.tenant
    try:
        template = locked.template(tenant, command.name)
    except TocsinError as error:
        return error
    number = template.latest_version + 1
    if number > MAX_VERSIONS:
        return TemplateLimitExceeded(
            "The template has as many versions as it may.", limit="versions", max=MAX_VERSIONS
        )
    template = replace(template, latest_version=number)
    if command.activate:
        template = replace(template, active_version=number, activation=template.activation + 1)
    locked.add_version(tenant, template, command.definition)
    return TemplateReceipt(locked.keep(tenant, template), number)


def _activate(locked: _Locked, command: ActivateTemplateVersion) -> Template | TocsinError:
    try:
        template = locked.template(command.tenant, command.name)
    except TocsinError as error:
        return error
    # Versions are numbered without gaps, and none is ever removed.
    if not 1 <= command.version <= template.latest_version:
        return TemplateVersionNotFound(template=command.name, version=command.version)
    if template.active_version == command.version:
        return template
    activated = replace(template, active_version=command.version, activation=template.activation + 1)
    return locked.keep(command.tenant, activated)


class TemplateRows:
    """Implements `ports.TemplateReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def templates(self, tenant: str, after: str, limit: int) -> list[Template]:
        """See `ports.TemplateReader`."""
        query = f"{_SELECT} AND name > ? ORDER BY name LIMIT ?"
        rows = await self._pool.run(
            lambda connection: connection.execute(query, (tenant, after, limit)).fetchall()
        )
        return [Template(*row) for row in rows]

    async def template(self, tenant: str, name: str) -> Template | None:
        """See `ports.TemplateReader`."""
        query = f"{_SELECT} AND name = ?"
        row = await self._pool.run(lambda connection: connection.execute(query, (tenant, name)).fetchone())
        return Template(*row) if row else None

    async def named_templates(self, names: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], Template]:
        """See `ports.TemplateReader`."""

        def read(connection: Connection) -> dict[tuple[str, str], Template]:
            return {
                (tenant, row[0]): Template(*row)
                for tenant, wanted in names.items()
                for row in connection.rows_in(f"{_SELECT} AND name {{in_keys}}", (tenant,), wanted)
            }

        return await self._pool.run(read)

    async def template_version(self, tenant: str, name: str, number: int) -> StoredVersion | None:
        """See `ports.TemplateReader`."""
        row: tuple[Any, ...] | None = await self._pool.run(
            lambda connection: connection.execute(_SELECT_VERSION, (tenant, name, number)).fetchone()
        )
        return StoredVersion(row[0], bytes(row[1]), row[2]) if row else None

    async def template_versions(self, tenant: str, name: str) -> list[tuple[int, Micros]]:
        """See `ports.TemplateReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(_SELECT_VERSIONS, (tenant, name)).fetchall()
        )
        return [(number, create_time) for number, create_time in rows]
