"""docs/security.md: each row of who may do what names tests, and there are such tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::((?:Test\w+::)?test_\w+)`")
TABLE = TEXT.partition("<!-- who may do what -->")[2].partition("<!-- end of who may do what -->")[0]
ROWS = TABLE.strip().splitlines()[2:]


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests of a file, those of a class as `Class::test`."""
    return frozenset(_names(ast.parse((ROOT / path).read_text()).body, ""))


def _names(body: list[ast.stmt], above: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{node.name}::")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield above + node.name


@pytest.mark.parametrize(("path", "name"), sorted(set(NAMED.findall(TEXT))), ids=lambda part: part)
def test_every_test_named_there_exists(path: str, name: str) -> None:
    assert name in names_in(path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split(" | ")[0].strip("| "))
def test_every_row_names_a_test(row: str) -> None:
    assert NAMED.findall(row), row
    assert row.count(" | ") == 3


def test_the_whole_of_the_admission_tests_is_in_the_table() -> None:
    named = {name for path, name in NAMED.findall(TABLE) if path == "tests/kind/test_admission.py"}
    assert named == names_in("tests/kind/test_admission.py")
    assert len(ROWS) > 12
