"""Profiles: UpsertRecipient and EraseRecipient, and what is read about recipients."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import json, msgpack

from tocsin_server.domain.commands import (
    ENTRIES_PER_TRANSACTION,
    EraseReceipt,
    EraseRecipient,
    UpsertRecipient,
)
from tocsin_server.domain.entry import ConsumerPosition, TimelineEvent
from tocsin_server.domain.errors import QuotaExceeded, RecipientNotFound, TocsinError
from tocsin_server.domain.ids import recipient_part
from tocsin_server.domain.inbox import Inbox, Status
from tocsin_server.domain.notification import NotificationState
from tocsin_server.domain.preferences import NO_PREFERENCES, Preferences
from tocsin_server.domain.recipient import Profile, Recipient, RecipientFacts
from tocsin_server.domain.recipient_class import class_of
from tocsin_server.domain.value import replace
from tocsin_server.store.audience import keep_audiences
from tocsin_server.store.classes import class_ids
from tocsin_server.store.entries import EntryRow, entries_where
from tocsin_server.store.events import read_events
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.retention import remove_notifications
from tocsin_server.store.sql import Blob, Connection, Insert, Select
from tocsin_server.store.topics import leave_topics
from tocsin_server.store.transaction import InboxKey, Transaction

_RECIPIENT = ("recipient", Blob("profile"), "create_time", "update_time")

_SELECT_RECIPIENTS = Select(_RECIPIENT, "FROM recipients WHERE tenant = ? AND recipient {in_keys}")

_LIST_RECIPIENTS = Select(
    _RECIPIENT,
    """FROM (
        SELECT * FROM recipients WHERE tenant = :tenant AND recipient > :after
            AND recipient BETWEEN :prefix AND :highest
        ORDER BY recipient LIMIT :limit) AS page""",
)

_SELECT_FACTS = Select(
    ("recipient", "profile_version", Blob("profile"), Blob("preferences", nullable=True)),
    "FROM inboxes JOIN recipients USING (tenant, recipient) WHERE tenant = ? AND recipient {in_keys}",
)

_HIGHEST_ENDING = "\U0010ffff" * 128
"""No key, of up to 128 characters, that begins with a prefix sorts above the prefix with this."""

_LIST_POSITIONS = """
    SELECT consumer, recipient, incarnation, filter, revision, update_time FROM consumer_positions
    WHERE tenant = ? AND recipient = ? ORDER BY consumer, filter"""

_UPSERT = Insert(
    "recipients",
    (
        "tenant",
        "recipient",
        "profile",
        "create_time",
        "update_time",
        "id_part",
        "class_id",
        "attributes",
        "locale",
        "time_zone",
    ),
    """
    ON CONFLICT (tenant, recipient) DO UPDATE SET profile = excluded.profile, update_time = excluded.update_time,
        class_id = excluded.class_id, attributes = excluded.attributes, locale = excluded.locale,
        time_zone = excluded.time_zone""",
)

_SELECT_PREFERENCES = Select(
    ("recipient", Blob("preferences")),
    "FROM recipients WHERE tenant = ? AND recipient {in_keys} AND preferences IS NOT NULL",
)

# What never entered the inbox first, then in revision order: each chunk moves the inbox's floor, as pruning does.
_ERASED_NEXT = f"tenant = ? AND recipient = ? ORDER BY revision LIMIT {ENTRIES_PER_TRANSACTION}"

_DELETE_RECIPIENT = (
    "DELETE FROM consumer_positions WHERE tenant = ? AND recipient = ?",
    "DELETE FROM requests WHERE tenant = ? AND recipient = ?",
    "DELETE FROM throttle_slots WHERE tenant = ? AND recipient = ?",
    "DELETE FROM broadcast_exceptions WHERE tenant = ? AND recipient = ?",
    "DELETE FROM inboxes WHERE tenant = ? AND recipient = ?",
    "DELETE FROM recipients WHERE tenant = ? AND recipient = ?",
)

_decode_profile = msgpack.Decoder(Profile).decode
_decode_preferences = msgpack.Decoder(Preferences).decode


def upsert_recipients(
    transaction: Transaction, commands: Sequence[UpsertRecipient]
) -> list[Recipient | TocsinError]:
    """Applies each command in turn, and writes each recipient that changed once."""
    by_tenant: dict[str, list[str]] = {}
    for command in commands:
        by_tenant.setdefault(command.tenant, []).append(command.recipient)
    transaction.lock_inboxes((command.tenant, command.recipient) for command in commands)
    known = {
        (tenant, row[0]): _recipient(*row)
        for tenant, keys in by_tenant.items()
        for row in transaction.connection.select_in(_SELECT_RECIPIENTS, (tenant,), keys)
    }
    stored = dict(known)
    changed: dict[tuple[str, str], Recipient] = {}
    outcomes: list[Recipient | TocsinError] = []
    for command in commands:
        place = (command.tenant, command.recipient)
        before = known.get(place)
        try:
            after = (
                _created(transaction, command) if before is None else _changed(transaction, command, before)
            )
        except QuotaExceeded as error:
            outcomes.append(error)
            continue
        if after is not before:
            known[place] = changed[place] = after
            new_version(transaction, *place)
        outcomes.append(after)
    for tenant in by_tenant:
        keep_audiences(
            transaction,
            tenant,
            [stored[place] for place in changed if place[0] == tenant and place in stored],
        )
    _write(transaction, changed)
    return outcomes


def new_version(transaction: Transaction, tenant: str, recipient: str) -> None:
    """Tells drafts that were made from the profile and the preferences as they were."""
    inbox = transaction.inbox(tenant, recipient)
    if inbox is not None:
        # By the time, so that no version comes again when a recipient is erased and created anew.
        version = max(inbox.profile_version + 1, transaction.now)
        transaction.keep(replace(inbox, profile_version=version))


def erase_recipients(
    transaction: Transaction, commands: Sequence[EraseRecipient]
) -> list[EraseReceipt | TocsinError]:
    """Erases a chunk for each command."""
    transaction.lock_inboxes((command.tenant, command.recipient) for command in commands)
    return [_erase(transaction, command) for command in commands]


def classes_of(
    transaction: Transaction, tenant: str, preferences: Mapping[str, Preferences]
) -> dict[str, int]:
    """The class of each recipient with these preferences and the profile that it has."""
    rows = transaction.connection.select_in(_SELECT_RECIPIENTS, (tenant,), list(preferences))
    profiles = {row[0]: _recipient(*row).profile for row in rows}
    classes = [class_of(profiles.get(key, Profile()), said) for key, said in preferences.items()]
    return dict(zip(preferences, class_ids(transaction, tenant, classes), strict=True))


def _write(transaction: Transaction, changed: Mapping[InboxKey, Recipient]) -> None:
    """Writes the profiles with what filters and broadcasts look at."""
    by_tenant: dict[str, list[Recipient]] = {}
    for (tenant, _), recipient in changed.items():
        by_tenant.setdefault(tenant, []).append(recipient)
    for tenant, recipients in by_tenant.items():
        keys = [recipient.key for recipient in recipients]
        said = transaction.connection.select_in(_SELECT_PREFERENCES, (tenant,), keys)
        preferences = {key: preferences_of(stored) for key, stored in said}
        classes = [
            class_of(recipient.profile, preferences.get(recipient.key, NO_PREFERENCES))
            for recipient in recipients
        ]
        ids = class_ids(transaction, tenant, classes)
        rows = [_row(tenant, recipient, id) for recipient, id in zip(recipients, ids, strict=True)]
        transaction.connection.insert(_UPSERT, rows)


def _row(tenant: str, recipient: Recipient, class_id: int) -> tuple[Any, ...]:
    profile = recipient.profile
    return (
        tenant,
        recipient.key,
        msgpack.encode(profile),
        recipient.create_time,
        recipient.update_time,
        recipient_part(tenant, recipient.key),
        class_id,
        json.encode(profile.attributes).decode() if profile.attributes else None,
        profile.locale or None,
        profile.time_zone or None,
    )


def _created(transaction: Transaction, command: UpsertRecipient) -> Recipient:
    transaction.keep(transaction.new_inbox(command.tenant, command.recipient))
    return Recipient(command.recipient, _merged(Profile(), command), transaction.now, transaction.now)


def _changed(transaction: Transaction, command: UpsertRecipient, before: Recipient) -> Recipient:
    """The very same object where nothing changes."""
    profile = _merged(before.profile, command)
    return (
        before if profile == before.profile else replace(before, profile=profile, update_time=transaction.now)
    )


def _merged(profile: Profile, command: UpsertRecipient) -> Profile:
    return replace(profile, **{field: getattr(command.profile, field) for field in command.fields})


def _erase(transaction: Transaction, command: EraseRecipient) -> EraseReceipt | TocsinError:
    place = (command.tenant, command.recipient)
    inbox = transaction.inbox(*place)
    if inbox is None:
        if command.erased_before:
            return EraseReceipt(command.erased_before)  # somebody else erased the rest
        return RecipientNotFound(recipient=command.recipient)
    connection = transaction.connection
    entries = entries_where(connection, _ERASED_NEXT, place)
    remove_notifications(connection, command.tenant, entries)
    scheduled = sum(entry.state == NotificationState.SCHEDULED for entry in entries)
    transaction.usage.take_pending(command.tenant, -scheduled)
    erased = command.erased_before + len(entries)
    if len(entries) == ENTRIES_PER_TRANSACTION:
        transaction.keep(_without(inbox, entries))
        return EraseReceipt(erased, more=True)
    leave_topics(transaction, *place)
    for statement in _DELETE_RECIPIENT:
        connection.execute(statement, place)
    transaction.forget(inbox)
    return EraseReceipt(erased)


def _without(inbox: Inbox, entries: Sequence[EntryRow]) -> Inbox:
    counts = inbox.counts
    for entry in entries:
        counts = counts.moved(None if entry.status is None else Status(entry.status), None)
    return replace(inbox, floor=max(inbox.floor, entries[-1].revision), counts=counts)


class RecipientRows:
    """Implements `ports.RecipientReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def recipient(self, tenant: str, key: str) -> Recipient | None:
        """See `ports.RecipientReader`."""

        def read(connection: Connection) -> Recipient | None:
            rows = connection.select_in(_SELECT_RECIPIENTS, (tenant,), (key,))
            return _recipient(*rows[0]) if rows else None

        return await self._pool.run(read)

    async def recipients(self, tenant: str, prefix: str, after: str, limit: int) -> list[Recipient]:
        """See `ports.RecipientReader`."""
        asked = {
            "tenant": tenant,
            "after": after,
            "prefix": prefix,
            "highest": prefix + _HIGHEST_ENDING,
            "limit": limit,
        }

        def read(connection: Connection) -> list[Recipient]:
            rows = connection.select(_LIST_RECIPIENTS, asked)
            return sorted((_recipient(*row) for row in rows), key=lambda found: found.key)

        return await self._pool.run(read)

    async def profiles(self, tenant: str, keys: Sequence[str]) -> dict[str, RecipientFacts]:
        """See `ports.RecipientReader`."""
        rows = await self._pool.run(lambda connection: connection.select_in(_SELECT_FACTS, (tenant,), keys))
        return {
            key: RecipientFacts(version, _decode_profile(profile), preferences_of(preferences))
            for key, version, profile, preferences in rows
        }

    async def timelines(self, tenant: str, ids: Sequence[bytes]) -> list[TimelineEvent]:
        """See `ports.RecipientReader`."""
        return await self._pool.run(lambda connection: read_events(connection, tenant, ids))

    async def consumer_positions(self, tenant: str, recipient: str) -> list[ConsumerPosition]:
        """See `ports.RecipientReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(_LIST_POSITIONS, (tenant, recipient)).fetchall()
        )
        return [ConsumerPosition(*row) for row in rows]


def _recipient(key: str, profile: bytes, create_time: int, update_time: int) -> Recipient:
    return Recipient(key, _decode_profile(profile), create_time, update_time)


def preferences_of(stored: bytes | None) -> Preferences:
    """A column of preferences as a value; NULL: nothing was ever said."""
    return NO_PREFERENCES if stored is None else _decode_preferences(stored)
