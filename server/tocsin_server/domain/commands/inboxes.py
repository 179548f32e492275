"""What recipients do with their inboxes, and where these stand afterwards."""

from tocsin_server.domain.commands.command import Command
from tocsin_server.domain.cursor import Cursor
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.inbox import Counts, InteractionKind, Mark
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class InboxPosition(Value, frozen=True):
    """An inbox just after a change."""

    incarnation: bytes
    revision: int
    counts: Counts


class ByIds(Value, frozen=True):
    """These entries."""

    ids: tuple[bytes, ...]


class ByThread(Value, frozen=True):
    """All of a thread."""

    thread: str


class UpTo(Value, frozen=True):
    """Everything whose content is not newer than this position, which must be one that can be resumed from."""

    position: Cursor


class MarkReceipt(Value, frozen=True):
    """How many entries changed, over all chunks so far, and the inbox afterwards."""

    changed_count: int
    position: InboxPosition
    more: bool = False
    """Another chunk is needed; only the last one's receipt is recorded."""


class MarkEntries(Command[MarkReceipt], frozen=True, kw_only=True):
    """Marks up to ENTRIES_PER_TRANSACTION entries, oldest content first.

    Raises RecipientNotFound; for a position what `check_resumable` does.
    """

    recipient: str
    mark: Mark
    selection: ByIds | ByThread | UpTo
    snooze_until: Micros | None = None
    changed_before: int = 0
    """How many entries earlier chunks of the same request changed."""


class InteractionReceipt(Value, frozen=True):
    """The inbox afterwards."""

    position: InboxPosition


class RecordInteraction(Command[InteractionReceipt], frozen=True, kw_only=True):
    """Records what a recipient did. Raises NotificationNotFound, NotificationFinal."""

    recipient: str
    notification_id: bytes
    kind: InteractionKind
    action_id: str
    inputs: dict[str, str]


class AcknowledgeReceipt(Value, frozen=True):
    """One a position, in their order: the revision now recorded, or None where the incarnation is not the inbox's."""

    revisions: tuple[int | None, ...]


class AcknowledgePositions(Command[AcknowledgeReceipt], frozen=True, kw_only=True):
    """Records positions; the highest revision of an incarnation and filter wins.

    One that the inbox is still behind was given out before a rewind: its incarnation is renewed instead.
    """

    positions: tuple[ConsumerPosition, ...]


class RenewIncarnation(Command[None], frozen=True, kw_only=True):
    """Draws a new incarnation if the inbox is still behind a position that it must have given out: it was rewound."""

    recipient: str
    incarnation: bytes
    revision: int


class BumpEpoch(Command[bytes], frozen=True, kw_only=True):
    """Draws a new epoch: every incarnation changes, so that every stream starts anew."""
