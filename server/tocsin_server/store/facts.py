"""What the store knows of itself: the key of its cursors, its epoch, and what its engine tells a rewind by."""

import secrets

from tocsin_server.store.sql import Connection

EPOCH_BYTES = 8
INCARNATION_BYTES = 8
_CURSOR_KEY_BYTES = 32

_READ = "SELECT value FROM store_facts WHERE name = ?"
_WRITE = "INSERT INTO store_facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

# A position is kept with the incarnation as it is stored, which no epoch changes. One that matches no inbox has its
# consumer told of the reset, where a position that is gone would let it start as if it had never been there.
_VOID_POSITIONS = "UPDATE consumer_positions SET incarnation = ?"


def read_fact(connection: Connection, name: str) -> bytes | None:
    """A fact's value; None: never written."""
    row = connection.execute(_READ, (name,)).fetchone()
    return row and bytes(row[0])


def write_epoch(connection: Connection) -> bytes:
    """Draws and writes a new epoch. Cursors are void by it; acknowledged positions are made so."""
    epoch = secrets.token_bytes(EPOCH_BYTES)
    write_fact(connection, "epoch", epoch)
    connection.execute(_VOID_POSITIONS, (secrets.token_bytes(INCARNATION_BYTES),))
    return epoch


def write_fact(connection: Connection, name: str, value: bytes) -> None:
    """Writes a fact, or changes it."""
    connection.execute(_WRITE, (name, value))


def ensure_facts(connection: Connection) -> None:
    """Writes the facts of a new store."""
    if read_fact(connection, "cursor_key") is None:
        write_fact(connection, "cursor_key", secrets.token_bytes(_CURSOR_KEY_BYTES))
        write_epoch(connection)
