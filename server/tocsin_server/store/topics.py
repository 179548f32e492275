"""Topics and their members: CreateTopic, DeleteTopic, AddMembers, RemoveMembers, EraseTopic, and what is read of them.

Who adds or removes a member holds the recipient's lock, so that no member is left of a recipient that is erased; and
has the topic kept from removal, so that none is left of a topic.
"""

from collections.abc import Sequence
from typing import Any

from tocsin_server.domain.commands import (
    AddMembers,
    CreateTopic,
    DeleteTopic,
    EraseTopic,
    MembersReceipt,
    RemoveMembers,
    SweepReceipt,
)
from tocsin_server.domain.errors import QuotaExceeded, TocsinError, TopicExists, TopicNotFound
from tocsin_server.domain.topic import Member, Topic
from tocsin_server.store.pool import ReadPool
from tocsin_server.store.sql import Connection, Insert
from tocsin_server.store.transaction import Transaction

_SELECT = "SELECT topic, display_name, member_count, create_time FROM topics"

_INSERT = """
    INSERT INTO topics (tenant, topic, display_name, create_time) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"""

_GET = f"{_SELECT} WHERE tenant = ? AND topic = ? AND delete_time IS NULL"

_LIST = f"{_SELECT} WHERE tenant = ? AND topic > ? AND delete_time IS NULL ORDER BY topic LIMIT ?"

_DELETE = """
    UPDATE topics SET delete_time = ? WHERE tenant = ? AND topic = ? AND delete_time IS NULL
    RETURNING topic, display_name, member_count, create_time"""

_ID = "SELECT id FROM topics WHERE tenant = ? AND topic = ? AND delete_time IS NULL"

_HELD_ID = "SELECT id FROM topics WHERE tenant = ? AND delete_time IS NULL AND topic {in_keys} {for_share}"

_LOCKED = "SELECT delete_time FROM topics WHERE id {in_keys} {for_update}"

_IN_USE = "EXISTS (SELECT 1 FROM broadcasts AS b WHERE b.topic_id = {} AND b.finish_time IS NULL)"

_IS_IN_USE = f"SELECT 1 WHERE {_IN_USE.format('?')}"

_ERASABLE = f"""
    SELECT t.id FROM topics AS t
    WHERE (t.delete_time IS NOT NULL OR EXISTS (
            SELECT 1 FROM topic_members AS m WHERE m.topic_id = t.id AND m.remove_time IS NOT NULL))
        AND NOT {_IN_USE.format("t.id")}
    LIMIT ?"""

_MEMBERSHIPS = "SELECT recipient, remove_time FROM topic_members WHERE topic_id = ? AND recipient {in_keys}"

# Whoever is made a member at the very time at which it ceased to be one has been one all the time.
_INSERT_MEMBERS = Insert(
    "topic_members",
    ("topic_id", "recipient", "create_time", "tenant"),
    "ON CONFLICT (topic_id, recipient, create_time) DO UPDATE SET remove_time = NULL",
)

_REMOVE_MEMBERS = """
    DELETE FROM topic_members WHERE topic_id = ? AND remove_time IS NULL AND recipient {in_keys} RETURNING recipient"""

# What is to be reached by a broadcast that was made before stays until that is done.
_END_MEMBERSHIPS = """
    UPDATE topic_members SET remove_time = ? WHERE topic_id = ? AND remove_time IS NULL AND recipient {in_keys}
    RETURNING recipient"""

_LEAVE = "DELETE FROM topic_members WHERE tenant = ? AND recipient = ? RETURNING topic_id, remove_time"

_ERASE_MEMBERS = """
    DELETE FROM topic_members WHERE topic_id = :topic_id AND (topic_id, recipient, create_time) IN (
        SELECT topic_id, recipient, create_time FROM topic_members
        WHERE topic_id = :topic_id AND (:deleted = 1 OR remove_time IS NOT NULL) LIMIT :limit)"""

_MEMBERS = """
    SELECT recipient, create_time FROM topic_members
    WHERE topic_id = ? AND recipient > ? AND remove_time IS NULL ORDER BY recipient LIMIT ?"""


def create_topics(transaction: Transaction, commands: Sequence[CreateTopic]) -> list[Topic | TocsinError]:
    """Creates each."""
    return [_create(transaction, command) for command in commands]


def delete_topics(transaction: Transaction, commands: Sequence[DeleteTopic]) -> list[Topic | TocsinError]:
    """Deletes each."""
    return [_delete(transaction, command) for command in commands]


def add_members(
    transaction: Transaction, commands: Sequence[AddMembers]
) -> list[MembersReceipt | TocsinError]:
    """Applies each command in turn."""
    transaction.lock_inboxes((command.tenant, each) for command in commands for each in command.recipients)
    return [_add(transaction, command) for command in commands]


def remove_members(
    transaction: Transaction, commands: Sequence[RemoveMembers]
) -> list[MembersReceipt | TocsinError]:
    """Applies each command in turn."""
    return [_remove(transaction, command) for command in commands]


def erase_topics(transaction: Transaction, commands: Sequence[EraseTopic]) -> list[SweepReceipt]:
    """Erases a chunk for each command."""
    return [_erase(transaction, command) for command in commands]


def leave_topics(transaction: Transaction, tenant: str, recipient: str) -> None:
    """A recipient that is being erased is no member any more."""
    for topic_id, remove_time in transaction.connection.execute(_LEAVE, (tenant, recipient)).fetchall():
        if remove_time is None:
            transaction.count_members(topic_id, -1)


def _create(transaction: Transaction, command: CreateTopic) -> Topic | TocsinError:
    row = (command.tenant, command.topic, command.display_name, transaction.now)
    if not transaction.connection.execute(_INSERT, row).rowcount:
        return TopicExists(topic=command.topic)
    return Topic(command.topic, command.display_name, 0, transaction.now)


def _delete(transaction: Transaction, command: DeleteTopic) -> Topic | TocsinError:
    place = (transaction.now, command.tenant, command.topic)
    row = transaction.connection.execute(_DELETE, place).fetchone()
    return Topic(*row) if row else TopicNotFound(topic=command.topic)


def _add(transaction: Transaction, command: AddMembers) -> MembersReceipt | TocsinError:
    connection, tenant = transaction.connection, command.tenant
    topic_id = held_topic(connection, tenant, command.topic)
    if topic_id is None:
        return TopicNotFound(topic=command.topic)
    unknown = [each for each in command.recipients if transaction.inbox(tenant, each) is None]
    try:
        inboxes = transaction.new_inboxes(tenant, unknown)
    except QuotaExceeded as error:
        return error.with_traceback(None)
    for inbox in inboxes:
        transaction.keep(inbox)
    members, since = set(), dict.fromkeys(command.recipients, transaction.now)
    for recipient, remove_time in connection.rows_in(_MEMBERSHIPS, (topic_id,), command.recipients):
        if remove_time is None:
            members.add(recipient)
        else:
            # Who removed it may have begun later, and was first: at no time is anybody a member twice.
            since[recipient] = max(since[recipient], remove_time)
    rows = [(topic_id, each, time, tenant) for each, time in since.items() if each not in members]
    connection.insert(_INSERT_MEMBERS, rows)
    transaction.count_members(topic_id, len(rows))
    return MembersReceipt(len(rows))


def _remove(transaction: Transaction, command: RemoveMembers) -> MembersReceipt | TocsinError:
    topic_id = held_topic(transaction.connection, command.tenant, command.topic)
    if topic_id is None:
        return TopicNotFound(topic=command.topic)
    connection = transaction.connection
    if connection.execute(_IS_IN_USE, (topic_id,)).fetchone():
        removed = connection.rows_in(_END_MEMBERSHIPS, (transaction.now, topic_id), command.recipients)
    else:
        removed = connection.rows_in(_REMOVE_MEMBERS, (topic_id,), command.recipients)
    transaction.count_members(topic_id, -len(removed))
    return MembersReceipt(len(removed))


def _erase(transaction: Transaction, command: EraseTopic) -> SweepReceipt:
    connection = transaction.connection
    # Whoever is adding members has done so when this lock is held, and whoever comes later finds the topic deleted.
    rows = connection.rows_in(_LOCKED, (), (command.topic_id,))
    if not rows or connection.execute(_IS_IN_USE, (command.topic_id,)).fetchone():
        return SweepReceipt(0)
    deleted = rows[0][0] is not None
    asked = {"topic_id": command.topic_id, "limit": command.limit, "deleted": int(deleted)}
    erased = connection.execute(_ERASE_MEMBERS, asked).rowcount
    if erased == command.limit:
        return SweepReceipt(erased, more=True)
    if deleted:
        connection.execute("DELETE FROM topics WHERE id = ?", (command.topic_id,))
    return SweepReceipt(erased)


def held_topic(connection: Connection, tenant: str, topic: str) -> int | None:
    """The id of a topic that is there until the transaction ends."""
    rows = connection.rows_in(_HELD_ID, (tenant,), (topic,))
    return int(rows[0][0]) if rows else None


class TopicRows:
    """Implements `ports.TopicReader`."""

    def __init__(self, pool: ReadPool) -> None:
        self._pool = pool

    async def topic(self, tenant: str, name: str) -> Topic | None:
        """See `ports.TopicReader`."""
        row = await self._pool.run(lambda connection: connection.execute(_GET, (tenant, name)).fetchone())
        return Topic(*row) if row else None

    async def topics(self, tenant: str, after: str, limit: int) -> list[Topic]:
        """See `ports.TopicReader`."""
        rows = await self._pool.run(
            lambda connection: connection.execute(_LIST, (tenant, after, limit)).fetchall()
        )
        return [Topic(*row) for row in rows]

    async def members(self, tenant: str, topic: str, after: str, limit: int) -> list[Member] | None:
        """See `ports.TopicReader`."""

        def read(connection: Connection) -> list[Any] | None:
            row = connection.execute(_ID, (tenant, topic)).fetchone()
            return row and connection.execute(_MEMBERS, (row[0], after, limit)).fetchall()

        rows = await self._pool.run(read)
        return None if rows is None else [Member(*row) for row in rows]

    async def erasable_topics(self, limit: int) -> list[int]:
        """See `ports.TopicReader`."""
        rows = await self._pool.run(lambda connection: connection.execute(_ERASABLE, (limit,)).fetchall())
        return [id for (id,) in rows]
