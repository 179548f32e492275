"""`tocsin bench`."""

import subprocess
import sys
from pathlib import Path

from typer import Context, Exit, Typer

from tocsin_server.cli.failures import Failure

app = Typer(add_completion=False)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def bench(context: Context) -> None:
    """Measure (in a checkout of the repository; what follows is handed on: --help lists it)."""
    if not Path("tests/bench/__main__.py").is_file():
        raise Failure(
            "The benchmarks are part of the repository, not of what is installed.",
            "Run this in a checkout, or `make bench` there.",
        )
    command = [sys.executable, "-m", "tests.bench", *context.args]
    raise Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 (what the user typed, to our own program)
