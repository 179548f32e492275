"""Threads that read, with a connection each."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tocsin_server.domain.errors import StorageUnavailable
from tocsin_server.store.engine import Engine
from tocsin_server.store.sql import Connection

Result = TypeVar("Result")


class ReadPool:
    """Runs functions of a connection on reader threads: nothing waits for the writer, and nothing blocks the loop."""

    def __init__(
        self, engine: Engine, threads: int, on_unavailable: Callable[[str], None] = lambda detail: None
    ) -> None:
        """`on_unavailable` is told what was wrong, in a reader's thread."""
        self._engine = engine
        self._on_unavailable = on_unavailable
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._own = threading.local()
        self._connections: set[Connection] = set()

    async def run(self, function: Callable[[Connection], Result]) -> Result:
        """The function's result. Raises StorageUnavailable when storage does not answer.

        The function is called a second time when the connection turns out to have been lost.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, function)

    def close(self) -> None:
        """Ends the threads and their connections: with the last one SQLite's log goes into the database file."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _call(self, function: Callable[[Connection], Result]) -> Result:
        try:
            kept: Connection | None = getattr(self._own, "connection", None)
            if kept is not None:
                try:
                    return function(kept)
                except BaseException:
                    lost = kept.lost
                    self._drop(kept)
                    # It may have been lost while nobody used it, as when the database was started anew.
                    if not lost:
                        raise
            connection = self._opened()
            try:
                return function(connection)
            except BaseException:
                self._drop(connection)
                raise
        except Exception as error:
            if self._engine.is_unavailable(error):
                self._on_unavailable(str(error))
                raise StorageUnavailable(detail=str(error)) from error
            raise

    def _opened(self) -> Connection:
        connection = self._engine.open_reader()
        self._own.connection = connection
        self._connections.add(connection)
        return connection

    def _drop(self, connection: Connection) -> None:
        """It may be of no more use; the thread's next read opens another."""
        self._own.connection = None
        self._connections.discard(connection)
        connection.close()
