"""What has been kept long enough."""

from tocsin_server.domain.commands.command import Command
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class SweepReceipt(Value, frozen=True):
    """How many rows a sweep changed or removed."""

    count: int
    more: bool = False
    """There is more of the same to do."""


class ExpireEntries(Command[SweepReceipt], frozen=True, kw_only=True):
    """Expires those of the entries that are still stored: body dropped, a new revision."""

    entries: tuple[tuple[str, bytes], ...]
    """(tenant, notification id)."""


class PruneInboxes(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes rows whose last change is older than `cutoff`, in revision order, and moves each inbox's floor.

    What is still shown is not removed, nor anything behind it. Removes at most ENTRIES_PER_TRANSACTION rows.
    """

    inboxes: tuple[tuple[str, str], ...]
    """(tenant, recipient)."""
    cutoff: Micros


class PruneBroadcasts(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes what is kept of a broadcast that finished before the cutoff and of which no entry is left."""

    cutoff: Micros


class PruneHistory(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes up to `limit` rows each of request ids, events, consumer positions and slots of throttles past the time
    they are kept."""

    requests_before: Micros
    events_before: Micros
    positions_before: Micros
    slots_before: Micros
    limit: int = 2_000
