"""Topics and their members."""

from tocsin_server.domain.commands.command import SMALL_COMMAND_BYTES, Command
from tocsin_server.domain.commands.retention import SweepReceipt
from tocsin_server.domain.topic import Topic
from tocsin_server.domain.value import Value


class CreateTopic(Command[Topic], frozen=True, kw_only=True):
    """Raises TopicExists."""

    topic: str
    display_name: str


class DeleteTopic(Command[Topic], frozen=True, kw_only=True):
    """Frees the name; what is left of the topic is for EraseTopic. Raises TopicNotFound."""

    topic: str


class MembersReceipt(Value, frozen=True):
    """How many recipients became members, or ceased to be."""

    count: int


class AddMembers(Command[MembersReceipt], frozen=True, kw_only=True):
    """Makes distinct recipients members; unknown ones are created. Raises TopicNotFound, QuotaExceeded."""

    topic: str
    recipients: tuple[str, ...]

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(map(len, self.recipients))


class RemoveMembers(Command[MembersReceipt], frozen=True, kw_only=True):
    """Ends the membership of distinct recipients; what unfinished broadcasts need of it stays. Raises TopicNotFound."""

    topic: str
    recipients: tuple[str, ...]

    @property
    def payload_bytes(self) -> int:  # noqa: D102
        return SMALL_COMMAND_BYTES + sum(map(len, self.recipients))


class EraseTopic(Command[SweepReceipt], frozen=True, kw_only=True):
    """Removes up to `limit` memberships that have ended, of a deleted topic all of them and then the topic.

    Not while a broadcast to the topic is unfinished.
    """

    topic_id: int
    limit: int = 2_000
