"""Recipients: what is known of them, and that nothing is known any more."""

from tocsin_server.domain.commands.command import Command
from tocsin_server.domain.recipient import Profile, Recipient
from tocsin_server.domain.value import Value


class UpsertRecipient(Command[Recipient], frozen=True, kw_only=True):
    """Creates or changes a recipient; `fields` are those of the profile that are set. Raises QuotaExceeded."""

    recipient: str
    profile: Profile
    fields: frozenset[str]


class EraseReceipt(Value, frozen=True):
    """How many notifications were erased, over all chunks so far."""

    erased_count: int
    more: bool = False
    """Another chunk is needed; only the last one's receipt is recorded."""


class EraseRecipient(Command[EraseReceipt], frozen=True, kw_only=True):
    """Erases up to ENTRIES_PER_TRANSACTION notifications, and with the last of them the recipient."""

    recipient: str
    erased_before: int = 0
