"""What senders do: store a notification, take it back, say it anew."""

from collections.abc import Iterable
from enum import IntEnum

from tocsin_server.domain.bodies import ChannelBody, overridden
from tocsin_server.domain.commands.command import SMALL_COMMAND_BYTES, Command
from tocsin_server.domain.commands.inboxes import InboxPosition
from tocsin_server.domain.notification import ChannelOverride, Decision, Disposition, NotificationSpec
from tocsin_server.domain.sending import Draft
from tocsin_server.domain.value import Value, replace


class SendReceipt(Value, frozen=True):
    """What became of one spec."""

    notification_id: bytes
    disposition: Disposition
    incarnation: bytes | None = None
    """With the revision, the position of the entry; None when there is none."""
    revision: int = 0
    decisions: tuple[Decision, ...] = ()


class ShownContent(Value, frozen=True):
    """What is shown, encoded."""

    content: bytes
    """The notification's field `content`."""
    bodies: tuple[ChannelBody, ...] = ()
    """Of channels that show something of their own; what is empty there, and the others, show the content in their way.
    """

    @property
    def size(self) -> int:
        """About how many bytes that is."""
        return len(self.content) + sum(body.size for body in self.bodies)

    def overridden_by(self, overrides: Iterable[ChannelOverride]) -> "ShownContent":
        """The same, with what a sender says for single channels."""
        return replace(self, bodies=overridden(self.bodies, overrides)) if overrides else self


class StoreNotification(Command[SendReceipt], frozen=True, kw_only=True):
    """Settles a draft and writes what was planned. An unknown recipient is created.

    Raises QuotaExceeded; DraftOutdated when the recipient's profile is not the one that the draft was made from.
    """

    draft: Draft
    spec: NotificationSpec
    shown: ShownContent
    envelope: bytes
    trace: bytes = b""
    any_profile: bool = False
    """Settled whatever the recipient's profile is by now. It was drafted anew once, from what was said before the
    request came or later: what is said still later may as well come after it."""

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + self.shown.size + len(self.envelope)


class CancelOutcome(IntEnum):
    """What became of one notification; numbered as in the contract."""

    CANCELLED = 1
    RETRACTED = 2
    ALREADY_FINAL = 3
    NOT_FOUND = 4


class CancelReceipt(Value, frozen=True):
    """One outcome a notification, in the order asked for."""

    results: tuple[tuple[bytes, CancelOutcome], ...]


class CancelNotifications(Command[CancelReceipt], frozen=True, kw_only=True):
    """Drops what is pending, retracts what is in inboxes: by ids, or the latest of one recipient's thread."""

    ids: tuple[bytes, ...] = ()
    recipient: str = ""
    thread: str = ""


class ReviseReceipt(Value, frozen=True):
    """Where the entry stands now; no position while it is scheduled."""

    recipient: str
    position: InboxPosition | None


class ReviseNotification(Command[ReviseReceipt], frozen=True, kw_only=True):
    """Replaces the content in place. Raises NotificationNotFound, NotificationFinal."""

    id: bytes
    content: bytes
    renotify: bool

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + len(self.content)
