"""Cursors carry an inbox's incarnation as the store's epoch shows it."""

import pytest

from tocsin_server.domain.cursor import UNFILTERED, Cursor, filter_digest
from tocsin_server.domain.errors import CursorInvalid, CursorMismatch
from tocsin_server.service.cursors import Cursors
from tocsin_server.service.ports import StoreFacts

KEY = bytes(range(32))
INCARNATION = b"incarnat"
CURSORS = Cursors(StoreFacts(KEY, b"epoch 1.", 1))


def test_a_cursor_opens_to_what_is_stored() -> None:
    token = CURSORS.token("acme", "ada", INCARNATION, 7)
    assert CURSORS.open("acme", "ada", token) == Cursor(INCARNATION, UNFILTERED, 7)
    filter = filter_digest(("orders",))
    token = CURSORS.mint("acme", "ada", INCARNATION, filter).token(8)
    assert CURSORS.open("acme", "ada", token) == Cursor(INCARNATION, filter, 8)


def test_after_a_bump_of_the_epoch_it_is_of_another_incarnation() -> None:
    token = CURSORS.token("acme", "ada", INCARNATION, 7)
    bumped = Cursors(StoreFacts(KEY, b"epoch 2.", 1))
    assert bumped.open("acme", "ada", token).incarnation != INCARNATION
    assert bumped.open("acme", "ada", token).revision == 7


def test_whose_it_is_not() -> None:
    token = CURSORS.token("acme", "ada", INCARNATION, 7)
    with pytest.raises(CursorMismatch):
        CURSORS.open("acme", "bob", token)
    with pytest.raises(CursorInvalid):
        Cursors(StoreFacts(bytes(32), b"epoch 1.", 1)).open("acme", "ada", token)
