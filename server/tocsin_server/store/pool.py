"""Threads that read, with a connection each."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from sqlite3 import Connection
from typing import TypeVar

from peewee import SqliteDatabase

from tocsin_server.store.database import connection_of, storage_errors

Result = TypeVar("Result")


class ReadPool:
    """Runs functions of a connection on reader threads: nothing waits for the writer, and nothing blocks the loop."""

    def __init__(self, database: SqliteDatabase, threads: int) -> None:
        self._database = database
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="reader")
        self._connections: set[Connection] = set()

    async def run(self, function: Callable[[Connection], Result]) -> Result:
        """The function's result. Raises StorageUnavailable when storage does not answer."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._call, function)

    def close(self) -> None:
        """Ends the threads and their connections: with the last one the log goes into the database file."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _call(self, function: Callable[[Connection], Result]) -> Result:
        with storage_errors():
            connection = connection_of(self._database)
            self._connections.add(connection)
            try:
                return function(connection)
            except BaseException:
                # It may be of no more use; the thread's next read opens another.
                self._connections.discard(connection)
                self._database.close()
                raise
