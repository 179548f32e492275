"""Summaries and progress, at times that the test chooses."""

import pytest

from tests.support.desk import CODEC
from tests.support.stores import START
from tocsin.v1.inbox_service_pb2 import SubscribeResponse
from tocsin_server.domain.cursor import UNFILTERED, CursorMint
from tocsin_server.domain.inbox import Counts
from tocsin_server.domain.time import SECOND
from tocsin_server.service import reports as reports_module
from tocsin_server.service.position import Position
from tocsin_server.service.reports import Reports

ONE, TWO = Counts(1, 1, 1), Counts(2, 2, 2)


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> Reports:
    """Whose summaries cost no time, and whose heartbeat is due at 1,010."""
    monkeypatch.setattr("tocsin_server.service.reports.time.monotonic", lambda: 0.0)
    return Reports(CODEC, 10 * SECOND, 1_000.0)


def placed(recipient: str = "ada", sent: int = 1) -> Position:
    position = Position(None, recipient, CODEC.recipient(recipient), "")  # type: ignore[arg-type]
    position.belong(b"incarnat", CursorMint(bytes(32), "default", recipient, b"incarnat", UNFILTERED))
    position.sent = position.taken = sent
    position.behind = False
    return position


def said(reports: Reports, now: float) -> SubscribeResponse:
    return SubscribeResponse.FromString(b"".join(reports.take(now, START)))


def counts(message: SubscribeResponse) -> list[tuple[str, int]]:
    return [(event.recipient, event.summary.total) for event in message.events]


def test_a_summary_is_said_at_the_head_and_once(reports: Reports) -> None:
    position = placed()
    reports.counted(position, ONE, 1)
    message = said(reports, 1_000)
    assert counts(message) == [("ada", 1)]
    assert message.events[0].cursor == position.token()
    assert not reports.has_summaries
    reports.counted(position, ONE, 1)
    assert counts(said(reports, 1_001)) == [], "nothing has changed"


def test_summaries_keep_their_distance(reports: Reports) -> None:
    position = placed()
    reports.counted(position, ONE, 1)
    assert counts(said(reports, 1_000)) == [("ada", 1)]
    reports.counted(position, TWO, 1)
    assert counts(said(reports, 1_000.09)) == []
    assert reports.has_summaries
    assert counts(said(reports, 1_000.1)) == [("ada", 2)]


def test_counts_wait_for_their_cursor(reports: Reports) -> None:
    """What they count is gathered, and not sent yet."""
    position = placed(sent=1)
    reports.counted(position, TWO, 2)
    assert counts(said(reports, 1_000)) == []
    assert reports.has_summaries
    position.sent = 2
    assert counts(said(reports, 1_001)) == [("ada", 2)]


def test_who_is_behind_is_counted_when_it_has_caught_up(reports: Reports) -> None:
    position = placed()
    position.behind = True
    reports.counted(position, ONE, 1)
    assert counts(said(reports, 1_000)) == []
    assert not reports.has_summaries


def test_many_summaries_come_in_several_messages(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_module, "SUMMARIES_PER_MESSAGE", 2)
    for name in ("a", "b", "c"):
        reports.counted(placed(name), ONE, 1)
    assert counts(said(reports, 1_000)) == [("a", 1), ("b", 1)]
    assert counts(said(reports, 1_001)) == [("c", 1)]


def test_a_heartbeat_lists_what_moved(reports: Reports) -> None:
    moved, still, hidden = placed("moved"), placed("still"), placed("hidden")
    still.reported = 1
    for position in (moved, still, hidden):
        reports.moved(position)
    reports.forget(hidden)
    assert not said(reports, 1_009.9).HasField("progress")
    progress = said(reports, 1_010).progress
    assert [(each.recipient, each.cursor) for each in progress.positions] == [("moved", moved.token())]
    assert progress.time.ToMicroseconds() == START
    assert not said(reports, 1_019.9).HasField("progress")
    beat = said(reports, 1_020)
    assert beat.HasField("progress")
    assert not beat.progress.positions


def test_much_progress_comes_in_several_messages(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, without waiting for the next heartbeat."""
    monkeypatch.setattr(reports_module, "POSITIONS_PER_PROGRESS", 2)
    for name in ("a", "b", "c"):
        reports.moved(placed(name))
    assert [each.recipient for each in said(reports, 1_010).progress.positions] == ["a", "b"]
    assert [each.recipient for each in said(reports, 1_010).progress.positions] == ["c"]
    assert not said(reports, 1_011).HasField("progress")
