"""`tocsin config`."""

from pathlib import Path

from rich.text import Text
from typer import Typer

from tocsin_server.cli.output import Json, Output, table
from tocsin_server.cli.settings import ConfigFile, Set, loaded

app = Typer(add_completion=False)


@app.command()
def config(config: ConfigFile = None, set: Set = None, json: Json = False) -> None:
    """Show every setting of a server: its value, where it comes from, what it is for."""
    settings = loaded(config, set).describe()
    Output(as_json=json).show(
        {
            "settings": [
                {"name": each.name, "value": _plain(each.value), "source": each.source, "doc": each.doc}
                for each in settings
            ]
        },
        table(
            "name",
            "value",
            "source",
            "what it is for",
            rows=(
                (
                    each.name,
                    Text(_text(each.value), style="bold" if each.source != "default" else ""),
                    Text(each.source, style="dim" if each.source == "default" else ""),
                    each.doc,
                )
                for each in settings
            ),
        ),
    )


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _text(value: object) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
