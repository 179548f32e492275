"""What a command ends with when it cannot do what it was asked."""

from collections.abc import Iterator
from contextlib import contextmanager


class Failure(Exception):
    """Shown as one line, exit code 1. `hint` says what to do about it; empty where the message does."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@contextmanager
def failures(*kinds: type[Exception]) -> Iterator[None]:
    """Ends the command for exceptions whose text is meant for people."""
    try:
        yield
    except kinds as error:
        raise Failure(_text(error)) from error


def _text(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    # What a caller is told is general; whoever sits at the machine may know what exactly it was.
    detail = getattr(error, "detail", "")
    return f"{error} ({detail})" if detail else str(error)
