"""How the server is: each part reports of itself, and GetStatus puts the reports together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import structlog

from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock

_log = structlog.get_logger(__name__)


class ComponentState(IntEnum):
    """How a part is; numbered as in the contract."""

    OK = 1
    DEGRADED = 2
    DOWN = 3


@dataclass(frozen=True, slots=True)
class ComponentReport:
    """One part at a moment."""

    name: str
    state: ComponentState
    since: Micros
    detail: str = ""
    """What is wrong; empty when nothing is."""
    consequence: str = ""
    """What it means for a caller; empty when nothing is wrong."""


class Component:
    """How one part is, told by whoever runs it as often as it likes.

    A change is logged, a repetition is not: what is broken for an hour has one line at its beginning and one at its
    end. Safe to call from any thread.
    """

    __slots__ = ("_clock", "_report")

    def __init__(self, name: str, clock: Clock) -> None:
        self._clock = clock
        self._report = ComponentReport(name, ComponentState.OK, clock.now())

    @property
    def report(self) -> ComponentReport:
        """How it is now."""
        return self._report

    def ok(self) -> None:
        """It works."""
        if self._report.state is not ComponentState.OK:
            self._become(ComponentState.OK, "", "")

    def degraded(self, detail: str, consequence: str) -> None:
        """It works, but worse."""
        if self._report.state is not ComponentState.DEGRADED:
            self._become(ComponentState.DEGRADED, detail, consequence)

    def down(self, detail: str, consequence: str) -> None:
        """It does not work."""
        if self._report.state is not ComponentState.DOWN:
            self._become(ComponentState.DOWN, detail, consequence)

    def _become(self, state: ComponentState, detail: str, consequence: str) -> None:
        before, now = self._report, self._clock.now()
        self._report = ComponentReport(before.name, state, now, detail, consequence)
        log = _log.info if state is ComponentState.OK else _log.warning
        log(
            "component changed",
            component=before.name,
            state=state.name,
            after_seconds=round((now - before.since) / 1e6, 3),
            **{key: value for key, value in (("detail", detail), ("consequence", consequence)) if value},
        )


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What waits in one queue."""

    name: str
    depth: int
    bytes: int
    oldest_age: Micros


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What sessions hold."""

    sessions: int = 0
    recipients: int = 0
    poll_interval: Micros = 0


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How the server is, as GetStatus tells it."""

    version: str
    instance_id: str
    start_time: Micros
    components: list[ComponentReport]
    queues: list[QueueReport]
    schema_version: int
    epoch: bytes
    streams: StreamReport
    draining: bool
    event_loop_lag: Micros
    timer_lag: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSources:
    """Where the parts of a status come from. Each is asked when somebody wants to know."""

    components: Sequence[Component]
    queues: Sequence[Callable[[], QueueReport]]
    streams: Callable[[], StreamReport]
    epoch: Callable[[], bytes]
    draining: Callable[[], bool]
    event_loop_lag: Callable[[], Micros]
    """At worst in the last 10 s."""
    timer_lag: Callable[[], Micros]


class Status:
    """Puts together what GetStatus says. Asks nobody who could keep it waiting: it must answer when others do not."""

    def __init__(
        self, version: str, instance_id: str, start_time: Micros, schema_version: int, sources: StatusSources
    ) -> None:
        self._version = version
        self._instance_id = instance_id
        self._start_time = start_time
        self._schema_version = schema_version
        self._sources = sources

    def get(self) -> ServerStatus:
        """How the server is now."""
        sources = self._sources
        return ServerStatus(
            self._version,
            self._instance_id,
            self._start_time,
            [component.report for component in sources.components],
            [queue() for queue in sources.queues],
            self._schema_version,
            sources.epoch(),
            sources.streams(),
            sources.draining(),
            sources.event_loop_lag(),
            sources.timer_lag(),
        )
