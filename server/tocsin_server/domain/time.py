"""Instants and durations as whole microseconds: exact, ordered, and cheap to store and compare."""

Micros = int
"""Microseconds; since the Unix epoch (UTC) where it is an instant."""

SECOND: Micros = 1_000_000
MINUTE: Micros = 60 * SECOND
HOUR: Micros = 60 * MINUTE
DAY: Micros = 24 * HOUR
