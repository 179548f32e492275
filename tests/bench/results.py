"""Rows of results: made from paired measurements, kept in a file, printed as a table."""

import json
import operator
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.bench.measuring import median

RESULTS = Path(__file__).with_name("results.json")

Bound = Literal["at least", "at most"]
Extra = float | int | str


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: what was measured, and its yardstick right beside it."""

    value: float
    yardstick: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of results. `ratio` is the median of the rounds' ratios: what disturbs one disturbs both its sides."""

    name: str
    value: float
    unit: str
    yardstick: float
    ratio: float
    bar: str
    """What the ratio must be: `>= 0.5`, `<= 2.5`; and the value, if there is more: `<= 50 ms`."""
    rounds: int
    passed: bool
    extra: dict[str, Extra] = field(default_factory=dict)


def row(
    name: str,
    unit: str,
    pairs: Sequence[Pair],
    bound: Bound,
    bar: float,
    *,
    also: bool = True,
    also_bar: str = "",
    **extra: Extra,
) -> Row:
    """A row of one or more rounds. `also` is whether what else was asked for, which `also_bar` says, was met."""
    ratios = [pair.value / pair.yardstick for pair in pairs]
    ratio = median(ratios)
    holds, sign = (operator.ge, ">=") if bound == "at least" else (operator.le, "<=")
    spread: dict[str, Extra] = {}
    if len(ratios) > 1:
        spread = {"lowest_ratio": _short(min(ratios)), "highest_ratio": _short(max(ratios))}
    return Row(
        name,
        _short(median(pair.value for pair in pairs)),
        unit,
        _short(median(pair.yardstick for pair in pairs)),
        _short(ratio),
        f"{sign} {bar:g}{also_bar and f', {also_bar}'}",
        len(pairs),
        bool(holds(ratio, bar)) and also,
        spread | {key: _short(value) if isinstance(value, float) else value for key, value in extra.items()},
    )


def save(rows: Iterable[Row], path: Path = RESULTS) -> None:
    """Puts rows into the file in the place of those of the same names."""
    kept: dict[str, dict[str, Any]] = {}
    if path.exists():
        kept = {each["name"]: each for each in json.loads(path.read_text(encoding="utf-8"))}
    for each in rows:
        flat = asdict(each)
        kept[each.name] = flat | flat.pop("extra")
    path.write_text(json.dumps(list(kept.values()), indent=2) + "\n", encoding="utf-8")


def table(rows: Iterable[Row]) -> str:
    """Rows for people."""
    lines = [("line", "value", "unit", "yardstick", "ratio", "must reach", "")]
    lines += [
        (
            each.name,
            f"{each.value:,.6g}",
            each.unit,
            f"{each.yardstick:,.6g}",
            f"{each.ratio:.2f}",
            each.bar,
            "pass" if each.passed else "MISS",
        )
        for each in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def details(each: Row) -> str:
    """What else was measured, in one line."""
    return ", ".join(
        f"{key} {value:,.6g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in each.extra.items()
    )


def _short(value: float) -> float:
    """To four digits: more would be noise."""
    return float(f"{value:.4g}")
