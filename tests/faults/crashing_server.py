"""`tocsin`, with a writer that kills the process at a point that is hard to hit from outside, on either engine.

    CRASH_AT=after_commit:17 MOST_RECIPIENTS=100 python crashing_server.py serve

before_commit  the transaction is complete, and not committed
after_commit   it is committed; nobody knows
before_hint    the event loop knows, before the streams do
after_hint     the streams know, before the callers do

each at its N-th time since notifications began to be stored: what a server commits for itself, as at its start,
is not to be hit. SIGKILL, so that nothing of the process runs any more. If MOST_RECIPIENTS is set, no chunk of a
broadcast has more.
"""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from tocsin_server.cli.main import main
from tocsin_server.domain.commands import Command, ExpandBroadcast, StoreNotification
from tocsin_server.service.hub import Hub
from tocsin_server.service.ports import CommitListener, Committed
from tocsin_server.store.groups import GroupReport
from tocsin_server.store.postgres.engine import PostgresSession
from tocsin_server.store.sqlite.engine import SqliteEngine, SqliteSession
from tocsin_server.store.writer import GroupCommitWriter
from tocsin_server.workers import broadcast

POINT, _, TIMES = os.environ.get("CRASH_AT", "never:0").partition(":")
MOST_RECIPIENTS = int(os.environ.get("MOST_RECIPIENTS", broadcast.MOST_RECIPIENTS))
_passed: Counter[str] = Counter()
_begun = threading.Event()


def passing(point: str) -> None:
    """The process gets this far the last time, if it is the time."""
    if not _begun.is_set():
        return
    _passed[point] += 1
    # Of several threads at once none may see its own number.
    if point == POINT and _passed[point] >= int(TIMES):
        os.kill(os.getpid(), signal.SIGKILL)


class CrashingWriter(GroupCommitWriter):
    """The server's own writer."""

    def __init__(self, *arguments: Any, on_group: Callable[[GroupReport], None], **options: Any) -> None:
        def committed(report: GroupReport) -> None:
            passing("after_commit")
            on_group(report)

        super().__init__(*arguments, on_group=committed, **options)

    async def submit(self, commands: Sequence[Command[Any]], **options: Any) -> list[Any]:
        """Notes that notifications begin to be stored."""
        if any(isinstance(command, StoreNotification | ExpandBroadcast) for command in commands):
            _begun.set()
        return await super().submit(commands, **options)

    def listen(self, listener: CommitListener) -> None:
        """With a crash on either side of the hub, which tells the streams."""

        def around(committed: Committed) -> None:
            passing("before_hint")
            listener(committed)
            passing("after_hint")

        super().listen(around if isinstance(listener, Hub) else listener)


class CrashingEngine(SqliteEngine):
    """The server's own engine."""

    def open_session(self) -> SqliteSession:
        """With a crash before its commits."""
        session = super().open_session()
        session.connection.set_trace_callback(
            lambda statement: passing("before_commit") if statement == "COMMIT" else None
        )
        return session


class CrashingSession(PostgresSession):
    """The server's own transactions on Postgres."""

    def commit(self) -> None:
        """With a crash before it."""
        passing("before_commit")
        super().commit()


if __name__ == "__main__":
    with (
        mock.patch("tocsin_server.store.store.GroupCommitWriter", CrashingWriter),
        mock.patch("tocsin_server.store.store.SqliteEngine", CrashingEngine),
        mock.patch("tocsin_server.store.postgres.engine.PostgresSession", CrashingSession),
        mock.patch("tocsin_server.workers.broadcast.MOST_RECIPIENTS", MOST_RECIPIENTS),
    ):
        main()
