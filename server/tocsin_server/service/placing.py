"""Where a stream starts for each of its recipients: a cursor, an acknowledged position, or what the subscriber said."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tocsin_server.domain.commands import RenewIncarnation
from tocsin_server.domain.cursor import UNBORN, Cursor, CursorMint, check_resumable, filter_digest
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.errors import CursorInvalid, CursorMismatch, CursorOutOfRange
from tocsin_server.domain.inbox import Inbox
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.ports import InboxReader, Writer
from tocsin_server.service.submitting import answered


class Start(IntEnum):
    """Where a stream starts for a recipient without a position; numbered as in the contract."""

    NOW = 1
    UNREAD = 2
    BEGINNING = 3


@dataclass(frozen=True, slots=True)
class Subscription:
    """What holds for every recipient of a stream."""

    tenant: str
    consumer: str
    categories: tuple[str, ...]
    start: Start


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one recipient starts."""

    inbox: Inbox | None
    """None while there is no such inbox: then everything is new."""
    revision: int
    mint: CursorMint
    unread_up_to: int = 0
    reset: str = ""
    """Why the position that was asked for is given up; empty: it is not."""
    oldest_cursor: str = ""


class Placing:
    """Places recipients, set-based."""

    def __init__(self, reader: InboxReader, writer: Writer, cursors: Cursors) -> None:
        self._reader = reader
        self._writer = writer
        self._cursors = cursors

    async def place(
        self, subscription: Subscription, asked: Sequence[tuple[str, str, str]]
    ) -> list[Placement]:
        """Places (recipient, cursor, reset): an empty cursor stands for none; a reset starts anew for that reason.

        Raises StorageUnavailable, QueueFull.
        """
        tenant, filter = subscription.tenant, filter_digest(subscription.categories)
        recorded: dict[str, list[ConsumerPosition]] = {}
        unplaced = [recipient for recipient, cursor, reset in asked if not cursor and not reset]
        if subscription.consumer and unplaced:
            for position in await self._reader.positions(tenant, subscription.consumer, unplaced):
                recorded.setdefault(position.recipient, []).append(position)
        # After the positions: one that is acknowledged meanwhile must not seem to be ahead of its inbox.
        heads = await self._reader.heads(tenant, [recipient for recipient, _, _ in asked])
        placements = []
        for recipient, token, reset in asked:
            inbox = heads.get(recipient)
            revision: int | None = None
            try:
                if not reset:
                    cursor = self._cursor(tenant, recipient, token, recorded.get(recipient, ()), filter)
                    if cursor is not None:
                        inbox = await self._renewed_if_rewound(cursor, inbox)
                        check_resumable(cursor, inbox, filter)
                        revision = cursor.revision
            except (CursorInvalid, CursorMismatch, CursorOutOfRange) as error:
                reset = error.reason
            placements.append(self._placement(subscription, recipient, inbox, filter, revision, reset))
        return placements

    def _cursor(
        self, tenant: str, recipient: str, token: str, recorded: Sequence[ConsumerPosition], filter: bytes
    ) -> Cursor | None:
        """The position that the recipient is to be resumed from. Raises CursorInvalid, CursorMismatch."""
        if token:
            return self._cursors.open(tenant, recipient, token)
        for position in recorded:
            if position.filter == filter:
                return Cursor(position.incarnation, position.filter, position.revision)
        if recorded:
            raise CursorMismatch
        return None

    async def _renewed_if_rewound(self, cursor: Cursor, inbox: Inbox | None) -> Inbox | None:
        """The inbox, made anew where a good cursor is ahead of its counter: the store has lost what its holder has."""
        if inbox is None or cursor.incarnation != inbox.incarnation or cursor.revision <= inbox.revision:
            return inbox
        tenant, recipient = inbox.tenant, inbox.recipient
        command = RenewIncarnation(
            tenant=tenant, recipient=recipient, incarnation=inbox.incarnation, revision=cursor.revision
        )
        await answered(self._writer, command, None)
        return (await self._reader.heads(tenant, (recipient,))).get(recipient)

    def _placement(
        self,
        subscription: Subscription,
        recipient: str,
        inbox: Inbox | None,
        filter: bytes,
        revision: int | None,
        reset: str,
    ) -> Placement:
        incarnation = UNBORN if inbox is None else inbox.incarnation
        mint = self._cursors.mint(subscription.tenant, recipient, incarnation, filter)
        if inbox is None:
            return Placement(None, 0, mint, reset=reset, oldest_cursor=mint.token(0) if reset else "")
        unread_up_to = 0
        if revision is None:
            revision = inbox.revision if subscription.start is Start.NOW else inbox.floor
            unread_up_to = inbox.revision if subscription.start is Start.UNREAD else 0
        oldest_cursor = mint.token(inbox.floor) if reset else ""
        return Placement(inbox, revision, mint, unread_up_to, reset, oldest_cursor)
