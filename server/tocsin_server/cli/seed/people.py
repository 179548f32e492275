"""The people of the example tenant: made up, each from its number alone, so that they are the same every time.

Their addresses are in example.com (RFC 2606), their telephone numbers among those that are kept for fiction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tocsin import (
    Address,
    PreferenceChoice,
    Preferences,
    QuietHours,
    QuietWindow,
    Recipient,
)
from tocsin.v1.notification_pb2 import Channel
from tocsin.v1.preference_service_pb2 import Weekday
from tocsin_server.cli.seed.catalogue import CHAT, EMAIL, PUSH, SMS

EVERY_HOW_MANY_HAVE_PREFERENCES = 20

# fmt: off
_GIVEN_NAMES = (
    "Ada", "Alan", "Amara", "Barbara", "Carlos", "Chidi", "Donald", "Dorothy", "Edsger", "Emmy", "Grace",
    "Hedy", "Ibrahim", "Ingrid", "Jun", "Katherine", "Kofi", "Leila", "Linus", "Margaret", "Mei", "Niklaus",
    "Olga", "Priya", "Radia", "Sofia", "Tomasz", "Wei", "Yuki", "Zeynep",
)
_FAMILY_NAMES = (
    "Abe", "Adeyemi", "Ahmed", "Becker", "Byron", "Chen", "Costa", "Diaz", "Dubois", "Eriksson", "Fischer",
    "Garcia", "Haddad", "Ito", "Jansen", "Kim", "Kowalska", "Lopez", "Mensah", "Moreau", "Nakamura",
    "Novak", "Okafor", "Patel", "Rossi", "Santos", "Schmidt", "Silva", "Tanaka", "Weber",
)
# fmt: on
_PLACES = (
    ("en-US", "America/New_York"),
    ("en-US", "America/Los_Angeles"),
    ("en-GB", "Europe/London"),
    ("de", "Europe/Berlin"),
    ("fr", "Europe/Paris"),
    ("es-MX", "America/Mexico_City"),
    ("pt-BR", "America/Sao_Paulo"),
    ("hi", "Asia/Kolkata"),
    ("ja", "Asia/Tokyo"),
    ("en-AU", "Australia/Sydney"),
)
_PLANS = ("free", "free", "free", "pro", "team")
_TEAMS = ("engineering", "sales", "support", "design", "finance")
_WORKDAYS = tuple(Weekday.ValueType(day) for day in range(1, 6))

_SAID: Sequence[Preferences] = (
    Preferences(choices=[PreferenceChoice(category="product-news", allowed=False)]),
    Preferences(choices=[PreferenceChoice(channel=EMAIL, allowed=False)]),
    Preferences(
        choices=[
            PreferenceChoice(category="comments", channel=PUSH, allowed=False),
            PreferenceChoice(category="reports", channel=EMAIL, allowed=True),
        ],
        digest_time="17:30",
    ),
    Preferences(
        quiet_hours=QuietHours(
            windows=[QuietWindow(days=_WORKDAYS, start_time="18:00", end_time="09:00")], email=True
        )
    ),
)
"""What some of them want."""


@dataclass(frozen=True, slots=True)
class Person:
    """One of them."""

    recipient: Recipient
    preferences: Preferences | None
    """None: nothing was said."""
    topics: tuple[str, ...]


def person(number: int) -> Person:
    """The person of a number, from 0."""
    chance = Random(f"person {number}")  # noqa: S311  # made up, and to be made up again
    given, family = chance.choice(_GIVEN_NAMES), chance.choice(_FAMILY_NAMES)
    locale, time_zone = chance.choice(_PLACES)
    plan, team = chance.choice(_PLANS), chance.choice(_TEAMS)
    beta = chance.random() < 0.1
    recipient = Recipient(
        recipient=key_of(number),
        locale=locale,
        time_zone=time_zone,
        attributes={"name": f"{given} {family}", "plan": plan, "team": team},
        addresses=_addresses(number, f"{given}.{family}".lower(), chance),
    )
    said = chance.choice(_SAID) if number % EVERY_HOW_MANY_HAVE_PREFERENCES == 0 else None
    topics = (("teams/engineering", team == "engineering"), ("plans/pro", plan == "pro"), ("beta", beta))
    return Person(recipient, said, tuple(topic for topic, member in topics if member))


def key_of(number: int) -> str:
    """The key of the recipient that a person is."""
    return f"user-{number:06d}"


def _addresses(number: int, name: str, chance: Random) -> list[Address]:
    """Everybody has a mail address, most a phone with the app, some more."""

    def address(channel: Channel.ValueType, value: str, label: str) -> Address:
        return Address(channel=channel, value=value, label=label)

    addresses = [address(EMAIL, f"{name}.{number}@example.com", "work")]
    if chance.random() < 0.8:
        addresses.append(address(PUSH, f"device-{chance.getrandbits(128):032x}", "phone"))
    if chance.random() < 0.3:
        addresses.append(address(SMS, f"+1202555{chance.randrange(100, 200):04d}", "phone"))
    if chance.random() < 0.2:
        addresses.append(address(CHAT, f"https://chat.example.com/people/{number}", "work"))
    return addresses
