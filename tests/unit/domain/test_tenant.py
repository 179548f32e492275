"""Quotas: a tenant's own, else the server's."""

import pytest

from tocsin_server.domain.tenant import Quotas
from tocsin_server.domain.value import field_names

DEFAULTS = Quotas(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("own", "effective"),
    [
        (Quotas(), DEFAULTS),
        (Quotas(max_streams=40), Quotas(1, 2, 3, 40, 5, 6)),
        (Quotas(10, 20, 30, 40, 50, 60), Quotas(10, 20, 30, 40, 50, 60)),
    ],
)
def test_what_is_not_set_is_the_servers(own: Quotas, effective: Quotas) -> None:
    assert own.or_defaults(DEFAULTS) == effective


@pytest.mark.parametrize("name", field_names(Quotas))
def test_each_quota_stands_alone(name: str) -> None:
    own = Quotas(**{name: 99})
    assert [getattr(own.or_defaults(DEFAULTS), each) for each in field_names(Quotas)] == [
        99 if each == name else getattr(DEFAULTS, each) for each in field_names(Quotas)
    ]
