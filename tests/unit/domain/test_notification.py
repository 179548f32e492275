"""The states that a notification goes through."""

import pytest

from tocsin_server.domain.notification import NotificationState


@pytest.mark.parametrize(
    ("state", "final"),
    [
        (NotificationState.SCHEDULED, False),
        (NotificationState.STORED, False),
        (NotificationState.BATCHED, False),
        (NotificationState.SUPPRESSED, True),
        (NotificationState.CANCELLED, True),
        (NotificationState.RETRACTED, True),
        (NotificationState.EXPIRED, True),
    ],
)
def test_what_can_change_no_more(state: NotificationState, final: bool) -> None:
    assert state.final is final
