"""Options of the commands that work with a server's settings: `serve`, `config`, and what opens the database itself."""

import os
from pathlib import Path
from typing import Annotated

from typer import Option

from tocsin_server.cli.failures import Failure
from tocsin_server.settings import Loaded, Settings, SettingsInvalid, load

ConfigFile = Annotated[
    Path | None, Option("--config", metavar="FILE", help="TOML file with settings.", show_envvar=False)
]
Database = Annotated[str | None, Option("--database", metavar="FILE", help="The SQLite file.")]
Set = Annotated[
    list[str] | None,
    Option("--set", metavar="NAME=VALUE", help="Any setting; repeatable. `tocsin config` lists them."),
]


def loaded(config: Path | None, assignments: list[str] | None = None, **options: object) -> Loaded:
    """The settings in force for a command with these options. Raises Failure, which names all that is wrong."""
    overrides: dict[str, object] = {}
    for assignment in assignments or ():
        name, equals, value = assignment.partition("=")
        if not equals:
            raise Failure(f"--set {assignment}: is not NAME=VALUE.")
        overrides[name.strip().replace("-", "_")] = value
    overrides |= {name: value for name, value in options.items() if value is not None}
    try:
        return load(os.environ, config=config, **overrides)
    except SettingsInvalid as error:
        raise Failure(
            "\n".join(["The settings cannot be used:", *(f"  {p}" for p in error.problems)])
        ) from error
    except TypeError as error:
        raise Failure(f"--set: {error}.", "`tocsin config` lists all settings.") from error


def of_database(config: Path | None, database: str | None) -> Settings:
    """The settings of a command that opens the database itself. Raises Failure.

    What goes well is told by the command; of what is logged, only trouble is shown.
    """
    from tocsin_server import logs

    settings = loaded(config, database=database).settings
    logs.configure(settings.log_format, "warning")
    return settings
