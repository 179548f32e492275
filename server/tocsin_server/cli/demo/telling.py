"""How the demo says what it shows, and what it has seen."""

from rich.text import Text

from tocsin_server.cli.output import Output


def head(out: Output, title: str, rest: str = "") -> None:
    """The next thing to be shown."""
    out.console.print(Text.assemble("\n", (title, "bold"), ("  " if rest else "") + rest))


def seen(out: Output, what: str, aside: str = "") -> None:
    """Something that was to happen, and did."""
    out.console.print(
        Text.assemble(("  ✓ ", "green"), what, (f"  {aside}" if aside else "", "dim")), soft_wrap=True
    )
