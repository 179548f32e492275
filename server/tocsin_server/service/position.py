"""Where a session stands with one recipient."""

from collections import deque
from typing import Protocol

from tocsin_server.domain.cursor import CursorMint
from tocsin_server.domain.inbox import Counts, Inbox
from tocsin_server.service.offered import Offered
from tocsin_server.service.ports import Codec


class Follower(Protocol):
    """Whose position it is, as the hub needs to know it: a session."""

    def offer(self, position: "Position", offered: Offered) -> None:
        """A change was committed."""

    def compare(self, position: "Position", head: Inbox | None) -> None:
        """The counter row was read; None: there is no such inbox."""

    def erased(self, position: "Position", incarnation: bytes) -> None:
        """The inbox of this incarnation is gone."""


class Position:
    """A recipient's place in one stream.

    It is live, and takes committed changes as they come, or behind, and is served from storage until it has caught up.
    `sent ≤ taken ≤ head`: handed to the stream, gathered for it, told of by hints since storage was last read.
    """

    __slots__ = (
        "_cursor",
        "_cursor_revision",
        "_mint",
        "behind",
        "counts",
        "counts_revision",
        "counts_sent",
        "cursor",
        "encoded_recipient",
        "gathered",
        "generation",
        "head",
        "incarnation",
        "placed",
        "recipient",
        "reported",
        "reset",
        "sent",
        "session",
        "taken",
        "unacknowledged",
        "unread_up_to",
    )

    def __init__(self, session: Follower, recipient: str, encoded_recipient: bytes, cursor: str) -> None:
        self.session = session
        self.recipient = recipient
        self.encoded_recipient = encoded_recipient
        self.cursor = cursor
        """What it was added with, until it is placed."""
        self.reset = ""
        """Why it is being placed anew; empty: it is placed for the first time."""
        self.generation = 0
        """Counts the times that it started anew: what was read for an earlier one is thrown away."""
        self.placed = False
        self.behind = True
        self.incarnation: bytes | None = None
        """None while there is no such inbox."""
        self.sent = 0
        self.taken = 0
        self.gathered = 0
        """The last revision that was put into the stream's buffer; what was taken after it is hidden by the filter."""
        self.head = 0
        self.unread_up_to = 0
        """Up to this revision only what is unread is sent."""
        self.reported = 0
        """What the last progress said."""
        self.counts = Counts()
        self.counts_revision = 0
        """The revision that the counts belong to."""
        self.counts_sent: Counts | None = None
        self.unacknowledged: deque[int] | None = None
        """Revisions that use credit, lowest first."""

        self._mint: CursorMint | None = None
        self._cursor = b""
        self._cursor_revision = -1

    def belong(self, incarnation: bytes | None, mint: CursorMint | None) -> None:
        """The inbox that the position is in; None: there is none yet."""
        self.incarnation = incarnation
        self._mint = mint
        self._cursor, self._cursor_revision = b"", -1

    def token(self) -> str:
        """The cursor of what was sent; empty while there is no inbox."""
        return self._mint.token(self.sent) if self._mint is not None else ""

    def sent_cursor(self, codec: Codec) -> bytes:
        """The encoded cursor of what was sent. An entry and the counts after it carry the same one."""
        if self._cursor_revision != self.sent and self._mint is not None:
            self._cursor = codec.cursor(self._mint.token_bytes(self.sent))
            self._cursor_revision = self.sent
        return self._cursor
