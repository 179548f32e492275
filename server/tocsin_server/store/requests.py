"""Request ids and their receipts: what makes a command safe to repeat."""

from collections.abc import Sequence
from typing import Any

from msgspec import msgpack

from tocsin_server.domain import commands
from tocsin_server.domain.access import ApiKey
from tocsin_server.domain.broadcast import Broadcast
from tocsin_server.domain.category import Category
from tocsin_server.domain.commands import Recall, RequestKey, RequestSpace
from tocsin_server.domain.errors import NotFound, RequestIdReused
from tocsin_server.domain.recipient import Recipient
from tocsin_server.domain.template import Template
from tocsin_server.domain.tenant import Tenant
from tocsin_server.domain.time import Micros
from tocsin_server.domain.topic import Topic
from tocsin_server.store.sql import Blob, Connection, Insert, Select
from tocsin_server.store.transaction import Transaction

_RECEIPT_TYPES: dict[RequestSpace, type[Any]] = {
    RequestSpace.SEND: commands.SendReceipt,
    RequestSpace.CANCEL: commands.CancelReceipt,
    RequestSpace.REVISE: commands.ReviseReceipt,
    RequestSpace.MARK: commands.MarkReceipt,
    RequestSpace.INTERACT: commands.InteractionReceipt,
    RequestSpace.UPSERT_RECIPIENT: Recipient,
    RequestSpace.DELETE_RECIPIENT: commands.EraseReceipt,
    RequestSpace.CREATE_TENANT: Tenant,
    RequestSpace.SUSPEND_TENANT: Tenant,
    RequestSpace.DELETE_TENANT: Tenant,
    RequestSpace.UPDATE_QUOTAS: Tenant,
    RequestSpace.CREATE_API_KEY: ApiKey,
    RequestSpace.REVOKE_API_KEY: ApiKey,
    RequestSpace.UPSERT_CATEGORY: Category,
    RequestSpace.DELETE_CATEGORY: Category,
    RequestSpace.UPDATE_PREFERENCES: commands.PreferencesReceipt,
    RequestSpace.UNSUBSCRIBE: commands.PreferencesReceipt,
    RequestSpace.CREATE_TEMPLATE_VERSION: commands.TemplateReceipt,
    RequestSpace.ACTIVATE_TEMPLATE_VERSION: Template,
    RequestSpace.CREATE_BROADCAST: Broadcast,
    RequestSpace.CANCEL_BROADCAST: Broadcast,
    RequestSpace.CREATE_TOPIC: Topic,
    RequestSpace.DELETE_TOPIC: Topic,
    RequestSpace.ADD_MEMBERS: commands.MembersReceipt,
    RequestSpace.REMOVE_MEMBERS: commands.MembersReceipt,
}

_SELECT = Select(
    ("request_id", Blob("fingerprint"), Blob("receipt")),
    "FROM requests WHERE tenant = ? AND space = ? AND request_id {in_keys}",
)

_INSERT = Insert(
    "requests", ("tenant", "space", "request_id", "fingerprint", "receipt", "recipient", "create_time")
)

RequestId = tuple[str, RequestSpace, str]
"""Tenant, space and id: unique."""


class Receipts:
    """Reads and records receipts. Holds the decoders, and nothing that changes."""

    def __init__(self) -> None:
        self._encode = msgpack.Encoder().encode
        self._decode = {space: msgpack.Decoder(type).decode for space, type in _RECEIPT_TYPES.items()}

    def recorded(
        self, connection: Connection, ids: Sequence[RequestId]
    ) -> dict[RequestId, tuple[bytes, Any]]:
        """Fingerprint and receipt of those ids that were recorded."""
        found: dict[RequestId, tuple[bytes, Any]] = {}
        by_space: dict[tuple[str, RequestSpace], list[str]] = {}
        for tenant, space, request_id in ids:
            by_space.setdefault((tenant, space), []).append(request_id)
        for (tenant, space), request_ids in by_space.items():
            rows = connection.select_in(_SELECT, (tenant, int(space)), request_ids)
            for request_id, fingerprint, receipt in rows:
                found[tenant, space, request_id] = (fingerprint, self._decode[space](receipt))
        return found

    def record(
        self, connection: Connection, now: Micros, receipts: Sequence[tuple[str, RequestKey, object]]
    ) -> None:
        """Records (tenant, key, receipt) of what the transaction is about to commit."""
        rows: list[tuple[Any, ...]] = [
            (tenant, int(key.space), key.id, key.fingerprint, self._encode(receipt), _whose(receipt), now)
            for tenant, key, receipt in receipts
        ]
        # Sorted, so that engines with row locks take them in one order.
        rows.sort(key=lambda row: row[:3])
        connection.insert(_INSERT, rows)


def _whose(receipt: object) -> str | None:
    """The recipient whose personal data a receipt holds: it is erased with the recipient."""
    match receipt:
        case Recipient():
            return receipt.key
        case commands.PreferencesReceipt():
            return receipt.recipient or None
        case _:
            return None


def recall(transaction: Transaction, commands: Sequence[Recall[Any]]) -> list[NotFound]:
    """The writer answers what was committed before; what comes here was not."""
    return [NotFound()] * len(commands)


def check_same_request(key: RequestKey, recorded_fingerprint: bytes) -> None:
    """Raises RequestIdReused if an id was used for another request.

    The first byte is the fingerprint's version: requests of two versions cannot be told apart and count as the same.
    """
    if key.fingerprint[:1] == recorded_fingerprint[:1] and key.fingerprint != recorded_fingerprint:
        raise RequestIdReused(request_id=key.id)
