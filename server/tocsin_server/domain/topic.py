"""Topics: named sets of recipients."""

from tocsin_server.domain.time import Micros
from tocsin_server.domain.value import Value


class Topic(Value, frozen=True):
    """A topic."""

    name: str
    display_name: str
    member_count: int
    create_time: Micros


class Member(Value, frozen=True):
    """A recipient in a topic."""

    recipient: str
    create_time: Micros
    """Since when."""
