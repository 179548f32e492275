"""Values as they are typed: what is out of every range is a bad value like others."""

from collections.abc import Callable

import pytest
from typer import BadParameter

from tocsin_server.cli import values
from tocsin_server.cli.connection import told


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.span, "99999999999d"),
        (values.span, f"{'9' * 400}s"),
        (values.instant, "99999999999d"),
        (values.instant, "900000000d"),
        (values.instant, "9999-12-31T23:59:59-14:00"),
    ],
)
def test_what_no_clock_can_show_is_a_bad_value(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(BadParameter):
        parse(text)


def test_a_reader_that_has_enough_is_not_taken_for_a_server_that_is_away() -> None:
    with pytest.raises(BrokenPipeError), told("localhost:7700"):
        raise BrokenPipeError
