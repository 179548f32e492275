"""The people of the example tenant are nobody, everybody once, and the same every time."""

import re
from collections import Counter
from zoneinfo import available_timezones

import pytest

from tocsin.v1.notification_pb2 import Channel
from tocsin_server.cli.seed.catalogue import TOPICS, categories, tenant_preferences
from tocsin_server.cli.seed.people import EVERY_HOW_MANY_HAVE_PREFERENCES, person

PEOPLE = [person(number) for number in range(2_000)]


def test_a_person_is_made_of_its_number_alone() -> None:
    assert [person(number) for number in (1_999, 0, 40)] == [PEOPLE[1_999], PEOPLE[0], PEOPLE[40]]
    assert len({each.recipient.recipient for each in PEOPLE}) == len(PEOPLE)


@pytest.mark.parametrize(
    ("channel", "shape"),
    [
        # RFC 2606 keeps the domain for examples.
        ("EMAIL", r"[a-z.-]+\.\d+@example\.com"),
        ("CHAT", r"https://chat\.example\.com/people/\d+"),
        # Numbers that no telephone has.
        ("SMS", r"\+120255501[0-9]{2}"),
        ("PUSH", r"device-[0-9a-f]{32}"),
    ],
)
def test_addresses_lead_nowhere(channel: str, shape: str) -> None:
    wanted = Channel.Value(f"CHANNEL_{channel}")
    found = [a.value for each in PEOPLE for a in each.recipient.addresses if a.channel == wanted]
    assert len(found) > len(PEOPLE) / 10
    assert [value for value in found if not re.fullmatch(shape, value)] == []


def test_what_is_said_is_about_what_there_is() -> None:
    defined = {each.category for each in categories()}
    mandatory = {each.category for each in categories() if each.mandatory}
    said = [each.preferences for each in PEOPLE if each.preferences is not None]
    assert len(said) == len(PEOPLE) / EVERY_HOW_MANY_HAVE_PREFERENCES
    choices = [choice for layer in (*said, tenant_preferences()) for choice in layer.choices]
    assert {choice.category for choice in choices} <= defined | {""}
    assert not [choice for choice in choices if choice.category in mandatory and not choice.allowed]
    assert {each.recipient.time_zone for each in PEOPLE} <= available_timezones()
    assert set(Counter(topic for each in PEOPLE for topic in each.topics)) == set(TOPICS)
