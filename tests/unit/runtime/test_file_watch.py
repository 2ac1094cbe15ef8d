from __future__ import annotations

import os
from pathlib import Path

import pytest

from wgmesh_agent.runtime.file_watch import FileWatch, is_accessible_to_others


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bundle.json"
    path.write_bytes(b"one")
    return path


def test_file_as_it_was_at_first_is_not_a_change(file: Path) -> None:
    watch = FileWatch(file)
    assert [watch.has_changed(), watch.has_changed()] == [False, False]


def test_change_is_reported_once(file: Path) -> None:
    watch = FileWatch(file)
    file.write_bytes(b"larger")
    assert [watch.has_changed(), watch.has_changed()] == [True, False]


def test_content_of_the_same_size_is_a_change_by_its_time(file: Path) -> None:
    watch = FileWatch(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(0, 1))
    assert watch.has_changed()


def test_file_renamed_into_place_is_a_change_whatever_its_time(file: Path) -> None:
    watch, other, was = FileWatch(file), file.with_name("new"), file.stat()
    other.write_bytes(b"two")
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.rename(file)
    assert watch.has_changed()


def test_file_behind_a_link_that_is_replaced_is_a_change(tmp_path: Path, file: Path) -> None:
    """As the kubelet replaces the files of a Secret."""
    link, later = tmp_path / "link", tmp_path / "later"
    link.symlink_to(file)
    watch = FileWatch(link)
    later.write_bytes(b"two")
    (tmp_path / "next").symlink_to(later)
    (tmp_path / "next").rename(link)
    assert watch.has_changed()


def test_removal_is_not_a_change_and_return_is(file: Path) -> None:
    watch = FileWatch(file)
    kept = file.with_name("kept")
    file.rename(kept)
    assert not watch.has_changed()
    kept.rename(file)
    assert watch.has_changed()


def test_directory_in_the_place_of_the_file_is_not_a_change(file: Path) -> None:
    watch = FileWatch(file)
    file.unlink()
    file.mkdir()
    assert not watch.has_changed()


@pytest.mark.parametrize(("mode", "expected"), [(0o600, False), (0o400, False), (0o640, True), (0o602, True)])
def test_any_permission_of_group_or_others_is_access(file: Path, mode: int, expected: bool) -> None:
    file.chmod(mode)
    assert is_accessible_to_others(file) is expected


def test_missing_file_is_not_accessible(tmp_path: Path) -> None:
    assert not is_accessible_to_others(tmp_path / "missing")
