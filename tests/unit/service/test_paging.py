"""Pages: their sizes, and tokens that are good for one list only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.samples import entry
from tocsin_server.domain.errors import PageTokenInvalid
from tocsin_server.service.paging import MAX_PAGE_BYTES, PageTokens, effective_page_size, fitting

TOKENS = PageTokens(bytes(range(32)))


@pytest.mark.parametrize(
    ("asked", "size"), [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)]
)
def test_the_size_of_a_page(asked: int, size: int) -> None:
    assert effective_page_size(asked) == size


@given(st.text(max_size=60))
def test_a_token_leads_back_to_its_position(position: str) -> None:
    try:
        position.encode()
    except UnicodeEncodeError:
        return
    token = TOKENS.seal("entries", ("acme", "ada"), position)
    assert TOKENS.open("entries", ("acme", "ada"), token) == position
    assert "=" not in token


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.open("entries", (), "") is None


@pytest.mark.parametrize(
    ("tokens", "kind", "asked"),
    [
        (TOKENS, "sessions", ("acme", "ada")),  # another list
        (TOKENS, "entries", ("acme", "bob")),  # asked for something else
        (TOKENS, "entries", ("acme", "ada", "")),
        (PageTokens(bytes(32)), "entries", ("acme", "ada")),  # another server
    ],
)
def test_a_token_is_good_for_one_list(tokens: PageTokens, kind: str, asked: tuple[str, ...]) -> None:
    token = TOKENS.seal("entries", ("acme", "ada"), "17")
    with pytest.raises(PageTokenInvalid):
        tokens.open(kind, asked, token)


@given(st.text(min_size=1, max_size=80))
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(PageTokenInvalid):
        TOKENS.open("entries", (), text)


SIZES = [
    # (sizes of the contents, how many fit)
    ([], 0),
    ([10, 10], 2),
    # A single one is given however large it is.
    ([MAX_PAGE_BYTES + 1], 1),
    ([10, MAX_PAGE_BYTES], 1),
    ([MAX_PAGE_BYTES // 2] * 3, 2),
]


@pytest.mark.parametrize(("sizes", "fit"), SIZES)
def test_a_page_fits_a_message(sizes: list[int], fit: int) -> None:
    entries = [entry(content=bytes(size), envelope=b"") for size in sizes]
    assert fitting(entries) == entries[:fit]
