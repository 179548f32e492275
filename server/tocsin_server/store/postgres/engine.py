"""The engine of a fleet: a server, any number of processes, a few writers in each."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import psycopg
import structlog
from peewee import Database, PostgresqlDatabase

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock
from tocsin_server.store.clock import SystemClock
from tocsin_server.store.facts import read_fact, write_epoch, write_fact
from tocsin_server.store.founding import found
from tocsin_server.store.migrate import migrate_up
from tocsin_server.store.postgres.connection import PostgresConnection, connect, options_of
from tocsin_server.store.postgres.errors import is_in_use, is_passing, is_unavailable, storage_errors
from tocsin_server.store.postgres.writing import WritingConnection

_ALONE = 0x70C5_1A
"""Of the advisory lock under which the schema and the facts are changed."""

_LOCK_SESSION = f"SELECT pg_advisory_lock({_ALONE})"
_LOCK_TRANSACTION = f"SELECT pg_advisory_xact_lock({_ALONE})"

_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_BEGIN = f"BEGIN; {_NOW}"
"""At once, as each message to the server and back costs more than it does."""

_CONTENT_IDS = "SELECT nextval('content_ids') FROM generate_series(1, ?)"
_CONTENT_IDS_PER_DRAW = 1_000
"""As the sequence's increment is."""

# The first eight digits of a log file's name are the timeline; any role may ask.
_TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"

log = structlog.get_logger(__name__)


class PostgresEngine:
    """Implements `engine.Engine`."""

    def __init__(self, url: str, writer_threads: int, clock: Clock) -> None:
        self._url = url
        self._options = options_of(url)
        self._clock = clock
        self.writer_threads = writer_threads

    def alone(self) -> AbstractContextManager[None]:
        """See `engine.Engine`: any number of processes."""
        return nullcontext()

    @contextmanager
    def administered(self) -> Iterator[Database]:
        """See `engine.Engine`: under an advisory lock, and with all the time that a migration takes."""
        options = options_of(self._url, patient=True)
        database = PostgresqlDatabase(options.pop("dbname", ""), prefer_psycopg3=True, **options)
        with storage_errors(), database.connection_context():
            database.execute_sql(_LOCK_SESSION)  # type: ignore[no-untyped-call]
            # The lock ends with the connection, also when that is lost.
            yield database

    def prepare(self) -> None:
        """See `engine.Engine`."""
        with self.administered() as database:
            for name in migrate_up(database):
                log.info("migrated", migration=name)
            with database.atomic():
                raw: psycopg.Connection[object] = database.connection()  # type: ignore[no-untyped-call]
                connection = PostgresConnection(raw)
                _follow(self._clock, connection.execute_all(_NOW))
                found(connection, self._clock.now())
                if read_fact(connection, "timeline") is None:
                    write_fact(connection, "timeline", _timeline(connection))
                _renew_after_rewind(connection)

    def open_reader(self) -> PostgresConnection:
        """See `engine.Engine`."""
        return PostgresConnection(connect(self._options))

    def open_session(self) -> "PostgresSession":
        """See `engine.Engine`. The server may be another one since the last time, so it is asked again."""
        connection = WritingConnection(connect(self._options))
        try:
            connection.execute("BEGIN")
            connection.execute(_LOCK_TRANSACTION)
            _renew_after_rewind(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return PostgresSession(connection, self._clock)

    def is_unavailable(self, error: BaseException) -> bool:
        """See `engine.Engine`."""
        return is_unavailable(error)

    def is_passing(self, error: BaseException) -> bool:
        """See `engine.Engine`."""
        return is_passing(error)

    def is_in_use(self, error: BaseException) -> bool:
        """See `engine.Engine`."""
        return is_in_use(error)


class PostgresSession:
    """Implements `engine.WriteSession`."""

    def __init__(self, connection: WritingConnection, clock: Clock) -> None:
        self.connection = connection
        self._clock = clock
        self._content_ids: list[int] = []

    def begin(self) -> Micros:
        """See `engine.WriteSession`. All replicas go with the database's clock."""
        _follow(self._clock, self.connection.execute_all(_BEGIN))
        return self._clock.now()

    def commit(self) -> None:
        """See `engine.WriteSession`."""
        (done,) = self.connection.execute_all("COMMIT")
        if done != "COMMIT":
            # A transaction in which something failed is rolled back by COMMIT, without an error.
            raise StorageUnavailable(detail=f"COMMIT was answered by {done}")

    def roll_back(self) -> None:
        """See `engine.WriteSession`."""
        self.connection.forget_held()
        self.connection.execute("ROLLBACK")

    def new_content_ids(self, count: int) -> Sequence[int]:
        """See `engine.WriteSession`. Drawn many at once; what a transaction leaves over, the next one gives out."""
        missing = count - len(self._content_ids)
        if missing > 0:
            draws = -(-missing // _CONTENT_IDS_PER_DRAW)
            for (first,) in self.connection.execute(_CONTENT_IDS, (draws,)):
                self._content_ids += range(first, first + _CONTENT_IDS_PER_DRAW)
        ids, self._content_ids = self._content_ids[:count], self._content_ids[count:]
        return ids

    def close(self) -> None:
        """See `engine.WriteSession`."""
        self.connection.close()


def _follow(clock: Clock, row: list[Any]) -> None:
    """Unless it is a clock that a test turns."""
    if isinstance(clock, SystemClock):
        clock.follow(row[0])


def _timeline(connection: PostgresConnection) -> bytes:
    """Which history of the server this is: another one after a restore, and after a standby took over."""
    (timeline,) = connection.execute(_TIMELINE).fetchone()
    return str(timeline).encode("ascii")


def _renew_after_rewind(connection: PostgresConnection) -> None:
    """Another timeline may lack what the one before had committed: revisions would be given out twice."""
    timeline = _timeline(connection)
    if read_fact(connection, "timeline") != timeline:
        write_fact(connection, "timeline", timeline)
        write_epoch(connection)
        log.warning("the database is on another timeline; a new epoch begins", timeline=timeline.decode())
