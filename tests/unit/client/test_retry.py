import grpc
import pytest

import tocsin
from tocsin.errors import is_interruption, is_transient


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (1, 0.1),
        (2, 0.2),
        (3, 0.4),
        (7, 5.0),  # the bound
        (10_000, 5.0),  # no overflow after a night of trying
    ],
)
def test_delays_double_up_to_the_bound(
    attempt: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    assert tocsin.RetryPolicy().delay(attempt) == pytest.approx(expected)


def test_the_server_s_wish_is_a_lower_bound_and_jitter_comes_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.5)
    assert tocsin.RetryPolicy().delay(1, 7.0) == pytest.approx(7.05)


@pytest.mark.parametrize(
    ("error", "transient", "interruption"),
    [
        (tocsin.UnavailableError("away"), True, True),
        (tocsin.ExhaustedError("rate", reason="RATE_LIMITED", retry_after=0.0), True, True),
        (tocsin.ExhaustedError("quota", reason="QUOTA_EXCEEDED"), False, False),
        (tocsin.InvalidRequestError("field"), False, False),
        (tocsin.AbortedError("kicked", reason="SESSION_TERMINATED"), False, False),
        (tocsin.DeadlineExceededError("late"), False, False),
        # RST_STREAM of a proxy: a call may have been carried out, a stream can be taken up again.
        (tocsin.ServerError("reset", code=grpc.StatusCode.CANCELLED), False, True),
        (tocsin.ServerError("reset", code=grpc.StatusCode.INTERNAL), False, True),
        # what the client itself could not make sense of
        (tocsin.ServerError("nonsense"), False, False),
        (tocsin.ServerError("defect", code=grpc.StatusCode.INTERNAL, reason="INTERNAL"), False, False),
        (tocsin.ClosedError(), False, False),
    ],
)
def test_what_is_worth_another_try(error: tocsin.TocsinError, transient: bool, interruption: bool) -> None:
    assert is_transient(error) is transient
    assert is_interruption(error) is interruption


def test_a_call_is_made_no_more_often_than_the_policy_says() -> None:
    policy = tocsin.RetryPolicy(max_attempts=2)
    assert policy.decide(1, tocsin.UnavailableError("away")) is not None
    assert policy.decide(2, tocsin.UnavailableError("away")) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_delay": 0.0},
        {"initial_delay": 2.0, "max_delay": 1.0},
        {"multiplier": 0.5},
        {"max_attempts": 0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        tocsin.RetryPolicy(**wrong)  # type: ignore[arg-type]
