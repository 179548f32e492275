"""Templates to begin with, one a kind of content, in English and German: each a TemplateDefinition in JSON."""

from importlib.resources import files

from google.protobuf.json_format import Parse

from tocsin import TemplateDefinition


def default_templates() -> dict[str, TemplateDefinition]:
    """The definitions by the names under which they are created."""
    return {
        file.name.removesuffix(".json"): Parse(file.read_text(encoding="utf-8"), TemplateDefinition())
        for file in sorted(files(__name__).iterdir(), key=lambda file: file.name)
        if file.name.endswith(".json")
    }
