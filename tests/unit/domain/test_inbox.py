"""Statuses, marks and counts: every combination there is."""

from itertools import product

import pytest

from tocsin_server.domain.inbox import (
    EVENT_OF_INTERACTION,
    EVENT_OF_MARK,
    MARK_OF_INTERACTION,
    STATUSES_OF_VIEW,
    Attention,
    Counts,
    EntryView,
    InteractionKind,
    Mark,
    Shelf,
    Status,
    attention_of,
    marked,
    shelf_of,
    status_of,
    statuses_changed_by,
)

U, S, R = Status.UNSEEN, Status.SEEN, Status.READ
ZU, ZS, ZR = Status.SNOOZED_UNSEEN, Status.SNOOZED_SEEN, Status.SNOOZED_READ
AU, AS, AR = Status.ARCHIVED_UNSEEN, Status.ARCHIVED_SEEN, Status.ARCHIVED_READ
GONE = Status.GONE


@pytest.mark.parametrize(
    ("mark", "after"),
    # In the order of the statuses: U S R, ZU ZS ZR, AU AS AR, GONE.
    [
        (Mark.SEEN, [S, S, R, ZS, ZS, ZR, AS, AS, AR, GONE]),  # wherever it lies
        (Mark.READ, [R, R, R, ZR, ZR, ZR, AR, AR, AR, GONE]),  # implies seen
        (Mark.UNREAD, [U, S, S, ZU, ZS, ZS, AU, AS, AS, GONE]),  # stays seen
        (Mark.ARCHIVED, [AU, AS, AR, AU, AS, AR, AU, AS, AR, GONE]),  # ends a snooze
        (Mark.UNARCHIVED, [U, S, R, ZU, ZS, ZR, U, S, R, GONE]),  # only what is archived
        (Mark.SNOOZED, [ZU, ZS, ZR, ZU, ZS, ZR, ZU, ZS, ZR, GONE]),  # out of the archive
        (Mark.UNSNOOZED, [U, S, R, U, S, R, AU, AS, AR, GONE]),  # only what is snoozed
    ],
)
def test_what_a_mark_does(mark: Mark, after: list[Status]) -> None:
    assert [marked(status, mark) for status in Status] == after


@pytest.mark.parametrize("mark", Mark)
def test_a_mark_changes_nothing_the_second_time(mark: Mark) -> None:
    for status in Status:
        once = marked(status, mark)
        assert marked(once, mark) is once


@pytest.mark.parametrize("mark", Mark)
def test_what_a_mark_may_change_is_what_it_changes(mark: Mark) -> None:
    changed = {status for status in Status if marked(status, mark) is not status}
    if mark is Mark.SNOOZED:
        changed |= {ZU, ZS, ZR}  # perhaps to another time
    assert set(statuses_changed_by(mark)) == changed


def test_a_status_is_a_shelf_and_an_attention() -> None:
    for shelf, attention in product((Shelf.INBOX, Shelf.SNOOZED, Shelf.ARCHIVED), Attention):
        status = status_of(shelf, attention)
        assert (shelf_of(status), attention_of(status)) == (shelf, attention)
        assert status.name.removeprefix(f"{shelf.name}_") == attention.name
    assert shelf_of(GONE) is Shelf.GONE


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (U, Counts(1, 1, 1)),
        (S, Counts(1, 0, 1)),
        (R, Counts(0, 0, 1)),
        *((status, Counts(0, 0, 1)) for status in (ZU, ZS, ZR, AU, AS, AR)),  # hidden, but kept
        (GONE, Counts(0, 0, 0)),
    ],
)
def test_what_a_status_counts_as(status: Status, counts: Counts) -> None:
    assert Counts().moved(None, status) == counts
    assert counts.moved(status, None) == Counts()


def test_a_move_is_a_leaving_and_an_arrival() -> None:
    start = Counts(10, 10, 10)
    for before, after in product((None, *Status), repeat=2):
        assert start.moved(before, after) == start.moved(before, None).moved(None, after)
        assert start.moved(before, after).moved(after, before) == start


def test_views_hold_each_status_where_it_belongs() -> None:
    assert {
        EntryView.INBOX: (U, S, R),
        EntryView.UNREAD: (U, S),
        EntryView.UNSEEN: (U,),
        EntryView.ARCHIVED: (AU, AS, AR),
        EntryView.SNOOZED: (ZU, ZS, ZR),
        EntryView.ALL: tuple(Status),
    } == STATUSES_OF_VIEW
    assert set(STATUSES_OF_VIEW) == set(EntryView)


def test_every_mark_and_interaction_is_an_event() -> None:
    assert {mark: EVENT_OF_MARK[mark].name for mark in Mark} == {mark: mark.name for mark in Mark}
    kinds = {kind: EVENT_OF_INTERACTION[kind].name for kind in InteractionKind}
    assert kinds == {kind: kind.name for kind in InteractionKind}
    assert MARK_OF_INTERACTION == {
        InteractionKind.OPENED: Mark.READ,
        InteractionKind.CLICKED: Mark.READ,
        InteractionKind.DISMISSED: Mark.SEEN,
        InteractionKind.CONVERTED: None,
    }
