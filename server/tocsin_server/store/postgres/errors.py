"""What errors of Postgres mean, by the class of their SQLSTATE.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from peewee import DatabaseError as PeeweeDatabaseError
from peewee import InterfaceError as PeeweeInterfaceError

from tocsin_server.domain.errors import StorageUnavailable

_UNAVAILABLE_CLASSES = frozenset({
    "08",  # the connection broke
    "25",  # the transaction cannot write: a standby
    "40",  # others were in the way, again and again
    "53",  # no disk space, no memory, too many connections
    "55",  # something is locked
    "57",  # an administrator shut down, a statement took too long
    "58",  # input or output failed
    "XX",  # data is damaged
})  # fmt: skip

_REQUEST_IDS = "requests_by_id"
"""The index that two replicas meet at which write the same request."""


def is_unavailable(error: BaseException) -> bool:
    """Whether storage does not work at the moment."""
    if isinstance(error, StorageUnavailable):
        return True
    cause = error.__cause__ or error.__context__ if isinstance(error, PeeweeDatabaseError) else error
    if not isinstance(cause, psycopg.Error):
        return False
    if cause.sqlstate is None:
        # It comes from this side of the connection: there is none.
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return cause.sqlstate[:2] in _UNAVAILABLE_CLASSES


def is_passing(error: BaseException) -> bool:
    """Whether another transaction was in the way, as it may not be again."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        return error.diag.constraint_name == _REQUEST_IDS
    return isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected)


def is_in_use(error: BaseException) -> bool:
    """Whether others did not give up what they have locked, or were in the way again and again."""
    return is_passing(error) or isinstance(error, psycopg.errors.LockNotAvailable)


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns errors that mean trouble with storage into StorageUnavailable; others pass."""
    try:
        yield
    except (psycopg.Error, PeeweeDatabaseError, PeeweeInterfaceError) as error:
        if is_unavailable(error):
            raise StorageUnavailable(detail=str(error)) from error
        raise
