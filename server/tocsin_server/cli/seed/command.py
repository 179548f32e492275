"""`tocsin seed`."""

import time
from typing import Annotated

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text
from typer import Option, Typer

from tocsin_server.cli.connection import Session, command
from tocsin_server.cli.output import Output
from tocsin_server.cli.seed.load import Loaded, Loader

app = Typer(add_completion=False)


@command(app)
async def seed(
    session: Session,
    recipients: Annotated[int, Option(min=1, max=1_000_000, help="How many people there are.")] = 1_000,
    run: Annotated[
        str, Option(metavar="NAME", help="Another name sets everything again that has changed since.")
    ] = "seed",
) -> None:
    """Load an example tenant: templates, categories, people with addresses and preferences, topics.

    The people are the same every time. The same run once more changes nothing, a larger one adds to it. Nobody's
    address is real, but the tenant is: this is not for the one that you work with.
    """
    began = time.monotonic()
    with progress(session.out) as bar:
        task = bar.add_task("recipients", total=recipients)
        async with session.connect(patient=True) as client:
            loader = Loader(client, run, recipients, lambda done: bar.update(task, completed=done))
            loaded = await loader.load()
    seconds = time.monotonic() - began
    session.out.show(
        {
            "createdTemplates": loaded.created_templates,
            "categories": loaded.categories,
            "topics": loaded.topics,
            "recipients": loaded.recipients,
            "preferences": loaded.preferences,
            "members": loaded.members,
            "seconds": round(seconds, 3),
        },
        summary(loaded, seconds),
    )


def progress(out: Output) -> Progress:
    """A bar for recipients, on a terminal."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=out.aside,
        transient=True,
        disable=out.as_json or not out.aside.is_terminal,
    )


def summary(loaded: Loaded, seconds: float) -> Text:
    """What there is now, in two lines."""
    return Text.assemble(
        (f"{loaded.recipients:,} recipients", "bold green"),
        f", {loaded.preferences:,} with preferences of their own, {loaded.members:,} members of {loaded.topics} topics",
        (f"  in {seconds:.1f} s\n", "dim"),
        f"{loaded.categories} categories, {loaded.created_templates} new templates, quiet hours at night",
    )
