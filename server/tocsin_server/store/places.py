"""What a command concerns: the inboxes that its transaction locks, and the thread that writes it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tocsin_server.domain import commands
from tocsin_server.domain.cursor import UNBORN
from tocsin_server.domain.ids import hash_in_id, recipient_hash
from tocsin_server.store.transaction import InboxKey, Transaction


class Places(NamedTuple):
    """Inboxes by their keys, and by the notifications that are in them."""

    inboxes: tuple[InboxKey, ...] = ()
    notifications: tuple[tuple[str, bytes], ...] = ()
    creates: bool = False
    """Inboxes that do not exist come to be, or at least by nobody else meanwhile."""


def places_of(command: commands.Command[Any]) -> Places:
    """What the command concerns; nothing for what is no inbox's."""
    match command:
        case commands.StoreNotification():
            return Places(((command.tenant, command.draft.recipient),), creates=True)
        case commands.UpsertRecipient() | commands.ChangePreferences():
            return Places(((command.tenant, command.recipient),), creates=True)
        case (
            commands.MarkEntries()
            | commands.RecordInteraction()
            | commands.RenewIncarnation()
            | commands.EraseRecipient()
        ):
            return Places(((command.tenant, command.recipient),))
        case commands.AddMembers():
            return Places(tuple((command.tenant, each) for each in command.recipients), creates=True)
        case commands.RemoveMembers():
            return Places(tuple((command.tenant, each) for each in command.recipients))
        case commands.CancelNotifications(ids=()):
            return Places(((command.tenant, command.recipient),))
        case commands.CancelNotifications():
            return Places(notifications=tuple((command.tenant, id) for id in command.ids))
        case commands.ReviseNotification():
            return Places(notifications=((command.tenant, command.id),))
        case commands.FireTimer():
            return Places(((command.timer.tenant, command.timer.recipient),))
        case commands.AcknowledgePositions():
            # A position that is said of nobody's inbox must not replace one of an inbox.
            unborn = any(position.incarnation == UNBORN for position in command.positions)
            inboxes = tuple((command.tenant, position.recipient) for position in command.positions)
            return Places(inboxes, creates=unborn)
        case commands.ExpireEntries():
            return Places(notifications=command.entries)
        case commands.PruneInboxes():
            return Places(command.inboxes)
        case _:
            return Places()


def lane_of(command: commands.Command[Any], lanes: int) -> int:
    """The thread that writes the command: for all that concerns one inbox it is the same.

    That keeps the order of a caller's commands, and hints in the order of commits. What concerns several inboxes goes
    where the first of them does.
    """
    if lanes == 1:
        return 0
    places = places_of(command)
    if places.inboxes:
        return recipient_hash(*places.inboxes[0]) % lanes
    if places.notifications:
        return hash_in_id(places.notifications[0][1]) % lanes
    return 0


def lock_all(transaction: Transaction, commands: Sequence[commands.Command[Any]]) -> None:
    """Locks what the commands concern before any of them reads, in one order for all who write.

    Without effect on an engine that writes one transaction after the other.
    """
    if not transaction.connection.row_locks:
        return
    inboxes: set[InboxKey] = set()
    creatable: set[InboxKey] = set()
    notifications: dict[str, list[bytes]] = {}
    for places in map(places_of, commands):
        inboxes.update(places.inboxes)
        if places.creates:
            creatable.update(places.inboxes)
        for tenant, id in places.notifications:
            notifications.setdefault(tenant, []).append(id)
    for tenant, ids in notifications.items():
        inboxes.update(transaction.owners(tenant, ids))
    transaction.lock_inboxes(inboxes, creatable)
