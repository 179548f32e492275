"""Positions of named consumers, and incarnations that a rewound store must give up."""

import secrets
from collections.abc import Sequence

from tocsin_server.domain.commands import (
    AcknowledgePositions,
    AcknowledgeReceipt,
    BumpEpoch,
    Probe,
    RenewIncarnation,
)
from tocsin_server.domain.cursor import UNBORN
from tocsin_server.domain.entry import ConsumerPosition
from tocsin_server.domain.value import replace
from tocsin_server.store.facts import write_epoch
from tocsin_server.store.sql import Insert
from tocsin_server.store.transaction import Transaction

# Another incarnation replaces the position: the command has checked that it is the inbox's own.
_UPSERT = Insert(
    "consumer_positions",
    ("tenant", "consumer", "recipient", "filter", "incarnation", "revision", "update_time"),
    """
    ON CONFLICT (tenant, consumer, recipient, filter) DO UPDATE SET
        revision = CASE
            WHEN consumer_positions.incarnation = excluded.incarnation
                AND consumer_positions.revision > excluded.revision
            THEN consumer_positions.revision ELSE excluded.revision END,
        incarnation = excluded.incarnation,
        update_time = excluded.update_time""",
)

_SELECT = """
    SELECT revision FROM consumer_positions
    WHERE tenant = ? AND consumer = ? AND recipient = ? AND filter = ?"""


def acknowledge_positions(
    transaction: Transaction, commands: Sequence[AcknowledgePositions]
) -> list[AcknowledgeReceipt]:
    """Records what belongs to the inboxes as they are; the highest position of a command counts."""
    return [_acknowledge(transaction, command) for command in commands]


def renew_incarnations(transaction: Transaction, commands: Sequence[RenewIncarnation]) -> list[None]:
    """A cursor of this incarnation ahead of the counter proves that the store was rewound."""
    for command in commands:
        _renew_if_ahead(transaction, command.tenant, command.recipient, command.incarnation, command.revision)
    return [None] * len(commands)


def bump_epoch(transaction: Transaction, commands: Sequence[BumpEpoch]) -> list[bytes]:
    """The last of several wins."""
    return [write_epoch(transaction.connection) for _ in commands]


def probe(transaction: Transaction, commands: Sequence[Probe]) -> list[None]:
    """The commit is all that it takes."""
    return [None] * len(commands)


def _acknowledge(transaction: Transaction, command: AcknowledgePositions) -> AcknowledgeReceipt:
    transaction.lock_inboxes((command.tenant, position.recipient) for position in command.positions)
    for position in command.positions:
        recipient, incarnation = position.recipient, position.incarnation
        _renew_if_ahead(transaction, command.tenant, recipient, incarnation, position.revision)
    highest: dict[tuple[str, str, bytes], ConsumerPosition] = {}
    for position in command.positions:
        if not _is_current(transaction, command.tenant, position):
            continue
        key = (position.consumer, position.recipient, position.filter)
        if key not in highest or highest[key].revision < position.revision:
            highest[key] = position
    rows = [
        (command.tenant, *key, position.incarnation, position.revision, transaction.now)
        for key, position in sorted(highest.items())
    ]
    transaction.connection.insert(_UPSERT, rows)
    recorded = {
        key: transaction.connection.execute(_SELECT, (command.tenant, *key)).fetchone()[0] for key in highest
    }
    return AcknowledgeReceipt(
        tuple(
            recorded[position.consumer, position.recipient, position.filter]
            if _is_current(transaction, command.tenant, position)
            # Behind everything by now, and so neither wrong nor worth recording.
            else (0 if position.incarnation == UNBORN else None)
            for position in command.positions
        )
    )


def _renew_if_ahead(
    transaction: Transaction, tenant: str, recipient: str, incarnation: bytes, revision: int
) -> None:
    inbox = transaction.inbox(tenant, recipient)
    if inbox and inbox.incarnation == incarnation and inbox.revision < revision:
        transaction.moved(replace(inbox, incarnation=secrets.token_bytes(8)))


def _is_current(transaction: Transaction, tenant: str, position: ConsumerPosition) -> bool:
    inbox = transaction.inbox(tenant, position.recipient)
    return position.incarnation == (UNBORN if inbox is None else inbox.incarnation)
