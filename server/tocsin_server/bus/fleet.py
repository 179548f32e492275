"""What the replicas of one database share besides it."""

from dataclasses import dataclass

from tocsin_server.service.ports import Bus, Presence, SharedBuckets, SummaryCache


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of it. Who is alone has no use for buckets and a cache that others could reach."""

    bus: Bus
    presence: Presence
    buckets: SharedBuckets | None = None
    summaries: SummaryCache | None = None
