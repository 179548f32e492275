"""The demo's server: a process of its own, on a port of its own, in a folder of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tocsin_server.cli.failures import Failure

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
LOGGED_CHANNELS = "email,push,sms,chat"
"""Whose provider is the log."""
_POLL_S = 0.02


class DemoServer:
    """A server on the embedded default."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts it and waits until it answers. Raises Failure."""
        port_file = self.folder / "port"
        command = [sys.executable, "-m", "tocsin_server", "serve", "--listen", "127.0.0.1:0"]
        command += ["--database", str(self.folder / "tocsin.db"), "--port-file", str(port_file)]
        # At this level the log shows the texts of what would be sent.
        command += [
            "--set",
            f"log_channels={LOGGED_CHANNELS}",
            "--log-level",
            "debug",
            "--log-format",
            "json",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 (asyncio would kill it in the end; our own program)
                command,
                cwd=self.folder,
                # Settings of whoever runs the demo are not the demo's.
                env={name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demo, which then stops its server.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not port_file.exists():
                    if self._process.poll() is not None:
                        raise Failure(f"The server did not start:\n{self.last_words()}")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise Failure(
                f"The server did not start within {START_TIMEOUT_S} s:\n{self.last_words()}"
            ) from None
        self.port = int(port_file.read_text(encoding="ascii"))

    async def stop(self) -> int:
        """Asks it to stop, and waits until it has. Its exit code."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return await asyncio.to_thread(process.wait)

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """What it has logged, oldest first."""
        with self._log.open(encoding="utf-8") as lines:
            for line in lines:
                # Whatever else writes there, such as gRPC, does so in plain text.
                if line.startswith("{"):
                    yield json.loads(line)

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"
