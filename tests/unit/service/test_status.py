"""What parts say of themselves, and what is logged of it."""

import pytest
import structlog

from tests.support.stores import START, TurnedClock
from tocsin_server.domain.time import SECOND
from tocsin_server.service.status import (
    Component,
    ComponentReport,
    ComponentState,
    QueueReport,
    Status,
    StatusSources,
    StreamReport,
)


def test_a_change_is_reported_with_its_time_and_logged_once() -> None:
    clock = TurnedClock()
    storage = Component("storage", clock)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            storage.ok()
        assert lines == []
        clock.time += 2 * SECOND
        for _ in range(3):
            storage.down("disk full", "Nothing can be stored.")
            clock.time += SECOND
        assert storage.report == ComponentReport(
            "storage", ComponentState.DOWN, START + 2 * SECOND, "disk full", "Nothing can be stored."
        )
        storage.ok()
    assert storage.report == ComponentReport("storage", ComponentState.OK, START + 5 * SECOND)
    assert [(line["log_level"], line["state"], line["after_seconds"]) for line in lines] == [
        ("warning", "DOWN", 2.0),
        ("info", "OK", 3.0),
    ]
    assert lines[0]["detail"] == "disk full"
    assert "detail" not in lines[1]


def test_getting_worse_and_better_are_changes() -> None:
    credentials = Component("credentials", TurnedClock())
    with structlog.testing.capture_logs() as lines:
        credentials.degraded("slow", "")
        credentials.degraded("slower", "")
        credentials.down("gone", "Every call is refused.")
        credentials.degraded("slow", "")
    assert [line["state"] for line in lines] == ["DEGRADED", "DOWN", "DEGRADED"]


@pytest.mark.parametrize("draining", [False, True])
def test_a_status_is_what_its_sources_say(draining: bool) -> None:
    clock = TurnedClock()
    storage, writer = Component("storage", clock), QueueReport("writer", 3, 4_000, SECOND)
    storage.down("locked", "Nothing can be stored.")
    sources = StatusSources(
        components=(storage, Component("credentials", clock)),
        queues=(lambda: writer,),
        streams=lambda: StreamReport(2, 20, SECOND),
        epoch=lambda: b"epoch",
        draining=lambda: draining,
        event_loop_lag=lambda: 7,
        timer_lag=lambda: 8,
    )
    status = Status("1.2.3", "here", START, 4, sources).get()
    assert [(report.name, report.state) for report in status.components] == [
        ("storage", ComponentState.DOWN),
        ("credentials", ComponentState.OK),
    ]
    assert status.queues == [writer]
    assert (status.streams.sessions, status.streams.recipients) == (2, 20)
    assert (status.version, status.instance_id, status.start_time) == ("1.2.3", "here", START)
    assert (status.schema_version, status.epoch) == (4, b"epoch")
    assert (status.draining, status.event_loop_lag, status.timer_lag) == (draining, 7, 8)
