"""Watches a file that others replace, by polling inode, size and mtime; and checks its permissions.

For one small file every few seconds a `stat` is enough: watchfiles, with inotify, takes 2.4 MiB resident and a
thread.
"""

from __future__ import annotations

import stat
from pathlib import Path

GROUP_OR_OTHER = stat.S_IRWXG | stat.S_IRWXO
"""Permission bits that a file with a secret must not have."""


class FileWatch:
    """Detects that a file was written or replaced, also by renaming or behind a symbolic link."""

    def __init__(self, path: Path) -> None:
        """The current file does not count as a change."""
        self._path = path
        self._seen = self._signature()

    def has_changed(self) -> bool:
        """Returns whether a regular file exists that differs from the one at the last call."""
        before, self._seen = self._seen, self._signature()
        return self._seen is not None and self._seen != before

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def is_accessible_to_others(path: Path) -> bool:
    """Returns whether group or others have any permission; a missing file is not accessible."""
    try:
        return bool(path.stat().st_mode & GROUP_OR_OTHER)
    except OSError:
        return False
