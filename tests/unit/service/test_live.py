"""What gathers for a stream. How a session goes on with it is in `test_session`."""

from collections.abc import Sequence

from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind

from tests.support.desk import CODEC, Desk
from tests.support.stores import TurnedClock
from tests.support.streams import exchange
from tests.support.waiting import eventually
from tocsin_server.service.tracing import Attributes
from tocsin_server.store.store import Store


class Pushes:
    """Notes which traces each push is linked to."""

    def __init__(self) -> None:
        self.linked: list[set[int]] = []

    def begin(
        self, name: str, kind: SpanKind, attributes: Attributes, parent: SpanContext | None
    ) -> Span | None:
        raise NotImplementedError

    def begin_linked(
        self, name: str, kind: SpanKind, attributes: Attributes, linked: Sequence[SpanContext]
    ) -> Span | None:
        self.linked.append({context.trace_id for context in linked})
        return INVALID_SPAN


def trace_of(number: int) -> bytes:
    return CODEC.trace(f"00-{number:032x}-{1:016x}-01")


async def test_a_push_is_linked_to_what_it_carries_and_to_nothing_else(
    opened_store: Store, turned_clock: TurnedClock, desk: Desk
) -> None:
    pushes = Pushes()
    async with exchange(opened_store, turned_clock, tracing=pushes) as streams:
        follower = await streams.live("ada", max_in_flight=2)
        follower.stop_reading()
        await desk.send(trace=trace_of(1))
        await follower.has(1)
        for number in (2, 3, 4):
            await desk.send(trace=trace_of(number))
        # Of the three that have gathered there is credit for one.
        follower.read_on()
        await follower.has(1, 2)
        await eventually(lambda: follower.session.stalled_since is not None, "the stall to show")
        assert pushes.linked == [{1}, {2}]
