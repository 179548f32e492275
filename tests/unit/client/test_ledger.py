from collections.abc import Iterator

import pytest

import tocsin
from tests.unit.client.events import entry, progress, reset, summary
from tocsin.ledger import Ledger
from tocsin.v1.inbox_service_pb2 import InboxEvent, Position, Progress


def steps(ledger: Ledger, *events: InboxEvent, **positions: str) -> Iterator[tocsin.Event | None]:
    for step in ledger.read(events, progress(**positions)):
        yield ledger.hand(step)


def handed(ledger: Ledger, *events: InboxEvent, **positions: str) -> list[str]:
    """What the application gets of a message, each event in a word."""
    return [word(event) for event in steps(ledger, *events, **positions) if event is not None]


def word(event: tocsin.Event) -> str:
    match event:
        case tocsin.Entry():
            return f"{event.recipient}{event.notification.revision}"
        case tocsin.SummaryChanged():
            return f"{event.recipient}:{event.unread}"
        case tocsin.ResetHappened():
            return f"{event.recipient}!{event.reason}"
        case _:
            raise AssertionError(event)


def acknowledgements(ledger: Ledger) -> dict[str, str]:
    return {position.recipient: position.cursor for position in ledger.take_acknowledgements(1_000)}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # a resume from before the connection was lost repeats what was handed out
        ([entry("a", 1), entry("a", 2, "a2")], [entry("a", 2), entry("a", 3, "a3")], ["a1", "a2", "a3"]),
        # each recipient has revisions of its own
        ([entry("a", 5, "a5")], [entry("b", 1, "b1"), entry("a", 4, "a4")], ["a5", "b1"]),
        # a revision that is missing came later, or is hidden
        ([entry("a", 1, "a1")], [entry("a", 9, "a9")], ["a1", "a9"]),
        # after a reset revisions may start again
        (
            [entry("a", 7, "a7")],
            [reset("a", "INCARNATION_CHANGED"), entry("a", 1, "x1")],
            ["a7", "a!INCARNATION_CHANGED", "a1"],
        ),
        # but only for the recipient that was reset
        (
            [entry("b", 7, "b7")],
            [reset("a", "CURSOR_EXPIRED"), entry("b", 7, "b7")],
            ["b7", "a!CURSOR_EXPIRED"],
        ),
        # the same counts again are no news, after a reset they are
        ([summary("a", 3, "a1")], [summary("a", 3, "a1"), summary("a", 4, "a1")], ["a:3", "a:4"]),
        (
            [summary("a", 3, "a1")],
            [reset("a", "CURSOR_EXPIRED"), summary("a", 3, "a1")],
            ["a:3", "a!CURSOR_EXPIRED", "a:3"],
        ),
        # nobody asked for c, and a kind that this client does not know says nothing
        ([entry("c", 1, "c1")], [InboxEvent(recipient="a", cursor="a1")], []),
    ],
)
def test_the_application_gets_every_change_once(
    first: list[InboxEvent], second: list[InboxEvent], expected: list[str]
) -> None:
    ledger = Ledger({"a": "", "b": ""})
    words = handed(ledger, *first)
    ledger.resume()
    assert words + handed(ledger, *second) == expected


def test_the_position_moves_with_the_event_that_has_the_cursor_and_not_before() -> None:
    ledger = Ledger({"a": "a0", "b": ""})
    seen = [
        (word(event) if event else None, ledger.cursors)
        for event in steps(
            ledger,
            entry("a", 1),
            entry("b", 1, "b1"),
            entry("a", 2, "a2"),
            summary("a", 2, "a2"),
            a="a3",
            b="b1",
        )
    ]
    assert seen == [
        ("a1", {"a": "a0"}),
        ("b1", {"a": "a0", "b": "b1"}),
        ("a2", {"a": "a2", "b": "b1"}),
        ("a:2", {"a": "a2", "b": "b1"}),
        (None, {"a": "a3", "b": "b1"}),
        (None, {"a": "a3", "b": "b1"}),
    ]


def test_a_cursor_on_a_summary_is_also_that_of_the_entry_before_it() -> None:
    ledger = Ledger({"a": "", "b": ""})
    events = steps(
        ledger, entry("a", 1), entry("a", 2), entry("b", 1), summary("a", 2, "a2"), summary("a", 1, "a2")
    )
    assert [(word(event), event.cursor) for event in events if event] == [
        ("a1", None),
        ("a2", "a2"),
        ("b1", None),
        ("a:2", "a2"),
        ("a:1", "a2"),
    ]


def test_a_repetition_still_moves_the_position() -> None:
    ledger = Ledger({"a": ""})
    handed(ledger, entry("a", 1), entry("a", 2, "a2"))
    assert handed(ledger, entry("a", 2, "other form of a2")) == []
    assert ledger.cursors == {"a": "other form of a2"}


def test_a_reset_forgets_the_position_until_there_is_a_new_one() -> None:
    ledger = Ledger({"a": "a0"})
    for event in steps(ledger, reset("a", "CURSOR_EXPIRED", oldest="a7")):
        assert event == tocsin.ResetHappened(recipient="a", reason="CURSOR_EXPIRED", oldest_cursor="a7")
        assert not event.left_out
    assert ledger.cursors == {}
    assert list(ledger.resume()) == [Position(recipient="a")]
    handed(ledger, a="a9")
    assert ledger.cursors == {"a": "a9"}


@pytest.mark.parametrize("reason", ["LIMIT_REACHED", "RECIPIENT_NOT_ALLOWED"])
def test_who_is_left_out_is_followed_no_more(reason: str) -> None:
    ledger = Ledger({"a": "a0", "b": "b0"})
    (event,) = steps(ledger, reset("a", reason))
    assert isinstance(event, tocsin.ResetHappened)
    assert event.left_out
    assert [position.recipient for position in ledger.resume()] == ["b"]
    assert handed(ledger, entry("a", 1)) == []


def test_a_reset_for_a_reason_that_only_a_newer_server_knows() -> None:
    ledger = Ledger({"a": "a0"})
    event = reset("a", "CURSOR_EXPIRED")
    event.reset.reason = 999  # type: ignore[assignment]
    assert handed(ledger, event) == ["a!999"]


def test_one_who_is_followed_again_may_start_from_an_earlier_revision() -> None:
    ledger = Ledger({"a": ""})
    handed(ledger, entry("a", 8, "a8"))
    ledger.leave(["a"])
    assert handed(ledger, entry("a", 9, "a9")) == []
    ledger.follow({"a": "a5"})
    # 10 was under way for the earlier following; with 6 begins what was asked for
    assert handed(ledger, entry("a", 10, "a10"), entry("a", 6), entry("a", 7, "a7")) == ["a10", "a6", "a7"]
    assert handed(ledger, entry("a", 7, "a7")) == []


# --- acknowledgements -------------------------------------------------------------------------------------------------


def events_of(ledger: Ledger, *events: InboxEvent, **positions: str) -> list[tocsin.Event]:
    return [event for event in steps(ledger, *events, **positions) if event is not None]


def test_the_latest_position_of_each_recipient_is_acknowledged() -> None:
    ledger = Ledger({"a": "", "b": ""})
    for event in events_of(ledger, entry("a", 1, "a1"), entry("b", 1, "b1")) + events_of(
        ledger, entry("a", 2, "a2")
    ):
        ledger.acknowledge(event)
    assert acknowledgements(ledger) == {"a": "a2", "b": "b1"}
    assert not ledger.has_acknowledgements


def test_an_event_without_a_position_acknowledges_what_came_before_it() -> None:
    ledger = Ledger({"a": "a0"})
    first, second = events_of(ledger, entry("a", 1), entry("a", 2, "a2"))
    ledger.acknowledge(first)
    assert acknowledgements(ledger) == {}
    ledger.acknowledge(second)
    assert acknowledgements(ledger) == {"a": "a2"}


def test_acknowledging_out_of_order_does_not_go_back() -> None:
    ledger = Ledger({"a": ""})
    first, second = *events_of(ledger, entry("a", 1, "a1")), *events_of(ledger, entry("a", 2, "a2"))
    ledger.acknowledge(second)
    ledger.acknowledge(first)
    assert acknowledgements(ledger) == {"a": "a2"}


def test_the_last_event_acknowledges_what_the_position_has_moved_on_to() -> None:
    ledger = Ledger({"a": ""})
    (event,) = events_of(ledger, entry("a", 1, "a1"), a="a5")
    ledger.acknowledge(event)
    assert acknowledgements(ledger) == {"a": "a5"}


@pytest.mark.parametrize(
    ("acknowledges_progress", "acknowledged", "expected"),
    [
        (True, True, {"a": "a5"}),
        # the application still has revision 1 in its hands
        (True, False, {}),
        # nobody keeps positions
        (False, True, {}),
    ],
)
def test_progress_is_acknowledged_when_there_is_nothing_else_to_wait_for(
    acknowledges_progress: bool, acknowledged: bool, expected: dict[str, str]
) -> None:
    ledger = Ledger({"a": ""})
    ledger.acknowledges_progress = acknowledges_progress
    (event,) = events_of(ledger, entry("a", 1, "a1"))
    if acknowledged:
        ledger.acknowledge(event)
        assert acknowledgements(ledger) == {"a": "a1"}
    handed(ledger, a="a5")
    assert acknowledgements(ledger) == expected


def test_acknowledging_what_was_before_a_reset_does_nothing() -> None:
    ledger = Ledger({"a": ""})
    old, _ = events_of(ledger, entry("a", 1, "a1"), reset("a", "INCARNATION_CHANGED"))
    ledger.acknowledge(old)
    assert acknowledgements(ledger) == {}


def test_a_reset_drops_what_was_to_be_acknowledged_and_wants_to_be_acknowledged_itself() -> None:
    ledger = Ledger({"a": ""})
    ledger.acknowledges_progress = True
    (old,) = events_of(ledger, entry("a", 1, "a1"))
    ledger.acknowledge(old)
    (event,) = events_of(ledger, reset("a", "INCARNATION_CHANGED"), a="x4")
    assert acknowledgements(ledger) == {}
    ledger.acknowledge(event)
    assert acknowledgements(ledger) == {"a": "x4"}


def test_the_last_events_of_one_who_has_left_can_be_acknowledged() -> None:
    ledger = Ledger({"a": ""})
    (event,) = events_of(ledger, entry("a", 1, "a1"))
    ledger.leave(["a"])
    ledger.acknowledge(event)
    assert acknowledgements(ledger) == {"a": "a1"}


def test_following_again_does_not_change_what_an_earlier_event_acknowledges() -> None:
    ledger = Ledger({"a": ""})
    (event,) = events_of(ledger, entry("a", 9, "a9"))
    ledger.follow({"a": "a5"})
    ledger.acknowledge(event)
    assert acknowledgements(ledger) == {"a": "a9"}


def test_positions_that_did_not_arrive_give_way_to_later_ones() -> None:
    ledger = Ledger({"a": "", "b": ""})
    for event in events_of(ledger, entry("a", 1, "a1"), entry("b", 1, "b1")):
        ledger.acknowledge(event)
    lost = ledger.take_acknowledgements(1_000)
    (later,) = events_of(ledger, entry("a", 2, "a2"))
    ledger.acknowledge(later)
    ledger.return_acknowledgements(lost)
    assert acknowledgements(ledger) == {"a": "a2", "b": "b1"}


def test_acknowledgements_are_taken_in_parts() -> None:
    ledger = Ledger(dict.fromkeys("abc", ""))
    for key in "abc":
        for event in events_of(ledger, entry(key, 1, f"{key}1")):
            ledger.acknowledge(event)
    assert [position.recipient for position in ledger.take_acknowledgements(2)] == ["a", "b"]
    assert [position.recipient for position in ledger.take_acknowledgements(2)] == ["c"]


def test_a_heartbeat_says_nothing() -> None:
    assert list(Ledger({"a": ""}).read([], Progress())) == []
