"""What a migration says of a table besides its columns."""

from typing import NamedTuple

FOR_EVER = "for ever"


class Table(NamedTuple):
    """A table, and what becomes of its rows. A test fails for one that leaves this out, or says what is not so."""

    keeps: str
    """What a row stands for."""
    until: str
    """How long a row is kept: FOR_EVER, or what ends it, by the name of its setting where there is one."""
    removed_by: tuple[str, ...]
    """The commands that remove rows. Empty only for what is kept for ever."""
    create: str
    """The statement that makes it."""
