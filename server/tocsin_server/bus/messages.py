"""What replicas say to each other: MessagePack arrays that begin with a number for their kind.

A later version may add fields at the end, which this one ignores, and kinds, which it does not understand: what is not
understood counts as lost, and polling heals it.
"""

from collections.abc import Container
from typing import TypeAlias

import msgspec

from tocsin_server.domain.inbox import BroadcastChunk, BroadcastEntry, Counts, InboxChange, InboxErased
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import SessionInfo, SessionQuery

MAX_ENTRY_BYTES = 8 * 1024
"""A larger entry is told of and not sent along: whoever has a session for it reads it from storage."""


class _Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of messages. `origin` is the sender's, by which it knows its own ones."""


class Changed(_Message, frozen=True, tag=1):
    """An inbox changed; its channel says which one."""

    origin: bytes
    incarnation: bytes
    revision: int
    counts: tuple[int, int, int]
    """Unread, unseen, total."""
    category: str = ""
    content: bytes | None = None
    envelope: bytes = b""
    trace: bytes = b""
    expire_time: Micros | None = None


class Erased(_Message, frozen=True, tag=2):
    """An inbox is gone; its channel says which one."""

    origin: bytes
    incarnation: bytes


class Broadcast(_Message, frozen=True, tag=3):
    """A transaction of a broadcast: shared content once, then (recipient, incarnation, revision, counts, id)."""

    origin: bytes
    tenant: str
    category: str
    content: bytes
    envelope: bytes
    trace: bytes
    expire_time: Micros | None
    entries: list[tuple[str, bytes, int, tuple[int, int, int], bytes]]


class Lost(_Message, frozen=True, tag=4):
    """The sender dropped hints: whatever it has committed, look into storage."""

    origin: bytes


class Heartbeat(_Message, frozen=True, tag=5):
    """To oneself. The time is the sender's monotonic clock, in seconds."""

    sent: float


class Find(_Message, frozen=True, tag=6):
    """Which sessions do you hold? The answer goes to the asker's channel."""

    asker: str
    question: int
    query: SessionQuery


class Found(_Message, frozen=True, tag=7):
    """These."""

    question: int
    sessions: list[SessionInfo]


class End(_Message, frozen=True, tag=8):
    """End a session of the tenant."""

    session_id: str
    tenant: str


Message: TypeAlias = Changed | Erased | Broadcast | Lost | Heartbeat | Find | Found | End

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Message).decode
"""Raises msgspec.DecodeError, of which a ValidationError is one."""


def hint_of(change: InboxChange | InboxErased, origin: bytes, *, bare: bool) -> bytes:
    """A change as it is published; a bare one, as one of a large entry, says that there is something to read."""
    if isinstance(change, InboxErased):
        return encode(Erased(origin, change.incarnation))
    counts = (change.counts.unread, change.counts.unseen, change.counts.total)
    if bare or change.content is None or entry_bytes(change) > MAX_ENTRY_BYTES:
        return encode(Changed(origin, change.incarnation, change.revision, counts))
    return encode(
        Changed(
            origin,
            change.incarnation,
            change.revision,
            counts,
            change.category,
            change.content,
            change.envelope,
            change.trace,
            change.expire_time,
        )
    )


def entry_bytes(change: InboxChange | InboxErased) -> int:
    """What a change weighs because of its entry."""
    if isinstance(change, InboxErased) or change.content is None:
        return 0
    return len(change.content) + len(change.envelope) + len(change.trace)


def change_of(hint: Changed | Erased, tenant: str, recipient: str) -> InboxChange | InboxErased:
    """Inverse of `hint_of`, as far as it goes."""
    if isinstance(hint, Erased):
        return InboxErased(tenant, recipient, hint.incarnation)
    return InboxChange(
        tenant,
        recipient,
        hint.incarnation,
        hint.revision,
        Counts(*hint.counts),
        hint.category,
        hint.content,
        hint.envelope,
        hint.trace,
        hint.expire_time,
    )


def broadcast_of(chunk: BroadcastChunk, origin: bytes) -> bytes:
    """A chunk as it is published."""
    return encode(
        Broadcast(
            origin,
            chunk.tenant,
            chunk.category,
            chunk.content,
            chunk.envelope,
            chunk.trace,
            chunk.expire_time,
            [
                (
                    entry.recipient,
                    entry.incarnation,
                    entry.revision,
                    (entry.counts.unread, entry.counts.unseen, entry.counts.total),
                    entry.id,
                )
                for entry in chunk.entries
            ],
        )
    )


def changes_of(message: Broadcast, followed: Container[tuple[str, str]]) -> list[InboxChange]:
    """What a chunk did to the inboxes that are followed: of a million, a replica makes only these."""
    entries = tuple(
        BroadcastEntry(recipient, incarnation, revision, Counts(*counts), id)
        for recipient, incarnation, revision, counts, id in message.entries
        if (message.tenant, recipient) in followed
    )
    return BroadcastChunk(
        message.tenant,
        message.category,
        message.content,
        message.envelope,
        message.trace,
        message.expire_time,
        entries,
    ).changes(followed)
