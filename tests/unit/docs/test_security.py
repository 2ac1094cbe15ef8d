"""docs/security.md: each row of who may do what names tests, and there are such tests."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "security.md").read_text()
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TABLE = TEXT.partition("<!-- who may do what -->")[2].partition("<!-- end of who may do what -->")[0]
ROWS = TABLE.strip().splitlines()[2:]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


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
