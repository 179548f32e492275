"""Recipients: who they are, where they can be reached, and what they want."""

from enum import IntEnum

from tocsin_server.domain.notification import Channel
from tocsin_server.domain.preferences import NO_PREFERENCES, Preferences
from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value, field, field_names


class AddressState(IntEnum):
    """Whether an address can be used; numbered as in the contract."""

    ACTIVE = 1
    BOUNCED = 2
    UNSUBSCRIBED = 3


class Address(Value, frozen=True):
    """Where a recipient can be reached on one channel."""

    channel: Channel
    value: str
    state: AddressState = AddressState.ACTIVE
    label: str = ""


class Profile(Value, frozen=True):
    """What a caller says about a recipient."""

    locale: str = ""
    time_zone: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()


PROFILE_FIELDS = frozenset(field_names(Profile))


class Recipient(Value, frozen=True):
    """A recipient as it is kept."""

    key: str
    profile: Profile
    create_time: Micros
    update_time: Micros


class RecipientFacts(Value, frozen=True):
    """What is decided by for a recipient, as it was at one moment; as it is here, for one who does not exist."""

    version: int = 0
    """`Inbox.profile_version`: changes with the profile and with the preferences."""
    profile: Profile = Profile()
    preferences: Preferences = NO_PREFERENCES


UNKNOWN_RECIPIENT = RecipientFacts()
