"""Versions of templates."""

from tocsin_server.domain.commands.command import SMALL_COMMAND_BYTES, Command
from tocsin_server.domain.template import Template
from tocsin_server.domain.value import Value


class TemplateReceipt(Value, frozen=True):
    """A template after a version was created, and the version's number."""

    template: Template
    version: int


class CreateTemplateVersion(Command[TemplateReceipt], frozen=True, kw_only=True):
    """Adds a version, with the first one the template. Raises TemplateLimitExceeded."""

    name: str
    definition: bytes
    activate: bool

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + len(self.definition)


class ActivateTemplateVersion(Command[Template], frozen=True, kw_only=True):
    """Makes a version the active one. Raises TemplateNotFound, TemplateVersionNotFound."""

    name: str
    version: int
