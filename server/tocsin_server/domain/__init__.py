"""Values and pure policy: no I/O, no clock, no wire format.

Instants and durations are whole microseconds (`Micros`), counted from the Unix epoch in UTC where they are instants.
"""
