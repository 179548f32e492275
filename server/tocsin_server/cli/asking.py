"""Asking before something is lost."""

from typing import Annotated

from typer import Option, confirm

from tocsin_server.cli.failures import Failure

Yes = Annotated[bool, Option("--yes", help="Do not ask.")]


def confirmed(question: str, *, yes: bool) -> None:
    """Returns if the answer is yes. Raises Failure otherwise."""
    if not yes and not confirm(question, err=True):
        raise Failure("Nothing was done.")
