"""Unsubscribe tokens: what comes out is what went in, and nothing else is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_server.domain.errors import UnsubscribeTokenInvalid
from tocsin_server.domain.notification import Channel
from tocsin_server.domain.unsubscribe import (
    Subscription,
    open_subscription,
    seal_subscription,
    unsubscribe_key,
)

KEY = unsubscribe_key(b"k" * 32)
ADA = Subscription("acme", "ada", "orders", Channel.EMAIL)

subscriptions = st.builds(
    Subscription,
    st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,62}\Z"),
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128),
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}\Z"),
    st.sampled_from(Channel),
)


@given(subscriptions)
def test_a_token_says_what_it_was_made_of(subscription: Subscription) -> None:
    token = seal_subscription(KEY, subscription)
    assert open_subscription(KEY, token) == subscription
    assert len(token) <= 1_024
    assert "=" not in token
    assert token.isascii()


@given(subscriptions, subscriptions)
def test_another_subscription_has_another_token(one: Subscription, other: Subscription) -> None:
    assert (seal_subscription(KEY, one) == seal_subscription(KEY, other)) is (one == other)


@given(st.one_of(st.text(max_size=100), st.binary(max_size=100).map(bytes.hex)))
def test_what_the_key_did_not_make_is_refused(text: str) -> None:
    with pytest.raises(UnsubscribeTokenInvalid):
        open_subscription(KEY, text)


@pytest.mark.parametrize(
    "key",
    [
        unsubscribe_key(b"l" * 32),  # of another store
        b"k" * 32,  # of the store itself, which cursors and pages are sealed with
    ],
)
def test_a_token_is_bound_to_its_store_and_its_purpose(key: bytes) -> None:
    with pytest.raises(UnsubscribeTokenInvalid):
        open_subscription(KEY, seal_subscription(key, ADA))


def test_there_is_one_way_to_write_a_token() -> None:
    token = seal_subscription(KEY, ADA)
    for other in (token + "=", token + "==", token + "A", token[:-1], f" {token}", f"{token}\n"):
        with pytest.raises(UnsubscribeTokenInvalid):
            open_subscription(KEY, other)
