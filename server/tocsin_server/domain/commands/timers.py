"""What happens at a time."""

from enum import IntEnum

from tocsin_server.domain.bodies import ChannelBody
from tocsin_server.domain.commands.command import SMALL_COMMAND_BYTES, Command
from tocsin_server.domain.commands.notifications import ShownContent
from tocsin_server.domain.sending import Draft
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class TimerKind(IntEnum):
    """What happens when a timer falls due. Stored: never renumber."""

    DELIVER = 1
    UNSNOOZE = 2
    EXPIRE = 3
    RELEASE = 4
    """Deferred deliveries of a notification meet the rules again."""


class Timer(Value, frozen=True):
    """Something that happens at a time."""

    id: int
    tenant: str
    kind: TimerKind
    due_time: Micros
    recipient: str
    notification_id: bytes


class FireTimer(Command[bool], frozen=True, kw_only=True):
    """Deletes a due timer's row and applies its effect; False when the row was gone.

    What was kept for a time meets the rules again, and so comes with a draft. Raises DraftOutdated as StoreNotification
    does; the timer is still there then.
    """

    timer: Timer
    draft: Draft | None = None
    """Of what was SCHEDULED, or of the channels that were deferred; None where nothing is to be decided, or the
    notification is gone: as long as it is kept it can be drafted, whatever its state."""
    until: Micros = 0
    """Deliveries that were deferred until then at the latest are in the draft."""
    shown: ShownContent | None = None
    """What is shown instead of what was kept, but for what was revised meanwhile."""
    bodies: tuple[ChannelBody, ...] = ()
    """What channels show of their own where what was kept is shown."""
    any_profile: bool = False

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        shown = self.shown.size if self.shown else sum(body.size for body in self.bodies)
        return SMALL_COMMAND_BYTES + shown
