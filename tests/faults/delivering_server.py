"""`tocsin`, whose provider of e-mail can be watched: it appends each call to a file before anything else.

    CALLS=calls.jsonl python delivering_server.py serve

CALL_SECONDS   how long the provider then takes to answer
GATE           a path: it does not answer before something is there
DIE_AT_CALL    the process gets no further than its N-th call: SIGKILL after the provider has seen it, before it answers
"""

import asyncio
import json
import os
import signal
import time
from functools import partial
from itertools import count
from pathlib import Path
from unittest import mock

from tocsin_server.bootstrap.serving import bootstrap
from tocsin_server.cli.main import main
from tocsin_server.domain.delivery import OutgoingMessage, Sent
from tocsin_server.domain.ids import format_id
from tocsin_server.domain.notification import Channel
from tocsin_server.service.providers import Providers

CALLS = Path(os.environ["CALLS"])
CALL_SECONDS = float(os.environ.get("CALL_SECONDS", "0"))
GATE = os.environ.get("GATE")
DIE_AT_CALL = int(os.environ.get("DIE_AT_CALL", "0"))

LOOK_SECONDS = 0.02


def wait_for(path: Path) -> None:
    """Returns when something is there."""
    while not path.exists():
        time.sleep(LOOK_SECONDS)


class WatchedProvider:
    """Implements `ports.Provider`."""

    name = "log"

    def __init__(self) -> None:
        self._numbers = count(1)

    async def send(self, message: OutgoingMessage) -> Sent:
        """Takes it, and says who has."""
        call = {
            "notification_id": format_id(message.notification_id),
            "key": message.idempotency_key,
            "attempt": message.attempt,
            "pid": os.getpid(),
        }
        # In one write, so that lines of several processes do not mix.
        file = os.open(CALLS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, json.dumps(call).encode() + b"\n")
        os.close(file)
        if next(self._numbers) == DIE_AT_CALL:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(CALL_SECONDS)
        if GATE is not None:
            await asyncio.to_thread(wait_for, Path(GATE))
        return Sent(f"by {os.getpid()}")


if __name__ == "__main__":
    watched = partial(bootstrap, providers=Providers({Channel.EMAIL: WatchedProvider()}))
    with mock.patch("tocsin_server.bootstrap.process.bootstrap", watched):
        main()
