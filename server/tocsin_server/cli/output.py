"""What commands print: tables and lines for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta
from typing import Annotated, Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from typer import Option

Json = Annotated[
    bool,
    Option(
        "--json",
        help="Print JSON with the contract's names: one document, or a line an item for what streams.",
    ),
]

_WIDTH_OF_FILES = 200


class Output:
    """Where a command's results go."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = _console(stderr=False)
        self.aside = _console(stderr=True)
        """For what is not a result: progress, hints."""

    def say(self, text: RenderableType) -> None:
        """Prints a line of a result, however long."""
        self.console.print(text, soft_wrap=True)

    def note(self, text: RenderableType) -> None:
        """Prints a line beside the result, on standard error."""
        self.aside.print(text, soft_wrap=True)

    def document(self, value: Message | Mapping[str, Any]) -> None:
        """Prints one JSON document."""
        sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False, indent=2) + "\n")

    def line(self, value: Message | Mapping[str, Any]) -> None:
        """Prints one of many JSON documents, each on a line; at once, as somebody may be waiting for it."""
        sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def show(self, value: Message | Mapping[str, Any], *readable: RenderableType) -> None:
        """Prints a result, as a document or as the text for people."""
        if self.as_json:
            self.document(value)
        else:
            self.console.print(*readable, sep="\n")


def table(*columns: str, rows: Iterable[Iterable[RenderableType]]) -> RenderableType:
    """Columns with headings, no lines."""
    result = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column.startswith(">")
        result.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        result.add_row(*row)
    return result if result.row_count else Text("none", style="dim")


def properties(**values: object) -> RenderableType:
    """Names and values, one pair a line."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in values.items():
        grid.add_row(name.replace("_", " "), value if isinstance(value, Text) else Text(str(value)))
    return grid


def instant(time: Timestamp) -> str:
    """A time, in this machine's zone, to the second."""
    return time.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S") if time.ByteSize() else "–"


def span(duration: Duration) -> str:
    """A duration, with as many digits as one cares for."""
    seconds = duration.ToTimedelta() / timedelta(seconds=1)
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms" if seconds else "0"
    if seconds < 120:
        return f"{seconds:.3g} s"
    return str(timedelta(seconds=int(seconds)))


def _plain(value: Message | Mapping[str, Any]) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value, always_print_fields_with_no_presence=True)
    return value


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    # A file or a pipe has no width; what reads it is not helped by ours.
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else _WIDTH_OF_FILES)
