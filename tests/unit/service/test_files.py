"""Files that are read again when they change."""

import os
from pathlib import Path

from tocsin_server.service.files import WatchedFiles


def test_what_was_looked_at_has_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("one")
    files = WatchedFiles([path])
    assert files.changed()
    assert not files.changed()


def test_rewriting_replacing_and_removing_are_changes(tmp_path: Path) -> None:
    first, second = tmp_path / "cert.pem", tmp_path / "key.pem"
    first.write_text("one")
    files = WatchedFiles([first, second])
    assert files.changed()
    second.write_text("it appears")
    assert files.changed()
    first.write_text("something longer")
    assert files.changed()
    replacement = tmp_path / "new.pem"
    replacement.write_text("something longer")
    os.utime(replacement, ns=(0, first.stat().st_mtime_ns))
    replacement.replace(first)
    assert files.changed()
    second.unlink()
    assert files.changed()
    assert not files.changed()


def test_a_link_that_points_elsewhere_is_a_change(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_text("alike")
        os.utime(tmp_path / name, ns=(0, 0))
    link = tmp_path / "current"
    link.symlink_to("old")
    files = WatchedFiles([link])
    assert files.changed()
    moved = tmp_path / "moved"
    moved.symlink_to("new")
    moved.replace(link)
    assert files.changed()
