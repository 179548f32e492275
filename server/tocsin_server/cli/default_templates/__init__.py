"""Templates to begin with, one a kind of content, in English and German: each a TemplateDefinition in JSON."""

from importlib.resources import files

from google.protobuf.json_format import Parse

from tocsin import Client, TemplateDefinition
from tocsin.v1.template_service_pb2 import Template


def default_templates() -> dict[str, TemplateDefinition]:
    """The definitions by the names under which they are created."""
    return {
        file.name.removesuffix(".json"): Parse(file.read_text(encoding="utf-8"), TemplateDefinition())
        for file in sorted(files(__name__).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    }


async def create_missing(client: Client) -> list[Template]:
    """Creates and activates those that the tenant has no template of that name of; what was created."""
    known = {template.name async for template in client.templates.all()}
    return [
        (await client.templates.create_version(name, definition, activate=True)).template
        for name, definition in default_templates().items()
        if name not in known
    ]
