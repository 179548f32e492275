"""`tocsin epoch`."""

import asyncio

from rich.text import Text
from typer import Typer

from tocsin_server.bootstrap import local
from tocsin_server.bootstrap.serving import REFUSALS
from tocsin_server.cli.asking import Yes, confirmed
from tocsin_server.cli.failures import failures
from tocsin_server.cli.output import Json, Output
from tocsin_server.cli.settings import ConfigFile, Database, of_database

app = Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def epoch() -> None:
    """The epoch of a database, for one that was restored from a backup."""


@app.command()
def bump(
    config: ConfigFile = None,
    database: Database = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Draw a new epoch, before a restored database is served.

    A database that was set back gives revisions out again that subscribers have seen with other content. With a new
    epoch every cursor is void, so every stream starts anew and nothing is taken for something else.
    """
    settings = of_database(config, database)
    confirmed(f"Make every cursor of {settings.storage} void?", yes=yes)
    with failures(*REFUSALS, OSError):
        drawn = asyncio.run(local.bump_epoch(settings))
    Output(as_json=json).show(
        {"epoch": drawn}, Text(f"epoch {drawn}: every stream starts anew", style="bold")
    )
