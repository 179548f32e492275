"""Cursors: only whoever has the key makes one, and each belongs to one recipient, incarnation and filter."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_server.domain.cursor import (
    UNBORN,
    UNFILTERED,
    Cursor,
    CursorMint,
    check_resumable,
    filter_digest,
    incarnation_in_epoch,
    open_cursor,
)
from tocsin_server.domain.errors import (
    CursorExpired,
    CursorInvalid,
    CursorMismatch,
    CursorOutOfRange,
    IncarnationChanged,
)
from tocsin_server.domain.inbox import Inbox

KEY = bytes(range(32))
INCARNATION = b"incarnat"
FILTER = filter_digest(("orders",))
MINT = CursorMint(KEY, "acme", "ada", INCARNATION, FILTER)

revisions = st.integers(0, 2**63 - 1)


def test_a_cursor_says_what_it_was_made_of() -> None:
    for revision in (0, 1, 2**40, 2**63 - 1):
        token = MINT.token(revision)
        assert open_cursor(KEY, "acme", "ada", token) == Cursor(INCARNATION, FILTER, revision)
        assert MINT.token_bytes(revision) == token.encode()
        assert token.isascii()
        assert len(token) <= 256


@pytest.mark.parametrize(
    ("key", "tenant", "recipient", "error"),
    [
        (KEY, "acme", "bob", CursorMismatch),
        (KEY, "other", "ada", CursorMismatch),
        (KEY, "acm", "eada", CursorMismatch),
        (bytes(32), "acme", "ada", CursorInvalid),  # another server's
    ],
)
def test_a_cursor_is_good_for_one_recipient(
    key: bytes, tenant: str, recipient: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        open_cursor(key, tenant, recipient, MINT.token(1))


@given(st.integers(0, 8 * 39 - 1))
def test_a_flipped_bit_is_noticed_wherever_it_is(bit: int) -> None:
    raw = bytearray(urlsafe_b64decode(MINT.token(7)))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CursorInvalid):
        open_cursor(KEY, "acme", "ada", urlsafe_b64encode(bytes(raw)).decode())


@given(st.text(max_size=80))
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        open_cursor(KEY, "acme", "ada", text)


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda token: token[:-4],  # cut
        lambda token: token + "AAAA",  # more behind it
        lambda token: token[:10] + "\n" + token[10:],  # a character that base64 decoders like to pass over
        lambda token: token[:10] + "!" + token[10:],
        lambda token: token[:10] + "é" + token[11:],
        lambda token: token.replace("-", "+").replace("_", "/") + "=",
        lambda token: " " + token,
    ],
)
def test_a_spoiled_cursor_is_refused(spoiled: object) -> None:
    with pytest.raises(CursorInvalid):
        open_cursor(KEY, "acme", "ada", spoiled(MINT.token(1)))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((), (), True),
        (("a", "b"), ("b", "a"), True),  # order does not matter
        (("a",), (), False),
        (("a",), ("b",), False),
        (("a", "b"), ("ab",), False),
        (("a", "b"), ("a", "b", "c"), False),
    ],
)
def test_filters(one: tuple[str, ...], other: tuple[str, ...], same: bool) -> None:
    assert (filter_digest(one) == filter_digest(other)) is same
    assert filter_digest(()) == UNFILTERED


def test_a_bump_of_the_epoch_changes_every_incarnation() -> None:
    one, two = b"epoch 1.", b"epoch 2."
    shown = incarnation_in_epoch(INCARNATION, one)
    assert incarnation_in_epoch(shown, one) == INCARNATION, "it is its own inverse"
    assert incarnation_in_epoch(shown, two) != INCARNATION


INBOX = Inbox("acme", "ada", INCARNATION, revision=9, floor=4)
BARE = Inbox("acme", "ada", INCARNATION, revision=9)


@pytest.mark.parametrize(
    ("cursor", "inbox", "error"),
    [
        (Cursor(INCARNATION, FILTER, 4), INBOX, None),  # at the floor
        (Cursor(INCARNATION, FILTER, 9), INBOX, None),  # at the head
        (Cursor(INCARNATION, FILTER, 3), INBOX, CursorExpired),  # what came after it is gone
        (Cursor(INCARNATION, FILTER, 10), INBOX, IncarnationChanged),  # ahead: the store was rewound
        (Cursor(b"anotherx", FILTER, 5), INBOX, IncarnationChanged),
        (Cursor(INCARNATION, FILTER, 5), None, IncarnationChanged),  # erased
        (Cursor(INCARNATION, UNFILTERED, 5), INBOX, CursorMismatch),
        (Cursor(b"anotherx", UNFILTERED, 1), None, CursorMismatch),  # another filter goes before all else
        (Cursor(UNBORN, FILTER, 0), None, None),  # still unborn
        (Cursor(UNBORN, FILTER, 0), BARE, None),  # all that came is there
        (Cursor(UNBORN, FILTER, 0), INBOX, CursorExpired),
        (Cursor(UNBORN, UNFILTERED, 0), BARE, CursorMismatch),
    ],
)
def test_what_can_be_resumed_from(
    cursor: Cursor, inbox: Inbox | None, error: type[CursorOutOfRange] | None
) -> None:
    if error is None:
        check_resumable(cursor, inbox, FILTER)
    else:
        with pytest.raises(error):
            check_resumable(cursor, inbox, FILTER)
