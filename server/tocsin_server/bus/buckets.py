"""Token buckets in Redis."""

from collections.abc import Mapping

from tocsin_server.bus.connections import FAILURES, Connections
from tocsin_server.bus.scripts import script


class RedisBuckets:
    """Implements `service.ports.SharedBuckets`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._script = script("token_bucket")

    async def draw(self, wanted: Mapping[str, tuple[int, int, int]]) -> dict[str, tuple[int, float]] | None:
        """See `ports.SharedBuckets`."""
        try:
            answers = await self._connections.execute(
                [("EVAL", self._script, 1, f"b:{tenant}", *asked) for tenant, asked in wanted.items()]
            )
        except FAILURES:
            return None
        return {tenant: (given, float(left)) for tenant, (given, left) in zip(wanted, answers, strict=True)}
