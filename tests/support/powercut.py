"""Power cuts: what a disk holds after one, for a process that runs with tests/faults/powercut.c preloaded."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.shims import preloading

# What a disk writes or does not write as a whole.
SECTOR_BYTES = 512


@dataclass(frozen=True)
class PowerCut:
    """A folder whose files are mirrored as they are synced.

    `live` is the folder that the process writes to, `synced` its mirror: after the process is gone, the files with
    nothing in them that was not synced. Both must exist; `live` must not hold anything yet.
    """

    shim: Path
    live: Path
    synced: Path

    def environment(self, at: str | None = None) -> Mapping[str, str]:
        """What to start the process with. `at`: cut the power at a sync, "before:N", "within:N" or "after:N"."""
        moment = {} if at is None else {"POWERCUT_AT": at}
        return {
            **preloading(self.shim),
            "POWERCUT_FROM": str(self.live),
            "POWERCUT_TO": str(self.synced),
            **moment,
        }

    def partly_synced(self, into: Path, rng: random.Random) -> Path:
        """Make another outcome of the same power cut in `into`: some sectors of what was not synced are there too.

        What was synced is there in any case. A sector is either as it was synced or as it was when the process ended.
        """
        into.mkdir(parents=True)
        for live in sorted(path for path in self.live.rglob("*") if path.is_file()):
            if live.name.endswith("-shm"):
                continue  # SQLite's shared memory: rebuilt, whatever is in it
            name = live.relative_to(self.live)
            synced = self.synced / name
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(
                mixed(synced.read_bytes() if synced.exists() else b"", live.read_bytes(), rng)
            )
        return into


def mixed(synced: bytes, live: bytes, rng: random.Random) -> bytes:
    """Sector by sector one of the two, where they differ, and as long as either. What neither wrote is zero."""
    length = rng.choice((len(synced), len(live)))
    whole = bytearray(max(len(synced), len(live)))
    # Of some files nearly everything arrives, of others nearly nothing.
    share = rng.random()
    for at in range(0, len(whole), SECTOR_BYTES):
        end = at + SECTOR_BYTES
        chosen = live if synced[at:end] == live[at:end] or rng.random() < share else synced
        whole[at : at + len(chosen[at:end])] = chosen[at:end]
    return bytes(whole[:length])
