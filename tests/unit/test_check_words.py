"""`scripts/check-words`: rejects avoided words in comments, docstrings, strings and documents."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check-words"


def check(path: Path, text: str) -> tuple[int, str]:
    path.write_text(text)
    run = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True, check=False)
    return run.returncode, run.stderr


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.md", "Fine.\n\nThe key is made anew.\n", 3),
        ("a.md", "`make it anew`\n", 1),
        ("a.md", "It lasts for\never.\n", 1),
        ("a.yaml", "# Seldom.\na: b\n", 1),
        ("a.py", '"""Whoever is told."""\n', 1),
        ("a.py", "a = 1\n# Fine.\n# Anew.\n", 3),
        ("a.py", "a = 1  # anew\n", 1),
        ("a.py", "b = 2\na = f'made anew in {b} s'\n", 2),
        ("CHANGELOG.md", "# Changes\n\nMade anew.\n\n### Renamed\n\nMade anew.\n", 3),
    ],
)
def test_avoided_word_fails_with_its_line_and_a_better_one(
    tmp_path: Path, name: str, text: str, line: int
) -> None:
    code, errors = check(tmp_path / name, text)
    assert code == 1
    assert errors.startswith(f"{tmp_path / name}:{line}: ")
    assert ": write " in errors


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.md", "The key is created again.\n"),
        ("a.md", "`tests/unit/test_a.py::test_who_is_told_anew`\n"),
        ("a.py", "told = anew = 1\n"),
        ("CHANGELOG.md", "# Changes\n\n### Renamed\n\n| made anew | re-created |\n"),
        ("a.md", "`told` is a parameter.\n"),
        ("a.py", "def test_whoever_is_told() -> None: ...\n"),
    ],
)
def test_plain_words_and_names_pass(tmp_path: Path, name: str, text: str) -> None:
    assert check(tmp_path / name, text) == (0, "")


def test_strings_of_tests_are_data(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    assert check(tmp_path / "tests" / "a.py", "a = 'made anew'\n") == (0, "")
    assert check(tmp_path / "tests" / "a.py", "# made anew\n")[0] == 1
