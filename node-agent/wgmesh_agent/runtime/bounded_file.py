"""Bounded reads of files that users and other programs write.

Every reader of such a file uses this module, so that a directory, a device or 10 GB in its place causes one clear
error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path


class FileFault(Exception):
    """A file that cannot be read; one sentence that names it."""


def read_bounded(
    path: Path, most_bytes: int, *, check: Callable[[os.stat_result], None] | None = None
) -> bytes:
    """Returns the content of a file of at most `most_bytes`.

    Args:
        check: called with the status of the open file, before it is read; its exceptions are passed on.

    Raises:
        FileFault: it is missing, unreadable, a directory, or larger; the cause is the OSError, if there was one.
    """
    if "\0" in str(path):
        raise FileFault(f"{str(path)!r:.80} cannot be read: the name is malformed")
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if check is not None:
                check(status)
            if stat.S_ISREG(status.st_mode) and status.st_size > most_bytes:
                raise FileFault(f"{path} is larger than {_size(most_bytes)}")
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise FileFault(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    if len(data) > most_bytes:
        raise FileFault(f"{path} is larger than {_size(most_bytes)}")
    return data


def _size(count: int) -> str:
    return f"{count // 1024} KiB" if count >= 1024 else f"{count} bytes"
