"""Instants and durations: protobuf's seconds and nanoseconds, and whole microseconds."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tocsin_server.domain.time import SECOND, Micros

_NANOS_A_MICRO = 1_000


def micros(time: Timestamp | Duration) -> Micros:
    """An instant or a duration; what is finer than a microsecond is dropped."""
    return time.seconds * SECOND + time.nanos // _NANOS_A_MICRO


def timestamp(instant: Micros | None) -> Timestamp | None:
    """An instant; None for one that is not there, which a message's constructor takes for an absent field."""
    if instant is None:
        return None
    seconds, rest = divmod(instant, SECOND)
    return Timestamp(seconds=seconds, nanos=rest * _NANOS_A_MICRO)


def duration(length: Micros) -> Duration:
    """A duration, not negative."""
    seconds, rest = divmod(length, SECOND)
    return Duration(seconds=seconds, nanos=rest * _NANOS_A_MICRO)
