"""Atomic writes: a crash leaves the old content or the new, never a mixture."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

_LEFTOVER_SUFFIX = ".wgmesh-tmp"


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600, replace: bool = True) -> None:
    """Writes exactly `data` to `path`, durably, with permission bits `mode` whatever the umask.

    The content is written to a temporary file in the same directory, synced and renamed over `path`, and the
    directory is synced. With `replace=False` an existing file is not changed. Raises FileExistsError (only with
    `replace=False`) and any other OSError; `path` is then unchanged.
    """
    write_together([(path, data, mode)], replace=replace)


def write_together(files: Sequence[tuple[Path, bytes, int]], *, replace: bool = True) -> None:
    """Like `write_atomically`, for files (path, content, mode) that are only usable together.

    All of them are complete and synced in their directories before the first is renamed, in the order given. A
    failure before that, such as a full disk, changes nothing.
    """
    staged: list[Path] = []
    placed: list[Path] = []
    try:
        for path, data, mode in files:
            staged.append(_temporary(path))
            _stage(staged[-1], data, mode)
        for temporary, (path, _, _) in zip(staged, files, strict=True):
            if replace:
                temporary.replace(path)
            else:
                # link(2) is the only way to create a name that is complete at once without overwriting
                os.link(temporary, path)
                placed.append(path)
                temporary.unlink()
    except BaseException:
        for leftover in (*staged, *placed):
            leftover.unlink(missing_ok=True)
        raise
    for folder in dict.fromkeys(path.parent for path, _, _ in files):
        _sync_directory(folder)


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(6)}{_LEFTOVER_SUFFIX}"


def _stage(temporary: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        _write_all(descriptor, data)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(directory: Path) -> int:
    """Deletes temporary files of killed writers in `directory`; returns their number.

    Only for a directory with one writer, which must not be writing at the same time. Raises OSError.
    """
    leftovers = [entry for entry in directory.iterdir() if _is_leftover(entry.name)]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def _is_leftover(name: str) -> bool:
    return name.startswith(".") and name.endswith(_LEFTOVER_SUFFIX)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
