"""Decision classes: what recipients have in common that decides about a broadcast.

Whatever is decided about one of a class without looking at who it is, is decided about all of them.
"""

from tocsin_server.domain.notification import Channel
from tocsin_server.domain.preferences import NO_PREFERENCES, Preferences
from tocsin_server.domain.recipient import Address, AddressState, Profile
from tocsin_server.domain.value import Value


class RecipientClass(Value, frozen=True):
    """All that decisions look at of a recipient, but for its addresses, attributes, and the room under throttles."""

    locale: str = ""
    time_zone: str = ""
    channels: tuple[Channel, ...] = ()
    """Those that have an active address, in their order."""
    preferences: Preferences = NO_PREFERENCES

    @property
    def profile(self) -> Profile:
        """A profile of the class; where there is an address, an empty one."""
        addresses = tuple(Address(channel, "") for channel in self.channels)
        return Profile(self.locale, self.time_zone, addresses=addresses)


NOTHING_SAID_CLASS = RecipientClass()


def class_of(profile: Profile, preferences: Preferences) -> RecipientClass:
    """The class of a recipient."""
    active = {each.channel for each in profile.addresses if each.state is AddressState.ACTIVE}
    return RecipientClass(profile.locale, profile.time_zone, tuple(sorted(active)), preferences)
