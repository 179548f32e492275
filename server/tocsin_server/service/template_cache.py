"""Templates that were sent lately, ready to be rendered.

A version never changes, so it is read and compiled once. Which version is active does change: what this replica has
changed it knows at once, what others have changed it hears of by asking, twice a second, about all that it knows. A
tenant may have thousands of templates and send a few: they are kept one by one, and not, as its policy is, as one thing
with one version (`tenant_cache`).
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from tocsin_server.domain.errors import StorageUnavailable, TemplateNotFound, TemplateVersionNotFound
from tocsin_server.domain.template import Template
from tocsin_server.service.ports import Codec, CompiledTemplate, Renderer, TemplateReader

LOOK_SECONDS = 0.5

MAX_TEMPLATES = 5_000
MAX_DEFINITION_BYTES = 16 << 20
"""Of all versions that are kept compiled; compiled, each takes several times as much."""

_Name = tuple[str, str]
"""Tenant and name."""


@dataclass(slots=True)
class _Known:
    template: Template
    versions: dict[int, CompiledTemplate] = field(default_factory=dict)
    definition_bytes: int = 0


class TemplateCache:
    """Finds templates by name. Run `run` as a task."""

    def __init__(self, reader: TemplateReader, renderer: Renderer, codec: Codec) -> None:
        self._reader = reader
        self._renderer = renderer
        self._codec = codec
        self._known: OrderedDict[_Name, _Known] = OrderedDict()
        self._definition_bytes = 0

    async def find(self, tenant: str, name: str, version: int) -> tuple[int, CompiledTemplate]:
        """A version and its number; 0 means the active one.

        Raises TemplateNotFound, TemplateVersionNotFound, StorageUnavailable.
        """
        key = (tenant, name)
        known = self._known.get(key)
        if known is None:
            template = await self._reader.template(tenant, name)
            if template is None:
                raise TemplateNotFound(template=name)
            known = self._keep(key, template)
        else:
            self._known.move_to_end(key)
        number = version or known.template.active_version
        if not number:
            raise TemplateNotFound(template=name)
        compiled = known.versions.get(number)
        if compiled is None:
            compiled = await self._load(key, known, number)
        return number, compiled

    def changed(self, tenant: str, template: Template) -> None:
        """This replica has committed a change: it holds from now on, even for whom an older read is under way."""
        self._keep((tenant, template.name), template)

    async def run(self) -> None:
        """Asks what is active, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.refresh()
            except StorageUnavailable:
                # What was active stays so: nothing can be changed, either.
                continue

    async def refresh(self) -> None:
        """Takes up what is active by now. Raises StorageUnavailable."""
        names: dict[str, list[str]] = {}
        for tenant, name in self._known:
            names.setdefault(tenant, []).append(name)
        if not names:
            return
        found = await self._reader.named_templates(names)
        for tenant, wanted in names.items():
            for name in wanted:
                key = (tenant, name)
                known, template = self._known.get(key), found.get(key)
                if known is None:
                    continue
                if template is None or template.create_time != known.template.create_time:
                    # Its tenant was erased, and perhaps made anew.
                    self._forget(key)
                else:
                    self._take(known, template)

    async def _load(self, key: _Name, known: _Known, number: int) -> CompiledTemplate:
        tenant, name = key
        stored = await self._reader.template_version(tenant, name, number)
        if stored is None:
            raise TemplateVersionNotFound(template=name, version=number)
        compiled = self._renderer.compiled(self._codec.definition(stored.definition))
        if self._known.get(key) is known and number not in known.versions:
            known.versions[number] = compiled
            known.definition_bytes += len(stored.definition)
            self._definition_bytes += len(stored.definition)
            self._make_room()
        return compiled

    def _keep(self, key: _Name, template: Template) -> _Known:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known(template)
            self._make_room()
        else:
            self._take(known, template)
        return known

    def _take(self, known: _Known, template: Template) -> None:
        """The later of two answers holds, whichever came later."""
        if template.activation > known.template.activation:
            known.template = template

    def _make_room(self) -> None:
        while len(self._known) > MAX_TEMPLATES or self._definition_bytes > MAX_DEFINITION_BYTES:
            self._forget(next(iter(self._known)))

    def _forget(self, key: _Name) -> None:
        self._definition_bytes -= self._known.pop(key).definition_bytes
