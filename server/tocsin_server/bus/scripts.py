"""What Redis runs in one step: a Lua file each, whose first lines say what it takes and gives.

Sent along each time: none is used often enough to be worth what it takes to find out, as after a restart, that a server
does not know it.
"""

from importlib.resources import files


def script(name: str) -> str:
    """The text of one of them."""
    return (files(__package__) / f"{name}.lua").read_text(encoding="ascii")
