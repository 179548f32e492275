"""What replicas say to each other, and where."""

import msgspec
import pytest
from redis.crc import key_slot

from tocsin_server.bus.backoff import LONGEST_SECONDS, backoff_seconds
from tocsin_server.bus.channels import (
    EVERYONE,
    NUMBERS,
    heartbeat_channel,
    instance_channel,
    number_of,
    recipient_channel,
    recipient_number,
    recipient_of,
)
from tocsin_server.bus.messages import (
    MAX_ENTRY_BYTES,
    Broadcast,
    Changed,
    Erased,
    broadcast_of,
    change_of,
    changes_of,
    decode,
    hint_of,
)
from tocsin_server.domain.inbox import BroadcastChunk, BroadcastEntry, Counts, InboxChange, InboxErased
from tocsin_server.domain.value import replace

CHANGE = InboxChange(
    "acme", "ada", b"12345678", 7, Counts(1, 2, 3), "orders", b"content", b"envelope", b"trace", 99
)


def test_a_change_comes_out_as_it_went_in() -> None:
    message = decode(hint_of(CHANGE, b"origin", bare=False))
    assert isinstance(message, Changed)
    assert message.origin == b"origin"
    assert change_of(message, "acme", "ada") == CHANGE


@pytest.mark.parametrize("large", [True, False])
def test_a_bare_hint_tells_that_there_is_something(large: bool) -> None:
    content = bytes(MAX_ENTRY_BYTES) if large else b"content"
    encoded = hint_of(replace(CHANGE, content=content), b"origin", bare=not large)
    assert len(encoded) < 100
    message = decode(encoded)
    assert isinstance(message, Changed)
    bare = change_of(message, "acme", "ada")
    assert bare == InboxChange("acme", "ada", b"12345678", 7, Counts(1, 2, 3))


def test_an_erased_inbox() -> None:
    erased = InboxErased("acme", "ada", b"12345678")
    message = decode(hint_of(erased, b"origin", bare=False))
    assert isinstance(message, Erased)
    assert change_of(message, "acme", "ada") == erased


def test_a_broadcast_has_its_content_once() -> None:
    entries = tuple(
        BroadcastEntry(f"r{number}", b"12345678", number, Counts(number, 0, number), bytes(16))
        for number in range(1_000)
    )
    chunk = BroadcastChunk("acme", "news", b"content" * 100, b"shared", b"trace", 99, entries)
    encoded = broadcast_of(chunk, b"origin")
    assert encoded.count(b"content" * 100) == 1
    message = decode(encoded)
    assert isinstance(message, Broadcast)
    (change,) = changes_of(message, {("acme", "r5"), ("other", "r6")})
    assert change == InboxChange(
        "acme",
        "r5",
        b"12345678",
        5,
        Counts(5, 0, 5),
        "news",
        b"content" * 100,
        b"shared",
        b"trace",
        99,
        bytes(16),
    )


def test_what_a_later_version_adds_to_a_message_is_ignored_and_its_new_messages_are_refused() -> None:
    pack = msgspec.msgpack.Encoder().encode
    assert decode(pack([2, b"origin", b"12345678", "more"])) == Erased(b"origin", b"12345678")
    with pytest.raises(msgspec.DecodeError):
        decode(pack([99, b"origin"]))


def test_channels() -> None:
    assert recipient_channel("acme", "a:b{c}") == f"t:{{{recipient_number('acme', 'a:b{c}')}}}:acme:a:b{{c}}"
    assert recipient_of(recipient_channel("acme", "a:b{c}")) == ("acme", "a:b{c}")
    for channel in (EVERYONE, instance_channel("one"), heartbeat_channel(17, "one")):
        assert recipient_of(channel) is None
        assert 0 <= number_of(channel) < NUMBERS
    # All channels of a number are in one slot, whatever else is in their names.
    number = recipient_number("acme", "a:b{c}")
    assert (
        key_slot(recipient_channel("acme", "a:b{c}").encode())
        == key_slot(heartbeat_channel(number, "one").encode())
        == key_slot(f"{{{number}}}".encode())
    )


def test_backing_off() -> None:
    assert [backoff_seconds(failures, 1) for failures in (1, 2, 3)] == [0.05, 0.1, 0.2]
    assert backoff_seconds(2, 0) == 0.05
    assert backoff_seconds(1_000_000, 1) == LONGEST_SECONDS
