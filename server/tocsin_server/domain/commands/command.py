"""What all commands have: a tenant, a request that makes them safe to repeat, an answer."""

from enum import IntEnum
from typing import ClassVar, Generic, TypeVar

from tocsin_server.domain.value import Value

Receipt = TypeVar("Receipt")

SMALL_COMMAND_BYTES = 256
"""What a command counts for in a queue besides its payload."""

SYSTEM_TENANT = ""
"""The queue of commands that belong to no tenant."""

ENTRIES_PER_TRANSACTION = 1_000
"""Bulk commands change at most so many entries in one transaction."""


class RequestSpace(IntEnum):
    """Request ids are unique within a tenant and a space. Stored: never renumber."""

    SEND = 1
    CANCEL = 2
    REVISE = 3
    MARK = 4
    INTERACT = 5
    UPSERT_RECIPIENT = 6
    DELETE_RECIPIENT = 7
    CREATE_TENANT = 8
    SUSPEND_TENANT = 9
    DELETE_TENANT = 10
    UPDATE_QUOTAS = 11
    CREATE_API_KEY = 12
    REVOKE_API_KEY = 13
    UPSERT_CATEGORY = 14
    DELETE_CATEGORY = 15
    UPDATE_PREFERENCES = 16
    UNSUBSCRIBE = 17
    CREATE_TEMPLATE_VERSION = 18
    ACTIVATE_TEMPLATE_VERSION = 19
    CREATE_TOPIC = 20
    DELETE_TOPIC = 21
    ADD_MEMBERS = 22
    REMOVE_MEMBERS = 23
    CREATE_BROADCAST = 24
    CANCEL_BROADCAST = 25


class RequestKey(Value, frozen=True):
    """What makes a command safe to repeat."""

    space: RequestSpace
    id: str
    fingerprint: bytes
    """Versioned hash of the request's meaning: the same id with another fingerprint is refused."""


class Command(Value, Generic[Receipt], frozen=True, kw_only=True):
    """Something to be written, in one transaction."""

    tenant: str
    request: RequestKey | None = None

    solitary: ClassVar[bool] = False
    """It has a transaction of its own."""

    @property
    def payload_bytes(self) -> int:
        """About how many bytes it will write."""
        return SMALL_COMMAND_BYTES


class Answer(Value, Generic[Receipt], frozen=True):
    """What became of a command that was committed."""

    receipt: Receipt
    replayed: bool = False
    """True when it had been committed before and this is its first receipt again."""


class Recall(Command[Receipt], frozen=True, kw_only=True):
    """Writes nothing: its answer is that of its request, if it was committed before. Raises NotFound otherwise."""


class Probe(Command[None], frozen=True, kw_only=True):
    """Writes nothing of its own, and so shows whether a transaction can be committed."""
