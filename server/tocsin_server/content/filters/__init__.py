"""Filters: functions of a value, each of which pays for what it looks at and for what it makes.

A filter never makes more than it has paid for beforehand, and none of them is slower than its input is long.
"""

from tocsin_server.content import localized
from tocsin_server.content.filters.filter import Filter
from tocsin_server.content.filters.lists import LIST_FILTERS
from tocsin_server.content.filters.numbers import NUMBER_FILTERS
from tocsin_server.content.filters.texts import TEXT_FILTERS

__all__ = ["FILTERS", "Filter"]

_LOCALIZED_FILTERS = {
    "currency": Filter(localized.currency, 1, 1),
    "date": Filter(localized.date, 0, 1, zoned=True),
    "datetime": Filter(localized.date_and_time, 0, 1, zoned=True),
    "number": Filter(localized.decimal, 0, 1),
    "percent": Filter(localized.percent, 0, 1),
    "plural": Filter(localized.plural, 0, 0, options=frozenset(localized.PLURAL_FORMS)),
    "time": Filter(localized.time_of_day, 0, 1, zoned=True),
}

FILTERS = TEXT_FILTERS | NUMBER_FILTERS | LIST_FILTERS | _LOCALIZED_FILTERS
"""By name: all that a template can use."""
