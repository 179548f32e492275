"""`tocsin migrate`."""

from rich.text import Text
from typer import Typer

from tocsin_server.bootstrap import local
from tocsin_server.bootstrap.serving import REFUSALS
from tocsin_server.cli.asking import Yes, confirmed
from tocsin_server.cli.failures import failures
from tocsin_server.cli.output import Json, Output, table
from tocsin_server.cli.settings import ConfigFile, Database, of_database

app = Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def migrate() -> None:
    """The database's schema. `tocsin serve` brings it up to date by itself."""


@app.command()
def up(config: ConfigFile = None, database: Database = None, json: Json = False) -> None:
    """Apply what is pending."""
    settings = of_database(config, database)
    with failures(*REFUSALS, OSError):
        names = local.migrate_up(settings)
    _show(names, "applied", json)


@app.command()
def down(
    config: ConfigFile = None,
    database: Database = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Revert the latest migration. What is stored in the tables that it made is lost."""
    settings = of_database(config, database)
    confirmed(f"Revert the latest migration of {settings.storage}, and lose what is in its tables?", yes=yes)
    with failures(*REFUSALS, OSError):
        names = local.migrate_down(settings)
    _show(names, "reverted", json)


@app.command()
def status(config: ConfigFile = None, database: Database = None, json: Json = False) -> None:
    """Show every migration, and when it was applied."""
    settings = of_database(config, database)
    with failures(*REFUSALS, OSError):
        found = local.migration_status(settings)
    rows = [
        (each.name, each.applied_time.isoformat(" ", "seconds") if each.applied_time else "")
        for each in found
    ]
    Output(as_json=json).show(
        {"migrations": [{"name": name, "appliedTime": time or None} for name, time in rows]},
        table("migration", "applied", rows=((name, time or "pending") for name, time in rows)),
    )


def _show(names: list[str], what: str, json: bool) -> None:
    text = "\n".join(f"{what} {name}" for name in names) or "nothing to do"
    Output(as_json=json).show({what: names}, Text(text))
