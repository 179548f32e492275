import uuid

import pytest

import tocsin


def test_a_request_id_is_a_uuid_of_version_7() -> None:
    parsed = uuid.UUID(hex=tocsin.new_request_id())
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122


def test_the_first_48_bits_are_unix_milliseconds_and_the_next_their_fraction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_500_000)
    value = uuid.UUID(hex=tocsin.new_request_id()).int
    assert value >> 80 == 1_700_000_000_123
    assert value >> 64 & 0xFFF == 2048


def test_later_request_ids_sort_after_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_700_000_000_000_000_000, 1_700_000_000_100_000_000, 1_000))
    monkeypatch.setattr("time.time_ns", lambda: next(clock))
    made = [tocsin.new_request_id() for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
