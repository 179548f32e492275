"""The power-cut shim itself: it must catch a store that does not sync, and pass one that does."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from tests.support.powercut import PowerCut, mixed

WRITER = Path(__file__).with_name("acking_writer.py")

# The log is written back to the database, and begins anew, about every 500 rows.
ROWS_FEW, ROWS_MANY = 200, 1_500


@pytest.fixture
def powercut(powercut_shim: Path, tmp_path: Path) -> PowerCut:
    cut = PowerCut(powercut_shim, live=tmp_path / "live", synced=tmp_path / "synced")
    cut.live.mkdir()
    cut.synced.mkdir()
    return cut


def test_nothing_acked_is_lost_with_full_synchronisation(
    powercut: PowerCut, tmp_path: Path, rng: random.Random
) -> None:
    acked = write_until_killed(powercut, "FULL", kill_after=rng.randint(ROWS_FEW, ROWS_MANY))

    partly_synced = [powercut.partly_synced(tmp_path / f"outcome-{number}", rng) for number in range(10)]
    assert acked >= ROWS_FEW
    for outcome in (*partly_synced, powercut.synced):
        assert rows(outcome) >= acked


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_a_store_that_does_not_sync_is_caught(powercut: PowerCut, synchronous: str) -> None:
    write_until_killed(powercut, synchronous, rows=ROWS_FEW, kill_after=ROWS_FEW)

    assert rows(powercut.synced) == 0
    assert rows(powercut.live) == ROWS_FEW  # a SIGKILL alone would not have shown it


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_the_power_can_be_cut_at_a_sync(powercut: PowerCut, moment: str, rng: random.Random) -> None:
    # The first syncs make the table.
    acked = write_until_killed(powercut, "FULL", at=f"{moment}:{rng.randint(20, 200)}")

    assert acked > 0
    assert rows(powercut.synced) == (acked + 1 if moment == "after" else acked)


# One row a case: what a program does in its folder, and what a power cut leaves there.
@pytest.mark.parametrize(
    ("program", "left"),
    [
        # A file that was never synced is not there.
        ("write('a', b'1')", {}),
        # A synced one is, as it was when it was synced.
        ("sync(write('a', b'1')); append('a', b'2')", {"a": b"1"}),
        ("sync(write('a', b'1')); sync(append('a', b'2'))", {"a": b"12"}),
        # A sync counts for the file, whichever descriptor it goes through.
        ("write('a', b'1'); fd = os.open('a', os.O_RDWR); append('a', b'2'); os.fdatasync(fd)", {"a": b"12"}),
        # Truncation is a write like any other.
        ("sync(write('a', b'12')); os.truncate('a', 1)", {"a": b"12"}),
        ("sync(write('a', b'12')); os.truncate('a', 1); sync(append('a', b''))", {"a": b"1"}),
        # Renamed after the sync, it arrives whole; before, the name arrives and the bytes do not.
        ("sync(write('b', b'2')); sync(write('a', b'1')); os.replace('b', 'a')", {"a": b"2"}),
        ("sync(write('a', b'1')); write('b', b'2'); os.replace('b', 'a')", {"a": b""}),
        ("fd = write('b', b'2'); os.rename(os.path.abspath('b'), 'a'); sync(fd)", {"a": b"2"}),
        # Unlinked is gone, for good: a sync of what is still open does not bring it back.
        ("fd = sync(write('a', b'1')); os.unlink('a'); sync(fd)", {}),
        # The same through a folder's descriptor.
        ("sync(write('a', b'1')); os.unlink('a', dir_fd=os.open('.', os.O_RDONLY))", {}),
        # Folders within the folder.
        ("os.mkdir('c'); sync(write('c/a', b'1')); os.rename('c/a', 'c/b')", {"c/b": b"1"}),
        # Files elsewhere are no concern of it, until they come in, or when they leave.
        ("sync(write('../a', b'1'))", {}),
        ("sync(write('../a', b'1')); os.rename('../a', 'a')", {"a": b""}),
        ("sync(write('a', b'1')); os.rename('a', '../a')", {}),
    ],
)
def test_what_is_left_of_files(powercut: PowerCut, program: str, left: Mapping[str, bytes]) -> None:
    prelude = """
import os
def put(name, content, flags):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | flags)
    os.write(fd, content)
    return fd
def write(name, content):
    return put(name, content, os.O_TRUNC)
def append(name, content):
    return put(name, content, os.O_APPEND)
def sync(fd):
    os.fsync(fd)
    return fd
"""
    subprocess.run(
        [sys.executable, "-c", prelude + program],
        cwd=powercut.live,
        env={**powercut.environment()},
        check=True,
    )

    files = (path for path in powercut.synced.rglob("*") if path.is_file())
    assert {str(path.relative_to(powercut.synced)): path.read_bytes() for path in files} == left


def test_a_partly_synced_file_holds_sectors_of_both(rng: random.Random) -> None:
    synced, live = b"s" * 512 * 50, b"s" * 512 * 10 + b"n" * 512 * 90

    outcomes = [mixed(synced, live, rng) for _ in range(100)]

    assert all(outcome.startswith(b"s" * 512 * 10) for outcome in outcomes)
    assert {len(outcome) for outcome in outcomes} == {len(synced), len(live)}
    for outcome in outcomes:
        sectors = {outcome[at : at + 512] for at in range(0, len(outcome), 512)}
        assert sectors <= {b"s" * 512, b"n" * 512, b"\0" * 512}
    assert len(set(outcomes)) > 2


def write_until_killed(
    powercut: PowerCut,
    synchronous: str,
    rows: int = ROWS_MANY,
    kill_after: int | None = None,
    at: str | None = None,
) -> int:
    """Run the writer until it is killed, by us after so many acks or by the shim; how many rows it acked."""
    command = [sys.executable, str(WRITER), str(powercut.live / "rows.db"), synchronous, str(rows)]
    with subprocess.Popen(command, env={**powercut.environment(at)}, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        acks = list(islice(writer.stdout, kill_after))
        writer.kill()
        acks += writer.stdout
    assert writer.returncode == -signal.SIGKILL
    return int([line for line in acks if line.endswith(b"\n")][-1])


def rows(folder: Path) -> int:
    """How many rows a database has that is opened in this folder; it must be whole, and hold a row for every number."""
    copy = folder.with_name(f"{folder.name}-opened")
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*-shm"))
    connection = sqlite3.connect(copy / "rows.db")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        count, highest = connection.execute("SELECT count(*), coalesce(max(number), 0) FROM acked").fetchone()
        assert count == highest
        return int(count)
    finally:
        connection.close()
