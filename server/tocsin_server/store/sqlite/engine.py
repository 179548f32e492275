"""The embedded engine: a file, one process, one writer."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import structlog
from peewee import Database, SqliteDatabase

from tocsin_server.domain.time import Micros
from tocsin_server.service.ports import Clock
from tocsin_server.store.facts import write_epoch
from tocsin_server.store.founding import found
from tocsin_server.store.migrate import migrate_up
from tocsin_server.store.sql import Connection
from tocsin_server.store.sqlite.commits import CommitCountFile, read_commit_count, write_commit_count
from tocsin_server.store.sqlite.connection import SqliteConnection
from tocsin_server.store.sqlite.database import connection_of, is_unavailable, open_database, storage_errors
from tocsin_server.store.sqlite.lock import exclusive

log = structlog.get_logger(__name__)


class SqliteEngine:
    """Implements `engine.Engine`."""

    writer_threads = 1

    def __init__(self, path: Path, cache_bytes: int, clock: Clock) -> None:
        self._path = path
        self._cache_bytes = cache_bytes
        self._clock = clock
        self._side_file = CommitCountFile(path)

    def alone(self) -> AbstractContextManager[None]:
        """See `engine.Engine`: the lock file."""
        return exclusive(self._path)

    @contextmanager
    def administered(self) -> Iterator[Database]:
        """See `engine.Engine`: under the lock file."""
        with self.alone(), storage_errors():
            database = self._database()
            with database.connection_context():
                yield database

    def prepare(self) -> None:
        """See `engine.Engine`."""
        database = self._database()
        with storage_errors(), database.connection_context():
            for name in migrate_up(database):
                log.info("migrated", migration=name)
            connection = connection_of(database)
            with database.atomic("IMMEDIATE"):
                found(connection, self._clock.now())
                rewound = self._side_file.read() > read_commit_count(connection)
                if rewound:
                    write_epoch(connection)
            if rewound:
                log.warning("the database was set back; a new epoch begins and every stream starts anew")
                self._side_file.write(read_commit_count(connection))

    def open_reader(self) -> Connection:
        """See `engine.Engine`."""
        return connection_of(self._database(read_only=True))

    def open_session(self) -> "SqliteSession":
        """See `engine.Engine`."""
        return SqliteSession(connection_of(self._database()), self._clock, self._side_file)

    def is_unavailable(self, error: BaseException) -> bool:
        """See `engine.Engine`."""
        return is_unavailable(error)

    def is_passing(self, error: BaseException) -> bool:
        """See `engine.Engine`: nobody else writes."""
        return False

    def is_in_use(self, error: BaseException) -> bool:
        """See `engine.Engine`: nobody else writes."""
        return False

    def _database(self, *, read_only: bool = False) -> SqliteDatabase:
        return open_database(self._path, cache_bytes=self._cache_bytes, read_only=read_only)


class SqliteSession:
    """Implements `engine.WriteSession`."""

    def __init__(self, connection: SqliteConnection, clock: Clock, side_file: CommitCountFile) -> None:
        self.connection = connection
        self._clock = clock
        self._side_file = side_file
        self._commit_count = read_commit_count(connection)
        # Those of shared contents are below zero.
        (highest,) = connection.execute(
            "SELECT max(coalesce(max(id), 0), -coalesce(min(id), 0)) FROM contents"
        ).fetchone()
        self._next_content_id = highest + 1

    def begin(self) -> Micros:
        """See `engine.WriteSession`."""
        self.connection.execute("BEGIN IMMEDIATE")
        return self._clock.now()

    def commit(self) -> None:
        """See `engine.WriteSession`."""
        write_commit_count(self.connection, self._commit_count + 1)
        self.connection.execute("COMMIT")
        self._commit_count += 1
        self._side_file.write_behind(self._commit_count)

    def roll_back(self) -> None:
        """See `engine.WriteSession`."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def new_content_ids(self, count: int) -> Sequence[int]:
        """See `engine.WriteSession`. The only writer gives them out by itself."""
        first = self._next_content_id
        self._next_content_id += count
        return range(first, self._next_content_id)

    def close(self) -> None:
        """See `engine.WriteSession`."""
        if self._commit_count:
            self._side_file.write(self._commit_count)
        self.connection.close()
