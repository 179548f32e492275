"""Files that are read again when they change: keys and certificates are renewed while the server runs."""

from collections.abc import Sequence
from pathlib import Path

Stamp = tuple[int, int, int, int]


class WatchedFiles:
    """Files that belong together, such as a certificate and its key.

    Looking costs one `stat` a file, so that it can be done twice a second. A file that is replaced by renaming, or that
    is a link to another one from now on, counts as changed.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._stamps: list[Stamp | None] | None = None

    def changed(self) -> bool:
        """Whether a file is not as it was when this was last asked; the first time, always."""
        stamps = [_stamp(path) for path in self._paths]
        changed = stamps != self._stamps
        self._stamps = stamps
        return changed


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
