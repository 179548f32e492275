"""The command line's entry point."""

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import tocsin_server
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.options import Connection, connection_options, from_environ, option, take

_MODULES = {
    "serve": "serve",
    "demo": "demo.command",
    "seed": "seed.command",
    "send": "send",
    "plan": "plan",
    "subscribe": "subscribe",
    "inbox": "inbox",
    "notification": "notification",
    "mark": "mark",
    "status": "status",
    "sessions": "sessions",
    "keys": "keys",
    "templates": "templates",
    "tenants": "tenants",
    "recipients": "recipients",
    "topics": "topics",
    "broadcast": "broadcast",
    "categories": "categories",
    "prefs": "prefs",
    "migrate": "migrate",
    "epoch": "epoch",
    "config": "config",
    "bench": "bench",
}
"""The commands in the order in which they are listed, and the modules that hold them."""


class Commands(TyperGroup):
    """Imports a command's module when the command is asked for: `serve` is not to wait for what `send` needs."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        return list(_MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None if there is none of this name."""
        if cmd_name not in _MODULES:
            return None
        command = typer.main.get_command(import_module(f"tocsin_server.cli.{_MODULES[cmd_name]}").app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tocsin {tocsin_server.__version__}")
        raise typer.Exit


def _tocsin(*, context: typer.Context, version: bool, **connection: Any) -> None:
    """Tocsin, the notification backbone: its server, and what one needs to talk to it."""
    context.obj = Connection(**connection).or_else(from_environ(os.environ))


_VERSION = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
]
take(_tocsin, [option("context", typer.Context), option("version", _VERSION, False), *connection_options()])
app.callback()(_tocsin)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command that the arguments name, those of the process if none are given.

    Ends the process. Exit code 1: the command failed; 2: it was not understood.
    """
    try:
        app(arguments, prog_name="tocsin")
    except Failure as failure:
        typer.secho("tocsin: ", fg="red", err=True, nl=False)
        typer.echo(" ".join(filter(None, (str(failure), failure.hint))), err=True)
        raise SystemExit(1) from None
