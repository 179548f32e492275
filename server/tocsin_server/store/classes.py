"""Decision classes of recipients as rows: written once, and found again by what they say."""

from collections.abc import Sequence
from hashlib import blake2b

from msgspec import msgpack

from tocsin_server.domain.recipient_class import NOTHING_SAID_CLASS, RecipientClass
from tocsin_server.store.sql import Blob, Connection, Insert, Select
from tocsin_server.store.transaction import Transaction

NO_CLASS = 0
"""The id of the class of those about whom nothing was said; it has no row."""

_DIGEST_BYTES = 16

_SELECT_IDS = Select(("id", Blob("digest")), "FROM recipient_classes WHERE tenant = ? AND digest {in_keys}")

_INSERT = Insert("recipient_classes", ("tenant", "digest", "value"), "ON CONFLICT DO NOTHING")

_SELECT_VALUES = Select(("id", Blob("value")), "FROM recipient_classes WHERE tenant = ? AND id {in_keys}")

_decode = msgpack.Decoder(RecipientClass).decode


def class_ids(transaction: Transaction, tenant: str, classes: Sequence[RecipientClass]) -> list[int]:
    """The id of each class, in their order; those that are new are written."""
    encoded = [msgpack.encode(each) if each != NOTHING_SAID_CLASS else b"" for each in classes]
    digests = [blake2b(value, digest_size=_DIGEST_BYTES).digest() if value else b"" for value in encoded]
    values = {digest: value for digest, value in zip(digests, encoded, strict=True) if digest}
    ids = _ids(transaction.connection, tenant, list(values))
    # Sorted, as others may be writing the same ones.
    missing = sorted(values.keys() - ids.keys())
    if missing:
        transaction.connection.insert(_INSERT, [(tenant, digest, values[digest]) for digest in missing])
        ids |= _ids(transaction.connection, tenant, missing)
    return [ids[digest] if digest else NO_CLASS for digest in digests]


def read_classes(connection: Connection, tenant: str, ids: Sequence[int]) -> dict[int, RecipientClass]:
    """What the classes say, by their ids."""
    found = {id: _decode(value) for id, value in connection.select_in(_SELECT_VALUES, (tenant,), ids)}
    return found | ({NO_CLASS: NOTHING_SAID_CLASS} if NO_CLASS in ids else {})


def _ids(connection: Connection, tenant: str, digests: Sequence[bytes]) -> dict[bytes, int]:
    return {digest: id for id, digest in connection.select_in(_SELECT_IDS, (tenant,), digests)}
