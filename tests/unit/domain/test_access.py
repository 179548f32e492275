"""What a caller may do."""

import pytest

from tocsin_server.domain.access import ApiKey, Principal, Scope, matches
from tocsin_server.domain.errors import CategoryNotAllowed, RecipientNotAllowed, ScopeMissing


def principal(
    *scopes: Scope, recipients: tuple[str, ...] = (), categories: tuple[str, ...] = ()
) -> Principal:
    return Principal("acme", "key", frozenset(scopes), recipients, categories)


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        ((Scope.SEND,), Scope.SEND, True),
        ((Scope.SEND,), Scope.INBOX_READ, False),
        ((), Scope.SEND, False),
        ((Scope.ADMIN,), Scope.SEND, True),
        ((Scope.ADMIN,), Scope.ADMIN, True),
        ((Scope.ADMIN,), Scope.OPERATOR, False),  # of its own tenant only
        ((Scope.OPERATOR,), Scope.OPERATOR, True),
        ((Scope.OPERATOR,), Scope.SEND, False),  # who runs the server does not read its mail
        ((Scope.OPERATOR, Scope.ADMIN), Scope.SEND, True),
    ],
)
def test_scopes(held: tuple[Scope, ...], wanted: Scope, allowed: bool) -> None:
    caller = principal(*held)
    if allowed:
        caller.require_scope(wanted)
    else:
        with pytest.raises(ScopeMissing) as refused:
            caller.require_scope(wanted)
        assert refused.value.metadata == {"scope": str(wanted)}


@pytest.mark.parametrize(
    ("patterns", "value", "match"),
    [
        ((), "ada", False),
        (("ada",), "ada", True),
        (("ada",), "ada2", False),
        (("ada",), "Ada", False),  # keys are what they are
        (("team-*",), "team-", True),
        (("team-*",), "team-7", True),
        (("team-*",), "my-team-7", False),
        (("*",), "", True),
        (("a*b",), "a*b", True),  # a star elsewhere is a star
        (("a*b",), "axb", False),
        (("a", "b*"), "bob", True),
    ],
)
def test_patterns(patterns: tuple[str, ...], value: str, match: bool) -> None:
    assert matches(patterns, value) is match


def test_without_patterns_everything_is_allowed() -> None:
    principal().require_recipient("ada")
    principal().require_category("orders")


def test_with_patterns_only_what_they_match() -> None:
    caller = principal(recipients=("ada", "team-*"), categories=("orders.*",))
    caller.require_recipient("team-7")
    caller.require_category("orders.shipped")
    with pytest.raises(RecipientNotAllowed) as recipient:
        caller.require_recipient("bob")
    with pytest.raises(CategoryNotAllowed) as category:
        caller.require_category("news")
    assert recipient.value.metadata == {"recipient": "bob"}
    assert category.value.metadata == {"category": "news"}


def test_a_key_calls_as_itself() -> None:
    key = ApiKey("k1", "acme", "Shop", (Scope.SEND,), ("ada",), ("orders",), 1, expire_time=9)
    assert key.principal() == Principal("acme", "k1", frozenset({Scope.SEND}), ("ada",), ("orders",), 9)
