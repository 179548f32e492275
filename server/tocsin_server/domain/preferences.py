"""What recipients, and tenants for them, want: which categories on which channels, and when to be left alone."""

from tocsin_server.domain.notification import Channel
from tocsin_server.domain.quiet_hours import QuietHours
from tocsin_server.domain.value import Value


class Choice(Value, frozen=True):
    """Allows or denies a category on a channel; without a category or a channel it says so for all of them."""

    allowed: bool
    category: str = ""
    """Empty: of every category."""
    channel: Channel | None = None
    """None: on every channel."""


class Preferences(Value, frozen=True):
    """One layer of preferences: a recipient's own, or the tenant's default."""

    choices: tuple[Choice, ...] = ()
    """At most one for each category and channel, sorted by both."""
    quiet_hours: QuietHours | None = None
    """None: not said, so that the layer below decides."""
    digest_time: str = ""
    """HH:MM, the recipient's own time of day for digests; empty: not said."""


NO_PREFERENCES = Preferences()
