"""What Redis runs in one step: a Lua file each, whose first lines say what it takes and gives.

Sent along each time: none is used often enough to be worth what it takes to find out, as after a restart, that a server
does not know it.
"""

from importlib.resources import files

_FOLDER = files(__package__)

TOKEN_BUCKET = (_FOLDER / "token_bucket.lua").read_text(encoding="ascii")
SET_SUMMARY = (_FOLDER / "set_summary.lua").read_text(encoding="ascii")
