"""Filters as SQL: whom a database finds is whom the filter names."""

from contextlib import closing
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.desk import Desk
from tests.support.stores import TurnedClock
from tocsin_server.domain.audience import (
    And,
    Comparator,
    Comparison,
    Field,
    FieldName,
    Filter,
    Not,
    Or,
    Presence,
    matches,
    parse_filter,
)
from tocsin_server.domain.recipient import Profile
from tocsin_server.store.audience import condition_of
from tocsin_server.store.engine import Engine
from tocsin_server.store.sql import Connection
from tocsin_server.store.sqlite.engine import SqliteEngine
from tocsin_server.store.store import Store

NAMES = ("plan", "seats", 'a "b"', "$.x", "2024", "é", "[0]", "\\", ":filter_0", "%s", "?")
TEXTS = ("", "pro", "Pro", "12", "12.0", "-3.5", "-0", "01", "1e3", "1.", ".5", " 1", "123456789012345",
         "1234567890123456", "é", "\U0001f600", "\uffff", "'", '"', "%", "?", ":x", "\\", "a;b", "true")  # fmt: skip
NUMBERS = (0.0, -0.0, 1.0, 12.0, -3.5, 1000.0, 123456789012345.0, 0.1)

PEOPLE = {
    "ada": Profile("pt-BR", "Europe/Lisbon", dict(zip(NAMES, TEXTS, strict=False))),
    "bob": Profile("pt", "", dict(zip(NAMES, reversed(TEXTS), strict=False))),
    "carol": Profile("", "UTC", {"plan": "pro", "seats": "12"}),
    "dan": Profile("de", "UTC", dict(zip(NAMES, TEXTS[7:], strict=False))),
    "é": Profile("de", "", {"seats": "0.1", "plan": ""}),
    "\U0001f600": Profile(),
    "12": Profile(attributes={"seats": "-0", "plan": "\uffff"}),
}

fields = st.one_of(
    st.sampled_from([Field(name) for name in FieldName if name is not FieldName.ATTRIBUTES]),
    st.sampled_from(NAMES).map(lambda name: Field(FieldName.ATTRIBUTES, name)),
)
comparisons = st.builds(
    Comparison,
    fields,
    st.sampled_from(Comparator),
    st.one_of(st.sampled_from(TEXTS), st.sampled_from(sorted(PEOPLE)), st.sampled_from(NUMBERS)),
)
filters = st.recursive(
    st.one_of(comparisons, st.builds(Presence, fields)),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=4).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=4).map(tuple)),
    ),
    max_leaves=12,
)


def engine(folder: Path, url: str | None, clock: TurnedClock) -> Engine:
    if url is None:
        return SqliteEngine(folder / "tocsin.db", 1 << 20, clock)
    from tocsin_server.store.postgres.engine import PostgresEngine

    return PostgresEngine(url, 1, clock)


def named(connection: Connection, filter: Filter) -> set[str]:
    condition = condition_of(connection, filter)
    found = connection.execute(
        f"SELECT recipient FROM recipients AS r WHERE tenant = :tenant AND {condition.sql}",
        {"tenant": "default", **condition.values},
    )
    return {recipient for (recipient,) in found}


async def test_a_database_finds_whom_a_filter_names(
    desk: Desk, store: Store, tmp_path: Path, clock: TurnedClock, database_url: str | None
) -> None:
    for key, person in PEOPLE.items():
        await desk.upsert(key, locale=person.locale, time_zone=person.time_zone, attributes=person.attributes)

    with closing(engine(tmp_path, database_url, clock).open_reader()) as connection:

        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(filter=filters)
        def agrees(filter: Filter) -> None:
            expected = {key for key, person in PEOPLE.items() if matches(filter, key, person)}
            assert named(connection, filter) == expected

        agrees()
        # What a change of the profile takes away is gone.
        await desk.upsert("ada", attributes={}, locale="")
        assert "ada" not in named(connection, parse_filter("attributes:plan OR locale:*"))
