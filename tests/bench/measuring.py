"""Numbers: medians, percentiles, and the share of a processor that this process took."""

import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psutil


def median(values: Iterable[float]) -> float:
    """The value in the middle."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


@dataclass
class Busy:
    """How many processors' worth of work this process, and others, did within the context."""

    others: Sequence[psutil.Process] = ()
    own: float = 0.0
    of_others: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def __enter__(self) -> Self:
        self._began = (time.monotonic(), time.process_time(), [_cpu(other) for other in self.others])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        began, own, others = self._began
        self.seconds = time.monotonic() - began
        self.own = (time.process_time() - own) / self.seconds
        self.of_others = [
            (_cpu(other) - before) / self.seconds for other, before in zip(self.others, others, strict=True)
        ]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
