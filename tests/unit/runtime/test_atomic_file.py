"""A file is whole at any moment: old or new, whatever step the writer dies at."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wgmesh_agent.runtime.atomic_file import remove_leftovers, write_atomically

OLD = b"old" * 1000
NEW = b"new content" * 1000

# dies at the n-th call to the system; a write dies after half its bytes, and exits with 0 when no step was left
DYING_WRITER = """
import os, sys
from pathlib import Path
from wgmesh_agent.runtime import atomic_file

path, steps_left, replace = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "replace"
really_write = os.write

def dying(name, real):
    def call(*args, **kwargs):
        global steps_left
        if steps_left == 0:
            if name == "write":
                really_write(args[0], bytes(args[1])[: len(args[1]) // 2])
            os._exit(9)
        steps_left -= 1
        return real(*args, **kwargs)
    return call

for name in ("open", "write", "fchmod", "fsync", "close", "link", "unlink", "replace", "rename"):
    setattr(os, name, dying(name, getattr(os, name)))
atomic_file.write_atomically(path, b"new content" * 1000, replace=replace)
os._exit(0)
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.heavy
@pytest.mark.parametrize("replace", ["replace", "keep"])
def test_a_crash_at_any_step_leaves_the_old_or_the_new_whole(tmp_path: Path, replace: str) -> None:
    outcomes = []
    for step in range(20):
        folder = tmp_path / f"step-{step}"
        folder.mkdir()
        path = folder / "state.json"
        if replace == "replace":
            path.write_bytes(OLD)
        done = subprocess.run(
            [sys.executable, "-c", DYING_WRITER, str(path), str(step), replace], check=False
        )
        assert done.returncode in (0, 9)
        content = path.read_bytes() if path.exists() else b""
        assert content in (OLD if replace == "replace" else b"", NEW)
        outcomes.append(content == NEW)
        remove_leftovers(folder)
        assert [entry.name for entry in folder.iterdir()] in (["state.json"], [])
        if done.returncode == 0:
            break
    assert done.returncode == 0, "the writer never got to its end"
    assert len(outcomes) >= 7, "steps were not all seen"
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_the_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomically(path, OLD)
    write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_as_asked_whatever_the_umask_and_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.touch(mode=0o777)
    before = os.umask(0o077)
    try:
        write_atomically(path, b"x", mode=0o644)
        assert mode_of(path) == 0o644
        write_atomically(path, b"x")
        assert mode_of(path) == 0o600
    finally:
        os.umask(before)


def test_an_existing_file_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(OLD)
    with pytest.raises(FileExistsError):
        write_atomically(path, NEW, replace=False)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(OLD)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, NEW)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really_write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: really_write(descriptor, bytes(data)[:7]))
    write_atomically(tmp_path / "f", NEW)
    assert (tmp_path / "f").read_bytes() == NEW


def test_writers_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "f"
    contents = [bytes([number]) * 100_000 for number in range(8)]
    threads = [threading.Thread(target=write_atomically, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(OLD)
    link.symlink_to(target)
    write_atomically(link, NEW)
    assert target.read_bytes() == OLD
    assert not link.is_symlink()


def test_only_leftovers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "state.json").touch()
    (tmp_path / ".state.json.0123456789ab.wgmesh-tmp").touch()
    (tmp_path / ".hidden").touch()
    assert remove_leftovers(tmp_path) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".hidden", "state.json"]
