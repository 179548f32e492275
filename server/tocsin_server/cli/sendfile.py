"""`tocsin send --file`: many notifications, sent once however often one starts.

Two things make that so. Each line has a request id made of the run's name and the line's number, so the server answers
for a line that it has seen with its first answer. And a state file beside the file says how much of it was answered: a
run that was broken off goes on from there, also after the server has forgotten the request ids. When all is answered
the state file is removed.
"""

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf.json_format import MessageToDict
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

import tocsin
from tocsin_server.cli.connection import Session
from tocsin_server.cli.failures import Failure
from tocsin_server.cli.specs import spec_from_json

STATE_SUFFIX = ".tocsin-state"

_SAVE_EVERY = 1000
_SHOWN_REFUSALS = 20


@dataclass
class Position:
    """How much of a file was answered."""

    run: str
    lines: int = 0
    offset: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    """Of everything up to there: another file of this name is not gone on with."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    raw: bytes
    problem: str = ""


@dataclass
class _Tally:
    sent: int = 0
    replayed: int = 0
    refused: int = 0


async def send_file(session: Session, path: Path, run: str) -> None:
    """Sends what a file holds, shows how it goes, and reports at the end. Raises Failure if a line was refused."""
    state = path.with_name(path.name + STATE_SUFFIX)
    tally = _Tally()
    with path.open("rb") as file, _progress(session) as progress:
        position = _resume(state, file, run)
        if position.lines:
            session.out.note(Text(f"Going on behind line {position.lines}.", style="dim"))
        bar = progress.add_task("", total=os.fstat(file.fileno()).st_size, completed=position.offset, sent=0)
        under_way: deque[_Line] = deque()

        def answered(line: _Line) -> None:
            position.lines, position.offset = line.number, position.offset + len(line.raw)
            position.digest.update(line.raw)
            if position.lines % _SAVE_EVERY == 0:
                _save(state, position)
            progress.update(bar, completed=position.offset, sent=tally.sent + tally.replayed)

        def skip_unsendable() -> None:
            while under_way and under_way[0].problem:
                line = under_way.popleft()
                _refuse(session, tally, line.number, line.problem)
                answered(line)

        try:
            async with session.connect(patient=True) as client:
                outcomes = client.send_many(_items(file, position, under_way))
                async with aclosing(outcomes):
                    async for outcome in outcomes:
                        skip_unsendable()
                        line = under_way.popleft()
                        _count(session, tally, line.number, outcome)
                        answered(line)
            skip_unsendable()
        finally:
            _save(state, position)
        state.unlink()
    _report(session, tally)


def _items(file: BinaryIO, position: Position, under_way: deque[_Line]) -> Iterator[tocsin.SendItem]:
    """What the file's lines say; each line is noted in `under_way`, also one that says nothing that can be sent."""
    for number, raw in enumerate(file, start=position.lines + 1):
        if not raw.strip():
            under_way.append(_Line(number, raw, "the line is empty"))
            continue
        try:
            spec = spec_from_json(raw)
        except ValueError as error:
            under_way.append(_Line(number, raw, str(error)))
            continue
        under_way.append(_Line(number, raw))
        yield tocsin.SendItem(request_id=request_id(position.run, number), notification=spec)


def request_id(run: str, line: int) -> str:
    """The request id of a line; a name that is too long for one goes by its hash."""
    name = run if len(run) <= 100 else hashlib.sha256(run.encode()).hexdigest()
    return f"{name}:{line}"


def _count(session: Session, tally: _Tally, line: int, outcome: tocsin.SendOutcome) -> None:
    if outcome.result is None:
        _refuse(session, tally, line, str(outcome.error))
        return
    if outcome.result.replayed:
        tally.replayed += 1
    else:
        tally.sent += 1
    if session.out.as_json:
        session.out.line({"line": line, "result": MessageToDict(outcome.result)})


def _refuse(session: Session, tally: _Tally, line: int, problem: str) -> None:
    tally.refused += 1
    if session.out.as_json:
        session.out.line({"line": line, "error": problem})
    elif tally.refused <= _SHOWN_REFUSALS:
        session.out.note(Text.assemble((f"line {line}: ", "red"), problem))


def _report(session: Session, tally: _Tally) -> None:
    if not session.out.as_json:
        session.out.console.print(
            Text.assemble(
                (f"{tally.sent:,} sent", "bold green"),
                f", {tally.replayed:,} had been sent before" if tally.replayed else "",
                (f", {tally.refused:,} refused" if tally.refused else "", "bold red"),
            )
        )
    if tally.refused:
        raise Failure(
            f"{tally.refused:,} lines were refused.",
            "Mend them and send the file again: the other lines are not sent twice.",
        )


def _resume(state: Path, file: BinaryIO, run: str) -> Position:
    """Where to go on; leaves the file there. Raises Failure if the state does not belong to the file."""
    position = Position(run)
    try:
        kept = json.loads(state.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return position
    except ValueError as error:
        raise Failure(
            f"{state}: cannot be read: {error}.", "Remove it to start from the first line."
        ) from error
    if kept["run"] != run:
        raise Failure(
            f"{state}: belongs to the run {kept['run']!r}.",
            f"Go on with --run {kept['run']}, or remove the file.",
        )
    remaining = kept["offset"]
    while remaining and (data := file.read(min(remaining, 1 << 20))):
        position.digest.update(data)
        remaining -= len(data)
    if remaining or position.digest.hexdigest() != kept["sha256"]:
        raise Failure(
            f"{state}: the file has changed since its first {kept['lines']} lines were sent.",
            "Remove the state file to start from the first line.",
        )
    position.lines, position.offset = kept["lines"], kept["offset"]
    return position


def _save(state: Path, position: Position) -> None:
    """In one step, so that a crash leaves the state before or the state after."""
    kept = {
        "run": position.run,
        "lines": position.lines,
        "offset": position.offset,
        "sha256": position.digest.hexdigest(),
    }
    temporary = state.with_name(state.name + ".new")
    temporary.write_text(json.dumps(kept), encoding="utf-8")
    temporary.replace(state)


def _progress(session: Session) -> Progress:
    return Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[sent]:,} sent"),
        TimeRemainingColumn(),
        console=session.out.aside,
        transient=True,
        disable=session.out.as_json or not session.out.aside.is_terminal,
    )
